package rival

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
)

// OpenRedis opens a pool of so many connections. Nothing is sent twice by the client itself: most of what is sent counts something.
func OpenRedis(addr string, conns int) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                  addr,
		PoolSize:              conns,
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		DialTimeout:           time.Second,
		ReadTimeout:           time.Second,
		WriteTimeout:          time.Second,
		PoolTimeout:           5 * time.Second,
	})
}

// A verdict is what a script says. The texts are the scripts' own.
type verdict string

const (
	verdictTaken     verdict = "taken"
	verdictAgain     verdict = "again"
	verdictReused    verdict = "reused"
	verdictSoldOut   verdict = "sold out"
	verdictUserLimit verdict = "user limit"
	verdictUnknown   verdict = "unknown" // Redis does not know the offer, or has forgotten it
)

// errForgotten: the counters have to be loaded from the database first.
var errForgotten = errors.New("redis does not know the offer")

func (v verdict) err() error {
	switch v {
	case verdictTaken, verdictAgain:
		return nil
	case verdictReused:
		return contract.ErrKeyReused
	case verdictSoldOut:
		return contract.ErrSoldOut
	case verdictUserLimit:
		return contract.ErrUserLimit
	case verdictUnknown:
		return errForgotten
	default:
		return fmt.Errorf("a script gave %q", string(v))
	}
}

// counters is the key of an offer's hash: budget, limit, used, refunded, generation. The braces keep all keys of an offer on one node of a
// cluster.
func counters(offerID string) string { return "{" + offerID + "}:counters" }

// readCounters gives what the counters say.
func readCounters(ctx context.Context, cache *redis.Client, offerID string) (b contract.Balance, generation int64, err error) {
	var fields struct {
		Budget     int64 `redis:"budget"`
		Used       int64 `redis:"used"`
		Refunded   int64 `redis:"refunded"`
		Generation int64 `redis:"generation"`
	}
	found := cache.HMGet(ctx, counters(offerID), "budget", "used", "refunded", "generation")
	if err := found.Err(); err != nil {
		return b, 0, err
	}
	if found.Val()[0] == nil {
		return b, 0, errForgotten
	}
	err = found.Scan(&fields)
	return contract.Balance{Budget: fields.Budget, UnitsRedeemed: fields.Used, UnitsRefunded: fields.Refunded}, fields.Generation, err
}

// loadCounters writes the counters of an offer, unless they are there.
var loadCounters = redis.NewScript(`
if redis.call('EXISTS', KEYS[1]) == 1 then return 0 end
redis.call('HSET', KEYS[1], 'budget', ARGV[1], 'limit', ARGV[2], 'used', ARGV[3], 'refunded', ARGV[4], 'generation', ARGV[5])
return 1`)

// remembered runs do, and once more after load if Redis had forgotten the offer.
func remembered(ctx context.Context, offerID string, load func(context.Context, string) error, do func() error) error {
	err := do()
	if !errors.Is(err, errForgotten) {
		return err
	}
	if err := load(ctx, offerID); err != nil {
		return err
	}
	if err = do(); errors.Is(err, errForgotten) {
		return fmt.Errorf("%w: %w", contract.ErrNotDone, err)
	}
	return err
}
