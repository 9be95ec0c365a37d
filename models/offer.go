package models

import "time"

// Limits of what an admin or a checkout may ask for. The tables hold the same ones as CHECKs where they can.
const (
	MaxInteger       = 1<<53 - 1         // what every JSON reader can hold exactly
	MaxUnits         = 1_000_000_000_000 // of a budget, a request, a lease
	MaxTotal         = MaxInteger / 2    // of an offer's sums, for new leases: the other half is for what the leases that are out add
	MaxNameBytes     = 200
	MaxSubjectBytes  = 128 // user and order ids
	MaxKeyBytes      = 255
	MaxMetadataBytes = 4 << 10
	MaxReasonBytes   = 500
	MaxRefunds       = 1000           // of a redemption; one more may take all that is left
	MaxHold          = 24 * time.Hour // a hold is for whole seconds, and at least one

	DefaultLeaseSize = 1000 // of redemptions; of a currency a block is a hundredth of the budget
	DefaultLeaseTTL  = 60 * time.Second
	MinLeaseTTL      = 5 * time.Second
	MaxLeaseTTL      = time.Hour
)

// UnitRedemptions is the unit of an offer whose budget counts redemptions; any other unit is an ISO 4217 code,
// and the budget counts that currency's minor units.
const UnitRedemptions = "redemptions"

// Mode says what an acknowledgement promises.
type Mode string

// The modes of an offer. A lease keeps the mode that it was granted in.
const (
	ModeStrict    Mode = "strict"    // acknowledged when its entry is committed in the database
	ModeAvailable Mode = "available" // as strict; while the database is away, as fast
	ModeFast      Mode = "fast"      // acknowledged when its record is fsynced in the node's journal
)

// Outlives reports whether a redemption may be acknowledged from the journal, and so outlive its lease before it is booked.
func (m Mode) Outlives() bool { return m == ModeFast || m == ModeAvailable }

// Status is where an offer is in its life. Only active, paused and ended are stored: scheduled follows from the window.
type Status string

// The statuses of an offer.
const (
	StatusScheduled Status = "scheduled" // active, and its window has not begun
	StatusActive    Status = "active"
	StatusPaused    Status = "paused"
	StatusEnded     Status = "ended" // by an admin or by its window; an end by an admin is final
)

// Offer is what a user redeems. Budget, limits and lease policy belong to admins; the rest is kept by the database.
type Offer struct {
	ID   string `gorm:"primaryKey"`
	Name string
	Unit string
	Mode Mode

	// Budget is how many units may leave the pool. It stands above BudgetTarget only while an admin has lowered the
	// budget below what was allocated; it then follows Allocated down. Allocated exceeds it by units that were booked late, at most.
	Budget       int64
	BudgetTarget int64
	Allocated    int64 // units that have left the pool: spent, or outstanding in active leases

	UserLimitRedemptions *int64 // nil: no limit
	UserLimitUnits       *int64
	LimitedFrom          int64 // the Recall that the limits came with: leases with a lower one may not count users
	Counting             bool  `gorm:"->"` // such a lease is active or exposes units; only what reads whole offers says so

	StartsAt *Micros // nil: at once
	EndsAt   *Micros // nil: never; the first instant that is outside
	Status   Status  // as stored; StatusAt says what it is at an instant

	LeaseSize       int64
	LeaseTTLSeconds int64
	Adaptive        bool

	RefundRestoresBudget    bool
	RefundRestoresUserLimit bool

	Folded    Totals `gorm:"embedded"` // of the closed leases, late entries included
	LateUnits int64  // booked after their lease had closed, ever
	Exposed   int64  // the sum of Lease.Exposed over the closed leases

	// Recall rises when leases are called back: with each change of the terms, and when somebody needs units that others have.
	// An active lease with a lower number is recalled.
	Recall int64

	Version   int64  // rises with each change by an admin, and with nothing else
	CreatedAt Micros `gorm:"autoCreateTime:false"`
	UpdatedAt Micros `gorm:"autoUpdateTime:false"` // the last change or recall
}

// StatusAt gives the status at an instant of the database's clock.
func (o *Offer) StatusAt(now Micros) Status {
	switch {
	case o.Status == StatusEnded, o.EndsAt != nil && now >= *o.EndsAt:
		return StatusEnded
	case o.Status == StatusPaused:
		return StatusPaused
	case o.StartsAt != nil && now < *o.StartsAt:
		return StatusScheduled
	default:
		return StatusActive
	}
}

// NewerThan reports whether o was read after an admin's change, or a recall, that p was read before. Both numbers only rise, under the
// lock of the offer's row.
func (o *Offer) NewerThan(p *Offer) bool {
	return o.Version >= p.Version && o.Recall >= p.Recall && o.Version+o.Recall > p.Version+p.Recall
}

// SameAs reports whether o and p were read between the same two changes or recalls.
func (o *Offer) SameAs(p *Offer) bool {
	return o.Version == p.Version && o.Recall == p.Recall && o.UpdatedAt == p.UpdatedAt
}

// LimitsUsers reports whether redemptions are counted per user.
func (o *Offer) LimitsUsers() bool { return o.UserLimitRedemptions != nil || o.UserLimitUnits != nil }

// UserLimits says how far an offer's limits hold.
type UserLimits string

// How far limits hold.
const (
	LimitsNone     UserLimits = "none"
	LimitsCounting UserLimits = "counting" // leases from before the limits are out, and what is redeemed from them may go over a limit
	LimitsExact    UserLimits = "exact"
)

// UserLimits says how far the limits hold.
func (o *Offer) UserLimits() UserLimits {
	switch {
	case !o.LimitsUsers():
		return LimitsNone
	case o.Counting:
		return LimitsCounting
	default:
		return LimitsExact
	}
}

// OverspendPerNode is how many units one node that is cut off can overspend: what it has leased, a block and the next one. Refund pools and
// requests for more than a block come on top. In mode strict it is 0.
func (o *Offer) OverspendPerNode() int64 {
	if !o.Mode.Outlives() {
		return 0
	}
	return min(o.BudgetTarget, 2*o.LeaseSize)
}

// TotalsExceeded reports whether so much was redeemed, or given back, that nothing more may be leased: then the sums stay what JSON readers
// can hold. The leases that are out can add no more than the budget, and what pools take in until they are returned.
func (o *Offer) TotalsExceeded() bool {
	return o.Folded.Redeemed > MaxTotal || o.Folded.Refunded+o.Folded.Forfeited > MaxTotal
}

// LeaseTTL is how long a lease lives unless it is renewed.
func (o *Offer) LeaseTTL() time.Duration { return time.Duration(o.LeaseTTLSeconds) * time.Second }

// Unallocated is what may still be granted, in units; below zero after late units that the budget has no room for.
func (o *Offer) Unallocated() int64 { return o.Budget - o.Allocated }

// Usage is what one user has redeemed of an offer, refunds that restore the limit taken off.
type Usage struct {
	OfferID     string `gorm:"primaryKey"`
	UserID      string `gorm:"primaryKey"`
	Redemptions int64
	Units       int64
	HeldUnits   int64 // of Units, those in holds
	Counted     int64 // the offer's LimitedFrom that the counters were made for; of another one they say nothing
}
