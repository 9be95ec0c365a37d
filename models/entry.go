package models

import (
	"slices"
	"time"
)

// Kind is what an entry records.
type Kind string

// The kinds of entry.
const (
	KindRedeem  Kind = "redeem"
	KindHold    Kind = "hold"
	KindConfirm Kind = "confirm" // of a hold, for all of its units or fewer
	KindCancel  Kind = "cancel"  // of a hold
	KindExpire  Kind = "expire"  // of a hold, by a sweeper
	KindRefund  Kind = "refund"
)

// Spends reports whether an entry of this kind brings a redemption into being, and spends its units. All others follow one that did.
func (k Kind) Spends() bool { return k == KindRedeem || k == KindHold }

// Entry is a row of the ledger. It is written once, in the transaction that moves its units, and never changed.
//
// The entries of one redemption are numbered: Seq 0 brings it into being, each later one takes the last + 1.
// (OfferID, Redemption, Seq) is unique, and that alone makes redemptions idempotent, refunds serial, and lets a hold end once.
type Entry struct {
	OfferID        string `gorm:"primaryKey"`
	ID             ID     `gorm:"primaryKey"`
	Redemption     ID     // RedemptionID.Hash
	Seq            int64
	Kind           Kind
	UserID         string
	OrderID        *string
	IdempotencyKey string // of the redemption, or of the refund within it; empty for what ends a hold
	Units          int64  // of a confirmation: those that become final
	LeaseID        ID     // spent from, or given back into
	NodeID         ID

	HoldExpiresAt *Micros // of a hold: when it may be given back, whole seconds after CreatedAt
	CartID        *CartID // of the first entry of a redemption: the cart that it is an item of

	RestoresBudget    bool // of a refund: whether the units went back to the budget
	RestoresUserLimit bool // of a refund: whether they went back to the user's limit

	Late      bool // booked after its lease had closed
	Reason    *string
	Metadata  *string // a JSON object
	CreatedAt Micros  `gorm:"autoCreateTime:false"` // when its units were spent, or given back, by the database's clock
	BookedAt  *Micros // when the transaction ran that inserted it; nil: as CreatedAt, which older versions knew only

	Fed bool // the transaction that inserted it has listed it for the feed, which older versions do not

	// Folds is how many refunds of its redemption the database has folded into this one, which is no row then: it has the sum of their units
	// and the highest of their seqs. 0: it is a row. A folded entry stands before the refunds that are rows.
	Folds int64 `gorm:"-"`
}

// SpendAt dates an entry that spends: a hold begins then, too.
func (e *Entry) SpendAt(at Micros) {
	if held := e.HeldFor(); held > 0 {
		ends := at.Add(held)
		e.HoldExpiresAt = &ends
	}
	e.CreatedAt = at
}

// Booked is when the transaction ran that inserted the entry. It has committed within seconds. It is never before CreatedAt, which a node
// may take a moment ahead of the database's clock.
func (e *Entry) Booked() Micros {
	if e.BookedAt == nil {
		return e.CreatedAt
	}
	return max(e.CreatedAt, *e.BookedAt)
}

// RedemptionID names the redemption that e belongs to.
func (e *Entry) RedemptionID() RedemptionID {
	return RedemptionID{OfferID: e.OfferID, Hash: e.Redemption}
}

// HeldFor is how long the units of a hold are set aside unless it is confirmed or cancelled: 0 for what is no hold.
func (e *Entry) HeldFor() time.Duration {
	if e.HoldExpiresAt == nil {
		return 0
	}
	return e.HoldExpiresAt.Sub(e.CreatedAt)
}

// RedemptionState is where a redemption is in its life.
type RedemptionState string

// The states of a redemption. A held one becomes one of the others, once; those are final, and refunds don't change them.
const (
	StateRedeemed  RedemptionState = "redeemed"
	StateHeld      RedemptionState = "held"
	StateCancelled RedemptionState = "cancelled"
	StateExpired   RedemptionState = "expired"
)

// Redemption is the user-level event, as the entries behind it tell it.
type Redemption struct {
	RedemptionID
	IdempotencyKey string
	UserID         string
	OrderID        *string
	Units          int64 // held, redeemed, or what a hold that came to nothing had held
	Taken          int64 // as first asked for; Units are fewer after a confirmation of fewer
	RefundedUnits  int64
	State          RedemptionState
	HoldExpiresAt  *Micros // of what is or was a hold
	Late           bool
	Journaled      bool // acknowledged from the node's journal, and not in the ledger yet
	NodeID         ID
	LeaseID        ID
	CartID         *CartID // that it is an item of
	Metadata       *string
	CreatedAt      Micros
	ResolvedAt     *Micros // when it became final
	LastSeq        int64
	RefundCount    int64
	Refunds        []Entry // those that are not folded, oldest first
}

