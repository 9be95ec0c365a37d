package settle

import (
	"sync/atomic"
	"time"

	"tranche/lease"
	"tranche/models"
)

// submission is a posting with its requester. The posting does not change.
type submission struct {
	*lease.Posting
	acknowledged bool      // it must be booked, and nobody waits for it
	deadline     time.Time // zero: none
	state        atomic.Int32
	metLock      atomic.Bool // it was set apart because of a lock
	requester    models.Requester
}

// The states of a submission. Only a queued one can be withdrawn; one that was attempted is queued again if that decided nothing.
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

// late reports whether the requester's time is over.
func (sub *submission) late(now time.Time) bool {
	return !sub.deadline.IsZero() && !now.Before(sub.deadline)
}

// undecided is what a requester hears whose time has ended before anything of its entry was on its way.
func (sub *submission) undecided() error {
	if sub.metLock.Load() {
		return models.ErrBusy
	}
	return models.ErrLedgerUnavailable
}

// bytes is about how much of a packet the entry takes.
func (sub *submission) bytes() int {
	e := &sub.Entry
	n := 256 + len(e.OfferID) + len(e.UserID) + len(e.IdempotencyKey)
	for _, s := range []*string{e.OrderID, e.Reason, e.Metadata} {
		if s != nil {
			n += len(*s)
		}
	}
	return n
}

// resolve gives a submission its verdict and its units their place.
func (sub *submission) resolve(v models.Verdict) {
	account(sub.Posting, &v)
	sub.requester.Decided(v)
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
