package settle

import (
	"sync/atomic"
	"time"

	"tranche/lease"
	"tranche/models"
)

// item is a posting with its requester. The posting does not change.
type item struct {
	*lease.Posting
	acknowledged bool      // it must be booked
	deadline     time.Time // zero: none
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
func (it *item) isWanted() bool { return !it.acknowledged || it.Entry.Kind == models.KindHold }

// late reports whether the item's time is over.
func (it *item) late(now time.Time) bool { return !it.deadline.IsZero() && !now.Before(it.deadline) }

// party names what the entry may have to wait for a lock on: its user's counters, or if nobody counts, its redemption.
func (it *item) party(offer *models.Offer) string {
	if offer.LimitsUsers() && it.Entry.UserID != "" {
		return it.Entry.UserID
	}
	return string(it.Entry.Redemption[:])
}

// bytes is about how much of a packet the item takes.
func (it *item) bytes() int {
	n := 256 + len(it.Entry.OfferID) + len(it.Entry.UserID) + len(it.Entry.IdempotencyKey)
	for _, s := range []*string{it.Entry.OrderID, it.Entry.Reason, it.Entry.Metadata} {
		if s != nil {
			n += len(*s)
		}
	}
	return n
}

// resolve gives an item its verdict and its units their place.
func (it *item) resolve(v models.Verdict) {
	account(it.Posting, &v)
	it.requester.Decided(v)
}

// account gives the units of an entry their place, once it has its verdict. They are settled if this very entry is in the ledger, on this
// lease; else another entry stands in its place, or none, or it had come in by way of another lease.
func account(p *lease.Posting, v *models.Verdict) {
	booked := v.Err == nil && !v.Replayed && v.Entry.LeaseID == p.Block.LeaseID
	switch n := spent(&p.Entry); {
	case n > 0 && booked:
		p.Block.Settled(n)
	case n > 0:
		p.Block.Unspend(n)
	case booked:
		p.Block.Refund(v.Redemption.Returned(&v.Entry))
	}
}
