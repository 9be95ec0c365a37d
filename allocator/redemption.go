package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

const (
	// settleWithin is how long a look-up waits for a redemption that another node may have acknowledged and not settled yet.
	settleWithin = time.Second
	settlePoll   = 50 * time.Millisecond
)

// Redemption looks one up, as it is now. One that this node has acknowledged and not settled yet is answered from memory, and
// marked as Journaled.
//
// Errors: models.ErrRedemptionNotFound; models.ErrRedemptionUnsettled, where another node may have it in its journal;
// models.ErrLedgerUnavailable.
func (a *Allocator) Redemption(ctx context.Context, id models.RedemptionID) (models.Redemption, error) {
	if e, settled, known := a.memory.find(id.Hash); known && !settled {
		return journaled(e).Redemption, nil
	}
	offer, err := a.cfg.Offers.Offer(ctx, id.OfferID)
	if errors.Is(err, models.ErrOfferNotFound) {
		return models.Redemption{}, models.ErrRedemptionNotFound
	}
	if err != nil {
		return models.Redemption{}, err
	}
	var r models.Redemption
	err = a.onceSettled(ctx, offer, id, func() error {
		var found bool
		_, r, found, err = a.lookups.find(ctx, id)
		if err == nil && !found {
			err = models.ErrRedemptionNotFound
		}
		return err
	})
	return r, err
}

// onceSettled calls look until it finds the redemption, for as long as it may be on its way from a journal into the ledger.
func (a *Allocator) onceSettled(ctx context.Context, offer *models.Offer, id models.RedemptionID, look func() error) error {
	deadline := a.cfg.Now().Add(settleWithin)
	for {
		err := look()
		if !errors.Is(err, models.ErrRedemptionNotFound) || !a.maybeUnsettled(offer, id) {
			return err
		}
		if a.cfg.Now().After(deadline) || !run.Pause(ctx, settlePoll) {
			return models.ErrRedemptionUnsettled
		}
	}
}

// maybeUnsettled reports whether a redemption that the ledger doesn't have may be in a journal.
func (a *Allocator) maybeUnsettled(offer *models.Offer, id models.RedemptionID) bool {
	return a.memory.owes(id.Hash) || offer.Mode.Outlives()
}
