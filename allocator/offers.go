package allocator

import (
	"context"
	"fmt"
	"slices"

	"tranche/models"
)

// Admin is what changes offers in the database.
type Admin interface {
	CreateOffer(ctx context.Context, offer models.Offer) (models.Offer, bool, error)
	ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error) (models.Offer, error)
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)
}

// CreateOffer makes an offer. isNew is false when exactly this offer exists already; models.ErrOfferExists when another one
// has its id.
func (a *Allocator) CreateOffer(ctx context.Context, offer models.Offer) (created models.Offer, isNew bool, err error) {
	created, isNew, err = a.ledger.CreateOffer(ctx, offer)
	if err == nil {
		a.catalogue.Learn(created)
	}
	return created, isNew, err
}

// ChangeOffer applies change to an offer, if its version still is ifVersion (nil: whatever it is). This node acts on it when
// ChangeOffer returns; Applied says which others may not have heard of it, and until when they may go on at the latest: until
// the leases that they hold now have ended.
//
// Errors: models.ErrOfferNotFound, ErrStaleVersion, ErrBudgetBelowSpent, ErrLimitAfterStart, and whatever change gives.
func (a *Allocator) ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error) (Applied, error) {
	offer, err := a.ledger.ChangeOffer(ctx, id, ifVersion, change)
	if err != nil {
		return Applied{}, err
	}
	a.catalogue.Learn(offer)
	pending, err := a.pending(ctx, id)
	if err != nil { // the change was made; the same request again tells who has heard of it
		return Applied{}, fmt.Errorf("%w: the offer is changed, its leases could not be read: %v", models.ErrOutcomeUnknown, err)
	}
	return Applied{Offer: offer, Applied: []models.ID{a.nodeID}, Pending: pending}, nil
}

// pending finds the other nodes that hold active leases of an offer.
func (a *Allocator) pending(ctx context.Context, offerID string) ([]Pending, error) {
	leases, err := a.ledger.ActiveLeases(ctx, offerID)
	if err != nil {
		return nil, err
	}
	var pending []Pending
	for _, l := range leases {
		if l.NodeID == a.nodeID {
			continue
		}
		i := slices.IndexFunc(pending, func(p Pending) bool { return p.NodeID == l.NodeID })
		if i < 0 {
			i = len(pending)
			pending = append(pending, Pending{NodeID: l.NodeID, NodeName: l.NodeName})
		}
		pending[i].Until = max(pending[i].Until, l.ExpiresAt)
	}
	return pending, nil
}