// Remaining is what can still be refunded, in units.
func (r *Redemption) Remaining() int64 {
	if r.State != StateRedeemed {
		return 0
	}
	return r.Units - r.RefundedUnits
}

// Returned is how many units an entry of r has given back to the budget. Those of holds always go back, whatever the offer's refund
// policy says: they were never redeemed.
func (r *Redemption) Returned(e *Entry) int64 {
	switch {
	case e.Kind == KindConfirm:
		return r.Taken - e.Units
	case e.Kind == KindCancel, e.Kind == KindExpire, e.Kind == KindRefund && e.RestoresBudget:
		return e.Units
	default:
		return 0
	}
}

// Hold is a redemption that is held.
type Hold struct {
	OfferID    string `gorm:"primaryKey"`
	Redemption ID     `gorm:"primaryKey"` // RedemptionID.Hash
	ExpiresAt  Micros
}

// Wanted is an entry on its way into the ledger. The database decides its Seq, and the units where it says "all" by 0.
type Wanted struct {
	Entry

	// CheckOnly asks only whether the entry is there already: its requester has gone, so it must not be written any more.
	// It means nothing for an Acknowledged entry.
	CheckOnly bool

	// Acknowledged says that the requester was answered from the node's journal: the entry must be booked, whatever became of its
	// lease and of its user's limit. Only an entry that spends can be.
	Acknowledged bool
}

// Batch is what one settle transaction books on one lease. An item of a cart is one, too, of a single entry and without a number.
type Batch struct {
	Offer   *Offer // its user limits and refund policy are applied
	LeaseID ID
	Number  int64 // the lease's last settled batch + 1
	Wanted  []Wanted

	// BookedAt is the clock of the transaction that books the batch, where it is read: it dates the entries. The store sets it.
	BookedAt *Micros
}

// Acknowledged reports whether any entry of the batch is.
func (b *Batch) Acknowledged() bool {
	return slices.ContainsFunc(b.Wanted, func(w Wanted) bool { return w.Acknowledged })
}

// Verdict is what became of one wanted entry.
//
// An Acknowledged entry is booked (Entry.Late says whether late), or another entry has its key: then it is a replay for the same
// request and ErrKeyReused, and an [Exception], for another one. ErrNotSettled means for it, too, that it has to be asked for again.
type Verdict struct {
	// Err is nil when the entry, or for a replay the one that stands in its place, is in the ledger.
	// Else it says why not: ErrUserLimitReached, ErrKeyReused, ErrRedemptionNotFound, ErrRefundExceeds, ErrTooManyRefunds,
	// ErrNotConfirmed, ErrNotAHold, ErrHoldResolved, ErrConfirmExceeds, ErrLeaseClosed beside others that were booked late, or ErrNotSettled, when nothing was decided and it may be asked for again.
	Err        error
	Entry      Entry      // as it is in the ledger; with ErrKeyReused, the one that has the key
	Redemption Redemption // as it is now
	Replayed   bool       // the request had succeeded before
}

// A Requester hears what became of the entry it wanted.
type Requester interface {
	// Decided is called once, from any goroutine, and must not wait.
	Decided(v Verdict)
}

// Balance is an offer's books at one instant. The identities of the books hold in each.
type Balance struct {
	Budget      int64
	Allocated   int64
	Outstanding int64
	Totals
	OverspendBound int64   // what Overspend comes to if all is booked that may have been acknowledged and is not in the ledger yet
	LateUnits      int64   // booked late, ever
	NextHoldEnds   *Micros // of what is held, when the first hold may be given back
	LeasesActive   int64
	NodesActive    int64  // that serve, whatever they hold
	Recall         int64  // the offer's number
	ChangedAt      Micros // when the offer was last changed or recalled
	Recalled       int64  // of Outstanding, the units in recalled leases
	AsOf           Micros
}

// AddsUp reports whether the books are in order: what has left the pool is spent or outstanding.
func (b *Balance) AddsUp() bool { return b.Allocated == b.NetSpent()+b.Outstanding }

// Unallocated is what may still be granted; below zero after late units that the budget has no room for.
func (b *Balance) Unallocated() int64 { return b.Budget - b.Allocated }

// Overspend is how far the promotion went over its budget, in units.
func (b *Balance) Overspend() int64 { return max(0, b.NetSpent()-b.Budget) }
