package ledger

import (
	"cmp"
	"fmt"

	"tranche/models"
)

// NewOffer gives the row that an offer starts as: the terms are the admin's, the books are empty. Without a mode it is strict. Without a
// lease size, a block of a currency is a hundredth of the budget: orders take many units each. ErrModeNotPossible.
func NewOffer(terms models.Offer, now models.Micros) (models.Offer, error) {
	o := terms
	o.Mode = cmp.Or(o.Mode, models.ModeStrict)
	if o.LeaseSize == 0 && o.Unit != models.UnitRedemptions {
		o.LeaseSize = max(1, o.Budget/100)
	}
	o.LeaseSize = cmp.Or(o.LeaseSize, models.DefaultLeaseSize)
	if err := possible(&o); err != nil {
		return models.Offer{}, err
	}
	if o.Status == "" {
		o.Status = models.StatusActive
	}
	o.BudgetTarget, o.Allocated = o.Budget, 0
	o.Folded, o.LateUnits, o.Exposed = models.Totals{}, 0, 0
	o.Recall, o.LimitedFrom, o.Version, o.CreatedAt, o.UpdatedAt = 0, 0, 1, now, now
	return o, nil
}

// possible refuses limits that the mode cannot keep: the counters of users are in the ledger, and fast answers without it.
func possible(o *models.Offer) error {
	if o.Mode == models.ModeFast && o.LimitsUsers() {
		return fmt.Errorf("%w: a fast offer cannot limit its users", models.ErrModeNotPossible)
	}
	return nil
}

// SameTerms reports whether creating b would have made a: whether all that an admin says when creating an offer agrees.
// The status is left out, because pausing an offer does not make a retried creation of it another request.
func SameTerms(a, b *models.Offer) bool {
	return a.ID == b.ID && a.Name == b.Name && a.Unit == b.Unit && a.Mode == b.Mode &&
		a.BudgetTarget == b.BudgetTarget &&
		sameLimits(a, b) && equal(a.StartsAt, b.StartsAt) && equal(a.EndsAt, b.EndsAt) &&
		a.LeaseSize == b.LeaseSize && a.LeaseTTLSeconds == b.LeaseTTLSeconds && a.Adaptive == b.Adaptive &&
		a.RefundRestoresBudget == b.RefundRestoresBudget && a.RefundRestoresUserLimit == b.RefundRestoresUserLimit
}

func sameLimits(a, b *models.Offer) bool {
	return equal(a.UserLimitRedemptions, b.UserLimitRedemptions) && equal(a.UserLimitUnits, b.UserLimitUnits)
}

// InUse says what an offer's books hold when it is changed.
type InUse struct {
	NetSpent int64
	Started  bool // it has an active lease, or one that exposes units, or was ever redeemed or held
}

// Change applies an admin's change to an offer whose row is locked. The change works on a copy; what is not an admin's to set
// is put back. It reports whether anything differs. The error of the change itself is passed on as it is.
//
// New terms recall the leases that were granted on the old ones, and so does a change that raises Recall itself, whatever else it
// does. Only the name concerns no lease.
//
// User limits may come at any time. From then on each user is counted from the ledger once; see [models.Offer.LimitedFrom].
//
// A budget set below what was allocated becomes the target, and the budget itself waits at what was allocated; but it never rises
// to that, where late units have taken what was allocated past it.
func Change(before models.Offer, use InUse, now models.Micros, change func(*models.Offer) error) (models.Offer, bool, error) {
	after := before
	if err := change(&after); err != nil {
		return before, false, err
	}
	after.ID, after.Unit = before.ID, before.Unit
	after.Allocated, after.Folded = before.Allocated, before.Folded
	after.LateUnits, after.Exposed = before.LateUnits, before.Exposed
	after.Budget = max(after.BudgetTarget, min(before.Allocated, before.Budget))
	if after.BudgetTarget == before.BudgetTarget {
		after.Budget = before.Budget
	}
	recalls := after.Recall > before.Recall
	after.Recall, after.LimitedFrom = before.Recall, before.LimitedFrom
	after.Version, after.CreatedAt, after.UpdatedAt = before.Version, before.CreatedAt, before.UpdatedAt

	renamed := before
	renamed.Name = after.Name
	changed := after.Name != before.Name
	if !same(&renamed, &after) {
		changed, recalls = true, true
	}
	if !changed && !recalls {
		return before, false, nil
	}
	if after.BudgetTarget < use.NetSpent && after.BudgetTarget != before.BudgetTarget {
		return before, false, &models.BudgetBelowSpentError{Minimum: use.NetSpent}
	}
	if err := possible(&after); err != nil {
		return before, false, err
	}
	if changed {
		after.Version++
	}
	if recalls {
		after.Recall++
	}
	if use.Started && after.LimitsUsers() && !sameLimits(&before, &after) {
		after.LimitedFrom = after.Recall
	}
	after.UpdatedAt = now
	return after, true, nil
}

// same reports whether nothing that an admin can set differs.
func same(a, b *models.Offer) bool { return SameTerms(a, b) && a.Status == b.Status }

// CheckSize asserts that what a [models.GrantRequest] chose to grant is there to be granted, or is nothing.
func CheckSize(req *models.GrantRequest, units, unallocated int64) error {
	if units < 0 || units > max(0, unallocated) {
		return fmt.Errorf("grant for offer %q: %d units of %d unallocated", req.OfferID, units, unallocated)
	}
	return nil
}

// NewLease gives the row that a grant inserts: a lease of a block of so many units, on the offer's terms as they are now.
func NewLease(req *models.GrantRequest, offer *models.Offer, units int64, now models.Micros) models.Lease {
	return models.Lease{
		OfferID: offer.ID, ID: req.LeaseID, NodeID: req.NodeID, Epoch: req.Epoch,
		Kind: models.KindBlock, Mode: offer.Mode, Recall: offer.Recall, Granted: units,
		TTLSeconds: offer.LeaseTTLSeconds, State: models.LeaseActive, GrantedAt: now, ExpiresAt: now.Add(offer.LeaseTTL()),
	}
}

// NewPool gives the row of a refund pool, empty, from what its opener says of it. Its mode is the offer's as it is now.
func NewPool(l models.Lease, offer *models.Offer, now models.Micros) models.Lease {
	return models.Lease{
		OfferID: offer.ID, ID: l.ID, NodeID: l.NodeID, Epoch: l.Epoch,
		Kind: models.KindRefundPool, Mode: offer.Mode, Recall: offer.Recall,
		TTLSeconds: l.TTLSeconds, State: models.LeaseActive, GrantedAt: now, ExpiresAt: now.Add(l.TTL()),
	}
}
