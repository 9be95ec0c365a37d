package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/ledger"
	"tranche/models"
)

// refusal is a reason to say no to a request, unless an earlier one with the same key has succeeded; see refuse.
type refusal struct{ reason error }

func (r refusal) Error() string { return r.reason.Error() }
func (r refusal) Unwrap() error { return r.reason }

// refuses reports whether an attempt was refused, and another one would be, too.
func refuses(err error) bool {
	return errors.Is(err, models.ErrUserLimitReached) || errors.Is(err, models.ErrOfferNotActive) || errors.Is(err, models.ErrTotalsExceeded)
}

// refuse says no for a reason, unless the request had succeeded before. It looks the key up after the reason was found, so it sees a
// success that caused the reason.
func (a *Allocator) refuse(ctx context.Context, e *models.Entry, reason error) (Redeemed, error) {
	r, found, err := a.lookups.request(ctx, e, ledger.SameRequest)
	if !found && err == nil {
		err = reason
	}
	return r, err
}

// short says why there is not enough, from the offer's books. It is nil when they have enough after all: then it is worth
// another try. A recent balance will do for a refusal, but only a fresh one may contradict the keeper.
func (a *Allocator) short(ctx context.Context, offer *models.Offer, units int64) error {
	now := a.cfg.Now()
	for _, after := range []time.Time{now.Add(-balanceFor), now} {
		books, err := a.balances.get(ctx, offer.ID, after)
		if err != nil {
			return err
		}
		if books.balance.Unallocated() < units {
			return &models.ShortError{Wanted: units, Balance: books.balance, Holders: books.holders, NextReleaseAt: books.release}
		}
	}
	a.cfg.Blocks.Reconsider(offer.ID)
	return nil
}
