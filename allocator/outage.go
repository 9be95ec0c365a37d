package allocator

import (
	"context"
	"errors"

	"tranche/lease"
	"tranche/models"
)

// undecided reports whether the ledger has not said what becomes of a redemption: it is away, or has not answered.
func undecided(err error) bool {
	return errors.Is(err, models.ErrLedgerUnavailable) || errors.Is(err, models.ErrOutcomeUnknown)
}

// outage redeems while the ledger is away, from what this node has leased, as fast does. The offer's status, its window and its users'
// limits hold as far as this node knows. tried is how the ledger failed.
//
// It takes the entry that was tried before. If that comes to be committed after all, it is still one redemption. Since it may, an unknown
// outcome stays unknown where the outage would refuse.
func (a *Allocator) outage(ctx context.Context, offer *models.Offer, e models.Entry, tried error) (Redeemed, error) {
	r, err := a.redeemLeased(ctx, offer, e)
	if err != nil && errors.Is(tried, models.ErrOutcomeUnknown) {
		return Redeemed{}, tried
	}
	return r, err
}

func (a *Allocator) redeemLeased(ctx context.Context, offer *models.Offer, e models.Entry) (Redeemed, error) {
	if err := a.memory.users.addWithin(offer, &e); err != nil {
		return Redeemed{}, refusal{err}
	}
	posting, err := a.spendLeased(ctx, offer, e)
	var r Redeemed
	if err == nil {
		r, err = a.acknowledge(ctx, posting)
	}
	if err != nil && offer.LimitsUsers() {
		a.memory.users.remove(&e)
	}
	return r, err
}

// spendLeased is spend with the ledger away, and with it the books that could say why there is nothing to spend.
func (a *Allocator) spendLeased(ctx context.Context, offer *models.Offer, e models.Entry) (lease.Posting, error) {
	posting, err := a.spend(ctx, offer, e)
	switch {
	case errors.Is(err, models.ErrOfferNotActive):
		return lease.Posting{}, refusal{err}
	case errors.Is(err, lease.ErrShort), errors.Is(err, errTermsChanged):
		return lease.Posting{}, models.ErrLedgerUnavailable
	case err != nil:
		return lease.Posting{}, err
	case !posting.Block.Mode.Outlives():
		posting.Block.Unspend(posting.Entry.Units)
		return lease.Posting{}, models.ErrLedgerUnavailable
	default:
		return posting, nil
	}
}
