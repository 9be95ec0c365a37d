package fill

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"tranche/loadtest/rivals/contract"
)

// Ledger is what an offer's ledger is filled with. Redemption i is the same however often it is asked for.
type Ledger struct {
	Offer string
	Since time.Time // of the first redemption; the others follow every 50 ms
}

// PerLease is how many redemptions are spent from a lease: a block of the default size.
const PerLease = 1000

// Every redemption is of one unit. A user comes back twice on average.
const (
	pace    = 50 * time.Millisecond
	perUser = 3
)

// Key is the idempotency key of redemption i.
func (l *Ledger) Key(i int64) string { return fmt.Sprintf("checkout-%011d", i) }

// Order is the order of redemption i.
func (l *Ledger) Order(i int64) string { return fmt.Sprintf("order-%011d", i) }

// User is whose redemption i is, of a ledger of n.
func (l *Ledger) User(i, n int64) string {
	return User(rand.New(rand.NewPCG(uint64(i), 1)).Int64N(max(1, n/perUser)))
}

// Entry is the id of the entry of redemption i: a UUIDv7.
func (l *Ledger) Entry(i int64) [16]byte { return l.id(i, 2) }

// at is when redemption i was made.
func (l *Ledger) at(i int64) time.Time { return l.Since.Add(time.Duration(i) * pace) }

// lease is the id of the lease that redemption i was spent from.
func (l *Ledger) lease(i int64) [16]byte { return l.id(i-i%PerLease, 3) }

func (l *Ledger) id(i int64, of uint64) (id [16]byte) {
	random := rand.NewPCG(uint64(i), of)
	binary.BigEndian.PutUint64(id[:], uint64(l.at(i).UnixMilli())<<16|7<<12|random.Uint64()>>52)
	binary.BigEndian.PutUint64(id[8:], 1<<63|random.Uint64()>>2)
	return id
}

// Grow adds the redemptions from the from-th up to the one before the to-th, from a multiple of PerLease on.
func (l *Ledger) Grow(ctx context.Context, db *sql.DB, from, to int64) error {
	return quietly(ctx, db, func(s *session) error {
		restore, err := s.dropIndexes("entries")
		if err != nil {
			return err
		}
		if err := s.insert(entries, to-from, func(row []byte, i int64) []byte { return l.appendEntry(row, from+i, to) }); err != nil {
			return err
		}
		if err := restore(); err != nil {
			return err
		}
		blocks := (to - from + PerLease - 1) / PerLease
		if err := s.insert(leases, blocks, func(row []byte, i int64) []byte { return l.appendLease(row, from+i*PerLease, to) }); err != nil {
			return err
		}
		return s.exec("UPDATE offers SET allocated = allocated + ?, redeemed = redeemed + ? WHERE id = ?", to-from, to-from, l.Offer)
	})
}

const (
	entries = "entries (offer_id, id, redemption, seq, kind, user_id, order_id, idempotency_key, units, lease_id, node_id, restores_budget, restores_user_limit, late, created_at)"
	leases  = "leases (offer_id, id, node_id, epoch, kind, mode, granted, spent, redeemed, batch, ttl_seconds, state, granted_at, expires_at, closed_at)"
	node    = "00000000000070008000000000000001" // which is gone
)

func (l *Ledger) appendEntry(row []byte, i, n int64) []byte {
	return fmt.Appendf(row, "('%s',x'%x',x'%x',0,'redeem','%s','%s','%s',1,x'%x',x'%s',0,0,0,%d)",
		l.Offer, l.Entry(i), contract.HashOf(l.Offer, l.Key(i)), l.User(i, n), l.Order(i), l.Key(i), l.lease(i), node, l.at(i).UnixMicro())
}

func (l *Ledger) appendLease(row []byte, first, n int64) []byte {
	units := min(PerLease, n-first)
	granted := l.at(first)
	closed := l.at(first + units)
	return fmt.Appendf(row, "('%s',x'%x',x'%s',1,'block','strict',%d,%d,%d,%d,60,'returned',%d,%d,%d)",
		l.Offer, l.lease(first), node, units, units, units, units, granted.UnixMicro(), closed.Add(time.Minute).UnixMicro(), closed.UnixMicro())
}
