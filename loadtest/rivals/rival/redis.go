package rival

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
)

// keyMemory is how long Redis remembers an idempotency key. The log remembers it for good.
const keyMemory = 24 * time.Hour

// Redis keeps all counters in Redis. One Lua script looks at the idempotency key, the user's limit and the budget, and counts; then a row
// of the immutable log is committed; a job adds the log up in the database.
//
// It is what flash-sale articles build. Gives: no row that everybody wants; refusals cost the database nothing; what is acknowledged is
// in the log. Loses: the counters and the log are two systems, and nothing commits in both.
//
//   - A server that dies between the two leaves units counted that nobody has. If the customer retries, the key heals it: the row is
//     written then. If not, the units, and the user's right to redeem, are gone until somebody reconciles by hand: "again" can't be told
//     from "still under way" by looking.
//   - Redis persists once a second at best. A power cut, or a failover to a replica that lags, forgets counts, and the budget is oversold by
//     them. When it has forgotten the whole offer, counters are loaded from the log: exact only if nothing is under way meanwhile.
//   - After Redis has lost its keys, a retry of a success may hear "sold out".
//   - A commit per redemption all the same. The commits share fsyncs, but each has its own round trip, statement and transaction.
//
// Refunds are committed in the log first and then counted, by counters of their own (used − refunded < limit), so that nothing but additions
// ever meets. A server that dies between the two leaves a refund uncounted until it is retried.
type Redis struct {
	offers
	rollup rollup
	cache  *redis.Client
	now    func() time.Time
}

// NewRedis makes its tables.
func NewRedis(ctx context.Context, db *sql.DB, cache *redis.Client, now func() time.Time) (*Redis, error) {
	if err := createTables(ctx, db, tableOffers, tableLog); err != nil {
		return nil, err
	}
	if err := createCheckpoint(ctx, db); err != nil {
		return nil, err
	}
	return &Redis{offers: offers{db: db}, rollup: rollup{db: db}, cache: cache, now: now}, nil
}

// Run rolls the log up once a period until ctx ends.
func (r *Redis) Run(ctx context.Context, period time.Duration, report func(error)) {
	repeat(ctx, period, report, r.rollup.runOnce)
}

// keys gives what the scripts need: counters, redemptions of users, those given back whole, and what is known of a key.
func (r *Redis) keys(offerID string, h contract.Hash) []string {
	return []string{
		counters(offerID), "{" + offerID + "}:users", "{" + offerID + "}:users-refunded", "{" + offerID + "}:key:" + string(h[:]),
	}
}

// reserve counts a redemption, or says why not. A key that is known is not counted again, but its attempts are: only when all of them
// have failed may the count be undone.
var reserve = redis.NewScript(`
local known = redis.call('HGET', KEYS[4], 'request')
if known then
  if known ~= ARGV[3] then return 'reused' end
  redis.call('HINCRBY', KEYS[4], 'attempts', 1)
  return 'again'
end
local c = redis.call('HMGET', KEYS[1], 'budget', 'limit', 'used', 'refunded')
if not c[1] then return 'unknown' end
if tonumber(c[3]) - tonumber(c[4]) + tonumber(ARGV[2]) > tonumber(c[1]) then return 'sold out' end
local limit = tonumber(c[2])
if limit > 0 then
  local used = tonumber(redis.call('HGET', KEYS[2], ARGV[1]) or 0)
  local refunded = tonumber(redis.call('HGET', KEYS[3], ARGV[1]) or 0)
  if used - refunded >= limit then return 'user limit' end
end
redis.call('HINCRBY', KEYS[1], 'used', ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], 1)
redis.call('HSET', KEYS[4], 'request', ARGV[3], 'attempts', 1)
redis.call('EXPIRE', KEYS[4], ARGV[4])
return 'taken'`)

// release takes back one failed attempt, and with the last one the count.
var release = redis.NewScript(`
if redis.call('EXISTS', KEYS[4]) == 0 or redis.call('HINCRBY', KEYS[4], 'attempts', -1) > 0 then return 0 end
redis.call('HINCRBY', KEYS[1], 'used', -ARGV[2])
redis.call('HINCRBY', KEYS[2], ARGV[1], -1)
redis.call('DEL', KEYS[4])
return 1`)

// giveBack counts a refund, once. KEYS[4] is the refund's. One from before the counters were loaded came with them.
var giveBack = redis.NewScript(`
local generation = redis.call('HGET', KEYS[1], 'generation')
if not generation then return 'unknown' end
if tonumber(ARGV[5]) <= tonumber(generation) then return 'again' end
if not redis.call('SET', KEYS[4], 1, 'NX', 'EX', ARGV[4]) then return 'again' end
redis.call('HINCRBY', KEYS[1], 'refunded', ARGV[2])
if ARGV[3] == '1' then redis.call('HINCRBY', KEYS[3], ARGV[1], 1) end
return 'taken'`)

