package rival

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
)

// Split keeps what is hot in Redis and all else in the database. A redemption is a transaction with the log row and the user's counter, as
// Naive's; but the budget's counter is in Redis, asked just before COMMIT. A job compares that counter with the log and sets it right.
//
// It is what one comes to from Redis, when user limits turn out to matter more than their speed. Gives: user limits and idempotency are the
// database's, exact. Nobody queues for a row. Loses: the budget is still in two systems.
//
//   - A server that dies between the counter and COMMIT leaves units counted that nobody has. The job finds them a period or two later;
//     until then customers may hear "sold out" while there is something left.
//   - What Redis forgets in a power cut or a failover is oversold, until the job has counted again.
//   - A transaction of four statements per redemption, and a round trip to Redis inside of it.
//   - "Sold out" costs the database a transaction that is rolled back.
type Split struct {
	transactional
	rollup   rollup
	cache    *redis.Client
	previous map[string]reading // by offer; the job's own
}

// NewSplit makes its tables.
func NewSplit(ctx context.Context, db *sql.DB, cache *redis.Client, now func() time.Time) (*Split, error) {
	if err := createTables(ctx, db, tableOffers, tableLog, tableUsages); err != nil {
		return nil, err
	}
	if err := createCheckpoint(ctx, db); err != nil {
		return nil, err
	}
	return &Split{transactional: transactional{offers{db: db}, now}, rollup: rollup{db: db}, cache: cache, previous: map[string]reading{}}, nil
}

// Run rolls the log up and corrects the counters, once a period, until ctx ends.
func (s *Split) Run(ctx context.Context, period time.Duration, report func(error)) {
	repeat(ctx, period, report, func(ctx context.Context) error {
		return errors.Join(s.rollup.runOnce(ctx), s.syncAll(ctx))
	})
}

// take counts units, if the budget has them.
var take = redis.NewScript(`
local c = redis.call('HMGET', KEYS[1], 'budget', 'used', 'refunded')
if not c[1] then return 'unknown' end
if tonumber(c[2]) - tonumber(c[3]) + tonumber(ARGV[1]) > tonumber(c[1]) then return 'sold out' end
redis.call('HINCRBY', KEYS[1], 'used', ARGV[1])
return 'taken'`)

// add adds to a counter of an offer that Redis knows.
var add = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 0 then return 0 end
return redis.call('HINCRBY', KEYS[1], ARGV[1], ARGV[2])`)

// CreateOffer implements contract.Books.
func (s *Split) CreateOffer(ctx context.Context, offer contract.Offer) (bool, error) {
	isNew, err := s.create(ctx, offer, nothing)
	if err != nil {
		return false, err
	}
	return isNew, s.load(ctx, offer.ID)
}

// load writes an offer's counters as the log has them, if Redis does not know it. Exact if nothing is under way; else the job corrects it.
func (s *Split) load(ctx context.Context, offerID string) error {
	b, err := logBalance(ctx, s.db, offerID)
	if err != nil {
		return err
	}
	return loadCounters.Run(ctx, s.cache, []string{counters(offerID)}, b.Budget, 0, b.UnitsRedeemed, b.UnitsRefunded, s.now().UnixMicro()).Err()
}

// Redeem implements contract.Books.
func (s *Split) Redeem(ctx context.Context, order contract.Order) (r contract.Redemption, replayed bool, err error) {
	taken := false
	err = remembered(ctx, order.OfferID, s.load, func() (err error) {
		r, replayed, err = s.redeem(ctx, &order, func(*sql.Tx) error {
			if taken { // by an earlier run of this transaction
				return nil
			}
			err := s.take(ctx, order.OfferID, order.Units)
			taken = err == nil
			return err
		})
		return err
	})
	if taken && (replayed || isRefusal(err) || errors.Is(err, contract.ErrNotDone)) {
		s.add(context.WithoutCancel(ctx), order.OfferID, "used", -order.Units)
	}
	return r, replayed, err
}

func (s *Split) take(ctx context.Context, offerID string, units int64) error {
	text, err := take.Run(ctx, s.cache, []string{counters(offerID)}, units).Text()
	if err != nil {
		return err
	}
	return verdict(text).err()
}

// add is tried once. What it does not reach is left to the job.
func (s *Split) add(ctx context.Context, offerID, counter string, units int64) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	add.Run(ctx, s.cache, []string{counters(offerID)}, counter, units)
}

// Refund implements contract.Books. The units are counted back after the commit.
func (s *Split) Refund(ctx context.Context, wish contract.RefundWish) (contract.Refund, bool, error) {
	r, err := s.refund(ctx, &wish, func(*sql.Tx, int64) error { return nil })
	if err == nil && !r.replayed {
		s.add(context.WithoutCancel(ctx), wish.OfferID, "refunded", r.Units)
	}
	return r.Refund, r.replayed, err
}

// Balance implements contract.Books.
func (s *Split) Balance(ctx context.Context, offerID string) (b contract.Balance, err error) {
	err = remembered(ctx, offerID, s.load, func() error {
		b, _, err = readCounters(ctx, s.cache, offerID)
		return err
	})
	return b, err
}
