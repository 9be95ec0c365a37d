package settle

import (
	"sync/atomic"
	"time"

	"tranche/lease"
	"tranche/models"
)

// item is a wanted entry with its requester.
type item struct {
	entry        *models.Entry // it does not change
	acknowledged bool          // it must be booked
	deadline     time.Time     // zero: none
	state        atomic.Int32
	requester    models.Requester
}

// The states of an item. Only a queued one can be withdrawn; one that was attempted is queued again if that decided nothing.
const (
	queued int32 = iota
	attempted
	withdrawn
)

// spent is what the block of an entry's lease has pending for it.
func spent(e *models.Entry) int64 {
	if e.Kind.Spends() {
		return e.Units
	}
	return 0
}

// isWanted reports whether somebody waits for the item, or will soon: whoever has taken a hold confirms or cancels it, on any node.
func (it *item) isWanted() bool { return !it.acknowledged || it.entry.Kind == models.KindHold }

// late reports whether the item's time is over.
func (it *item) late(now time.Time) bool { return !it.deadline.IsZero() && !now.Before(it.deadline) }

// party names what the entry may have to wait for a lock on: its user's counters, or if nobody counts, its redemption.
func (it *item) party(offer *models.Offer) string {
	if offer.LimitsUsers() && it.entry.UserID != "" {
		return it.entry.UserID
	}
	return string(it.entry.Redemption[:])
}

// bytes is about how much of a packet the item takes.
func (it *item) bytes() int {
	n := 256 + len(it.entry.OfferID) + len(it.entry.UserID) + len(it.entry.IdempotencyKey)
	for _, s := range []*string{it.entry.OrderID, it.entry.Reason, it.entry.Metadata} {
		if s != nil {
			n += len(*s)
		}
	}
	return n
}

// resolve gives an item its verdict and its units their place.
func (it *item) resolve(block *lease.Block, v models.Verdict) {
	account(block, it.entry, &v)
	it.requester.Decided(v)
}

// account gives the units of an entry their place, once it has its verdict. They are settled if this very entry is in the ledger, on this
// lease; else another entry stands in its place, or none, or it had come in by way of another lease.
func account(block *lease.Block, e *models.Entry, v *models.Verdict) {
	booked := v.Err == nil && !v.Replayed && v.Entry.LeaseID == block.LeaseID
	switch n := spent(e); {
	case n > 0 && booked:
		block.Settled(n)
	case n > 0:
		block.Unspend(n)
	case booked:
		block.Refund(v.Redemption.Returned(&v.Entry))
	}
}
