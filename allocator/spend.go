package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tranche/lease"
	"tranche/models"
)

// errTermsChanged: the offer is not as it was when the request was admitted.
var errTermsChanged = errors.New("the offer was changed meanwhile")

// errForgotten: this node has forgotten what came with a block. The offer is over, and only the next request reads it anew.
var errForgotten = fmt.Errorf("%w: the offer is forgotten", models.ErrLedgerUnavailable)

// spend takes the units of an entry from a block. The caller owes the block a Settled or an Unspend of them.
//
// It looks at the offer again when it has the block. A grant brings the offer as it was then. From then on the ledger has the lease, so
// nobody can have added a limit behind this node's back.
//
// Errors: models.ErrOfferNotActive, lease.ErrShort, errTermsChanged, and those of the keeper.
func (a *Allocator) spend(ctx context.Context, offer *models.Offer, e models.Entry) (lease.Posting, error) {
	now := a.cfg.Now()
	if err := a.active(offer, now); err != nil {
		return lease.Posting{}, err
	}
	block, err := a.cfg.Blocks.Spend(ctx, offer, e.Units, now)
	if err != nil {
		return lease.Posting{}, err
	}
	if err := a.agree(offer, block); err != nil {
		block.Unspend(e.Units)
		return lease.Posting{}, err
	}
	e.LeaseID = block.LeaseID
	e.SpendAt(max(a.LedgerNow(), block.GrantedAt)) // it may have waited
	return lease.Posting{Block: block, Offer: offer, Entry: e}, nil
}

// active says why an offer can't be redeemed at an instant, by its status and its window; nil when it can.
func (a *Allocator) active(offer *models.Offer, now time.Time) error {
	if status := offer.StatusAt(a.cfg.Offers.LedgerNow(now)); status != models.StatusActive {
		return &models.NotActiveError{Status: status, StartsAt: offer.StartsAt, EndsAt: offer.EndsAt}
	}
	return nil
}

// agree gives an error unless a request may act with a block on the terms that it was admitted under. A block brings the offer as it was
// at its grant or later, so no request spends from it on older terms.
func (a *Allocator) agree(offer *models.Offer, block *lease.Block) error {
	switch newest := a.cfg.Offers.Newer(offer); {
	case newest.Version != offer.Version:
		return errTermsChanged
	case newest.Recall < block.Recall:
		return errForgotten
	default:
		return nil
	}
}
