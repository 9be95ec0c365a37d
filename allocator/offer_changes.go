package allocator

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// Admin is what changes offers in the database.
type Admin interface {
	CreateOffer(ctx context.Context, offer models.Offer, by models.Audit) (models.Offer, bool, error)
	ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (models.Offer, error)
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)
	Offer(ctx context.Context, id string) (models.Offer, error)
}

const (
	// appliedWithin is how long the answer to a change waits for the nodes to apply it.
	appliedWithin = time.Second
	appliedPoll   = 25 * time.Millisecond
)

// CreateOffer makes an offer. isNew is false when exactly this offer exists already; models.ErrOfferExists when another one
// has its id. by says who makes it, and why, for the audit.
func (a *Allocator) CreateOffer(ctx context.Context, offer models.Offer, by models.Audit) (created models.Offer, isNew bool, err error) {
	by.NodeID = a.cfg.NodeID
	sent := a.cfg.Now()
	created, isNew, err = a.cfg.Ledger.CreateOffer(ctx, offer, by)
	if err == nil {
		a.cfg.Offers.Learn(created, sent)
	}
	return created, isNew, err
}

// ChangeOffer applies change to an offer, if its version still is ifVersion (nil: whatever it is), and waits for a moment until all
// nodes have applied it. by says who changes it, and why, for the audit.
//
// A node has applied a change of the terms when it has given back all leases that it was granted before: until then it may go on with
// the offer as it was. So where nobody is pending, nothing more is redeemed on the old terms, nor acknowledged.
//
// Errors: models.ErrOfferNotFound, ErrStaleVersion, ErrBudgetBelowSpent, ErrModeNotPossible, and whatever change gives.
func (a *Allocator) ChangeOffer(
	ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit,
) (Applied, error) {
	by.NodeID = a.cfg.NodeID
	// A node may return its leases before the first look after the change. If this look fails, only its name is missing then.
	before, _ := a.cfg.Ledger.ActiveLeases(ctx, id)
	sent := a.cfg.Now()
	offer, err := a.cfg.Ledger.ChangeOffer(ctx, id, ifVersion, change, by)
	if err != nil {
		return Applied{}, err
	}
	a.cfg.Offers.LearnLocked(offer, sent)
	applied, err := a.untilApplied(ctx, &offer, before)
	if err == nil && offer.LimitedFrom > 0 { // leases that expose units keep users being counted, too
		applied.Offer.Counting, err = a.counting(ctx, id)
	}
	if err != nil { // the change was made; the same request again tells who has applied it
		//nolint:errorlint // the outcome is unknown, whatever the second error says of it
		return Applied{}, fmt.Errorf("%w: the offer is changed, its leases could not be read: %v", models.ErrOutcomeUnknown, err)
	}
	return applied, nil
}

// untilApplied looks at the leases of an offer until none is recalled any more, or it has waited long enough.
func (a *Allocator) untilApplied(ctx context.Context, offer *models.Offer, before []models.ListedLease) (Applied, error) {
	owners := map[models.ID]Owner{a.cfg.NodeID: {a.cfg.NodeID, a.cfg.NodeName}} // the nodes that had a lease at some look
	note := func(leases []models.ListedLease) {
		for i := range leases {
			owners[leases[i].NodeID] = Owner{leases[i].NodeID, leases[i].NodeName}
		}
	}
	note(before)
	for deadline := a.cfg.Now().Add(appliedWithin); ; {
		leases, err := a.cfg.Ledger.ActiveLeases(ctx, offer.ID)
		if err != nil {
			return Applied{}, err
		}
		note(leases)
		pending := recalled(leases, offer.Recall)
		if len(pending) == 0 || !a.cfg.Now().Before(deadline) || !run.Pause(ctx, appliedPoll) {
			return Applied{Offer: *offer, Applied: without(owners, pending), Pending: pending}, nil
		}
	}
}

// recalled finds the owners of leases that were granted before the offer's recall number was raised to this one.
func recalled(leases []models.ListedLease, number int64) (pending []Pending) {
	for _, l := range leases {
		if l.Recall >= number {
			continue
		}
		i := slices.IndexFunc(pending, func(p Pending) bool { return p.NodeID == l.NodeID })
		if i < 0 {
			i = len(pending)
			pending = append(pending, Pending{Owner: Owner{l.NodeID, l.NodeName}})
		}
		pending[i].Until = max(pending[i].Until, l.ExpiresAt)
	}
	return pending
}

// without gives the nodes that are not pending, in a stable order.
func without(nodes map[models.ID]Owner, pending []Pending) (rest []Owner) {
	for id, owner := range nodes {
		if !slices.ContainsFunc(pending, func(p Pending) bool { return p.NodeID == id }) {
			rest = append(rest, owner)
		}
	}
	slices.SortFunc(rest, func(a, b Owner) int { return bytes.Compare(a.NodeID[:], b.NodeID[:]) })
	return rest
}

// counting reports whether leases from before an offer's limits are still out.
func (a *Allocator) counting(ctx context.Context, offerID string) (bool, error) {
	offer, err := a.cfg.Ledger.Offer(ctx, offerID)
	return offer.Counting, err
}
