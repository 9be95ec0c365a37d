package allocator

import (
	"context"
	"fmt"

	"tranche/models"
)

// Carts is where the rows of carts are read.
type Carts interface {
	Cart(ctx context.Context, id models.CartID) (models.Cart, error)
}

// Cart looks one up, its redemptions as they are now. ErrCartNotFound.
func (a *Allocator) Cart(ctx context.Context, id models.CartID) (Carted, error) {
	c, err := a.cfg.Ledger.Cart(ctx, id)
	if err != nil {
		return Carted{}, err
	}
	r := Carted{ID: id}
	for _, id := range c.Redemptions() {
		_, redemption, found, err := a.lookups.find(ctx, id)
		if err == nil && !found {
			err = fmt.Errorf("cart %s is there, and its redemption %s is not", c.ID, id)
		}
		if err != nil {
			return Carted{}, err
		}
		r.Redemptions = append(r.Redemptions, redemption)
	}
	return r, nil
}

// ConfirmCart makes all holds of a cart final, for all their units, or none of them. It promises as Confirm does.
//
// Refusals: models.ErrCartNotFound; around a models.CartError, ErrNotAHold and ErrHoldResolved.
func (a *Allocator) ConfirmCart(ctx context.Context, id models.CartID) (Carted, error) {
	return a.endCart(ctx, id, models.KindConfirm)
}

// CancelCart gives back all holds of a cart, or none of them. It promises and refuses as ConfirmCart does.
func (a *Allocator) CancelCart(ctx context.Context, id models.CartID) (Carted, error) {
	return a.endCart(ctx, id, models.KindCancel)
}

func (a *Allocator) endCart(ctx context.Context, id models.CartID, kind models.Kind) (Carted, error) {
	verdicts, err := a.bookCart(ctx, id, models.Entry{Kind: kind})
	if err != nil {
		return Carted{}, err
	}
	return carted(id, verdicts), nil
}

// RefundCart gives back all that is left of each item, under a key that names the refund within each. It passes over an item of which
// nothing is left. When it gives no error, the refunds are committed in the database.
//
// Refusals: models.ErrCartNotFound; around a models.CartError, ErrRefundExceeds (nothing is left of any), ErrNotConfirmed and ErrKeyReused.
func (a *Allocator) RefundCart(ctx context.Context, id models.CartID, key string, reason *string) (CartRefunded, error) {
	verdicts, err := a.bookCart(ctx, id, models.Entry{Kind: models.KindRefund, IdempotencyKey: key, Reason: reason})
	if err != nil {
		return CartRefunded{}, err
	}
	r := CartRefunded{ID: id, Replayed: true}
	for _, v := range verdicts {
		if v.Err == nil {
			r.Refunds = append(r.Refunds, v.Entry)
			r.Replayed = r.Replayed && v.Replayed
		}
	}
	return r, nil
}

// bookCart books an entry like e for each redemption of a cart. All of them are in the ledger, so it waits for none.
func (a *Allocator) bookCart(ctx context.Context, id models.CartID, e models.Entry) ([]models.Verdict, error) {
	c, err := a.cfg.Ledger.Cart(ctx, id)
	if err != nil {
		return nil, err
	}
	offers, entries := make([]*models.Offer, len(c.OfferIDs)), make([]models.Entry, len(c.OfferIDs))
	for i, id := range c.Redemptions() {
		if offers[i], err = a.cfg.Offers.Offer(ctx, id.OfferID); err != nil {
			return nil, err
		}
		entries[i] = a.following(id, e)
	}
	return a.cfg.Desk.BookCart(ctx, c, offers, entries)
}
