package models

import "slices"

// Kind is what an entry records.
type Kind string

// The kinds of entry.
const (
	KindRedeem Kind = "redeem"
	KindRefund Kind = "refund"
)

// Entry is a row of the ledger. It is written once, in the transaction that moves its units, and never changed.
//
// The entries of one redemption are numbered: Seq 0 brings it into being, each later one takes the last + 1.
// (OfferID, Redemption, Seq) is unique, and that alone makes redemptions idempotent and refunds serial.
type Entry struct {
	OfferID        string `gorm:"primaryKey"`
	ID             ID     `gorm:"primaryKey"`
	Redemption     ID     // RedemptionID.Hash
	Seq            int64
	Kind           Kind
	UserID         string
	OrderID        *string
	IdempotencyKey string // of the redemption, or of the refund within it
	Units          int64
	LeaseID        ID // spent from, or refunded into
	NodeID         ID

	RestoresBudget    bool // of a refund: whether the units went back to the budget
	RestoresUserLimit bool // of a refund: whether they went back to the user's limit

	Late      bool // booked after its lease had closed
	Reason    *string
	Metadata  *string // a JSON object
	CreatedAt Micros  `gorm:"autoCreateTime:false"` // when the node took it, by the database's clock
}

// RedemptionID names the redemption that e belongs to.
func (e *Entry) RedemptionID() RedemptionID {
	return RedemptionID{OfferID: e.OfferID, Hash: e.Redemption}
}

// RedemptionState is where a redemption is in its life.
type RedemptionState string

// StateRedeemed is the state of a redemption that is final; refunds don't change it.
const StateRedeemed RedemptionState = "redeemed"

// Redemption is the user-level event, as the entries behind it tell it.
type Redemption struct {
	RedemptionID
	IdempotencyKey string
	UserID         string
	OrderID        *string
	Units          int64
	RefundedUnits  int64
	State          RedemptionState
	Late           bool
	Journaled      bool // acknowledged from the node's journal, and not in the ledger yet
	NodeID         ID
	LeaseID        ID
	Metadata       *string
	CreatedAt      Micros
	ResolvedAt     *Micros // when it became final
	LastSeq        int64
	Refunds        []Entry // oldest first
}

// Remaining is what can still be refunded, in units.
func (r *Redemption) Remaining() int64 { return r.Units - r.RefundedUnits }

// Wanted is an entry on its way into the ledger. The database decides its Seq, and the units of a refund of "all that is left".
type Wanted struct {
	Entry

	// CheckOnly asks only whether the entry is there already: its requester has gone, so it must not be written any more.
	// It means nothing for an Acknowledged entry.
	CheckOnly bool

	// Acknowledged says that the requester was answered from the node's journal: the entry must be booked, whatever became of its
	// lease and of its user's limit. Only a redeem entry can be.
	Acknowledged bool
}

// Batch is what one settle transaction books on one lease.
type Batch struct {
	Offer   *Offer // its user limits and refund policy are applied
	LeaseID ID
	Number  int64 // the lease's last settled batch + 1
	Wanted  []Wanted
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
	// Else it says why not: ErrUserLimitReached, ErrKeyReused, ErrRedemptionNotFound, ErrRefundExceeds,
	// ErrLeaseClosed beside others that were booked late, or ErrNotSettled, when nothing was decided and it may be asked for again.
	Err        error
	Entry      Entry      // as it is in the ledger
	Redemption Redemption // as it is now
	Replayed   bool       // the request had succeeded before
}

// Balance is an offer's books at one instant. The identities of the books hold in each.
type Balance struct {
	Budget      int64
	Allocated   int64
	Outstanding int64
	Totals
	OverspendBound int64 // what Overspend comes to if all is booked that may have been acknowledged and is not in the ledger yet
	LateUnits      int64 // booked late, ever
	LeasesActive   int64
	NodesActive    int64 // with an active lease of this offer
	Recall         int64 // the offer's number
	Recalled       int64 // of Outstanding, the units in recalled leases
	AsOf           Micros
}

// Unallocated is what may still be granted; below zero after late units that the budget has no room for.
func (b *Balance) Unallocated() int64 { return b.Budget - b.Allocated }

// Overspend is how far the promotion went over its budget, in units.
func (b *Balance) Overspend() int64 { return max(0, b.NetSpent()-b.Budget) }