// CreateOffer implements contract.Books.
func (r *Redis) CreateOffer(ctx context.Context, offer contract.Offer) (bool, error) {
	isNew, err := r.create(ctx, offer, nothing)
	if err != nil {
		return false, err
	}
	return isNew, r.load(ctx, offer.ID)
}

// Redeem implements contract.Books.
func (r *Redis) Redeem(ctx context.Context, order contract.Order) (contract.Redemption, bool, error) {
	redemption := newRedemption(&order, r.now())
	var v verdict
	err := remembered(ctx, order.OfferID, r.load, func() (err error) {
		v, err = r.reserve(ctx, &redemption)
		return err
	})
	if err != nil {
		return contract.Redemption{}, false, err
	}
	if v == verdictAgain {
		if known, replayed, err := replay(ctx, r.db, &order); !errors.Is(err, contract.ErrRedemptionNotFound) {
			return known, replayed, err
		}
		// Counted, and not in the log: the first attempt is under way or died. Whoever writes the row first has done it.
	}
	err = logRedemption(ctx, r.db, &redemption)
	switch {
	case err == nil:
		return redemption, false, nil
	case errors.Is(err, errDuplicate):
		if v == verdictTaken { // Redis had forgotten the key, and counted it for the second time
			r.release(ctx, &redemption)
		}
		return replay(ctx, r.db, &order)
	case isDefinite(err):
		r.release(ctx, &redemption)
		return contract.Redemption{}, false, fmt.Errorf("%w: %w", contract.ErrNotDone, err)
	default:
		return contract.Redemption{}, false, err
	}
}

func (r *Redis) reserve(ctx context.Context, m *contract.Redemption) (verdict, error) {
	request := fmt.Sprintf("%d %s", m.Units, m.UserID)
	if m.OrderID != nil {
		request += "\x00" + *m.OrderID
	}
	text, err := reserve.Run(ctx, r.cache, r.keys(m.OfferID, m.Hash), m.UserID, m.Units, request, int(keyMemory.Seconds())).Text()
	if err != nil {
		return "", err
	}
	return verdict(text), verdict(text).err()
}

// release is tried once. What it does not reach stays counted until the customer retries.
func (r *Redis) release(ctx context.Context, m *contract.Redemption) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	release.Run(ctx, r.cache, r.keys(m.OfferID, m.Hash), m.UserID, m.Units)
}

// Refund implements contract.Books. A refund that is committed and could not be counted is answered "outcome unknown": its retry counts it.
func (r *Redis) Refund(ctx context.Context, wish contract.RefundWish) (contract.Refund, bool, error) {
	done, err := logRefund(ctx, r.db, &wish, r.now(), func(*sql.Tx, *refundedNow) error { return nil })
	if err != nil {
		return contract.Refund{}, false, err
	}
	return done.Refund, done.replayed, remembered(ctx, wish.OfferID, r.load, func() error { return r.giveBack(ctx, &done) })
}

func (r *Redis) giveBack(ctx context.Context, done *refundedNow) error {
	keys := r.keys(done.OfferID, refundHash(&done.RefundWish))
	whole := 0
	if done.whole {
		whole = 1
	}
	text, err := giveBack.Run(ctx, r.cache, keys, done.userID, done.Units, whole, int(keyMemory.Seconds()), done.CreatedAt.UnixMicro()).Text()
	if err != nil {
		return err
	}
	return verdict(text).err()
}

// Balance implements contract.Books.
func (r *Redis) Balance(ctx context.Context, offerID string) (b contract.Balance, err error) {
	err = remembered(ctx, offerID, r.load, func() error {
		b, _, err = readCounters(ctx, r.cache, offerID)
		return err
	})
	return b, err
}

// Usage implements contract.Books.
func (r *Redis) Usage(ctx context.Context, offerID, userID string) (contract.Usage, error) {
	o, err := r.offer(ctx, offerID)
	if err != nil {
		return contract.Usage{}, err
	}
	keys := r.keys(offerID, contract.Hash{})
	used, err := count(r.cache.HGet(ctx, keys[1], userID))
	if err != nil {
		return contract.Usage{}, err
	}
	refunded, err := count(r.cache.HGet(ctx, keys[2], userID))
	return contract.Usage{Redemptions: used - refunded, Limit: o.UserLimit}, err
}

// count reads a counter that may not be there yet.
func count(field *redis.StringCmd) (int64, error) {
	n, err := field.Int64()
	if errors.Is(err, redis.Nil) {
		return 0, nil
	}
	return n, err
}
