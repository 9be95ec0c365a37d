package rival

import (
	"context"

	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
)

// reading is what the counters and the log said of an offer at one run of the job.
type reading struct {
	counted    contract.Balance
	logged     contract.Balance
	generation int64
}

// correct applies a correction, unless another was made since the reading that it is based on.
var correct = redis.NewScript(`
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
redis.call('HINCRBY', KEYS[1], 'used', ARGV[2])
redis.call('HINCRBY', KEYS[1], 'refunded', ARGV[3])
redis.call('HINCRBY', KEYS[1], 'generation', 1)
return 1`)

// syncAll compares all offers' counters with the log.
func (s *Split) syncAll(ctx context.Context) error {
	ids, err := s.allOffers(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		if err := s.sync(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (s *Split) allOffers(ctx context.Context) (ids []string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT id FROM offers")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// sync corrects one offer's counters. What was counted a period ago is decided by now: so what the counter had then beyond what the log has
// now, nobody has. And what the log had then must be counted by now. Neither takes away what is still under way.
func (s *Split) sync(ctx context.Context, offerID string) error {
	counted, generation, err := readCounters(ctx, s.cache, offerID)
	if err != nil {
		return err
	}
	logged, err := logBalance(ctx, s.db, offerID)
	if err != nil {
		return err
	}
	before, known := s.previous[offerID]
	s.previous[offerID] = reading{counted, logged, generation}
	if !known || before.generation != generation {
		return nil
	}
	used := correction(before.counted.UnitsRedeemed, logged.UnitsRedeemed, before.logged.UnitsRedeemed, counted.UnitsRedeemed)
	refunded := correction(before.counted.UnitsRefunded, logged.UnitsRefunded, before.logged.UnitsRefunded, counted.UnitsRefunded)
	if used == 0 && refunded == 0 {
		return nil
	}
	return correct.Run(ctx, s.cache, []string{counters(offerID)}, generation, used, refunded).Err()
}

// correction is what to add to a counter: less what was counted before and is not in the log now, or what was in the log before and is
// not counted now.
func correction(countedBefore, loggedNow, loggedBefore, countedNow int64) int64 {
	if surplus := countedBefore - loggedNow; surplus > 0 {
		return -surplus
	}
	return max(0, loggedBefore-countedNow)
}
