package allocator

import (
	"context"
	"errors"

	"tranche/models"
)

// Refund gives units of a redemption back. When it gives no error, the refund is committed in the database.
//
// Refusals: models.ErrRedemptionNotFound, ErrRefundExceeds, ErrTooManyRefunds, ErrNotConfirmed, ErrKeyReused. After models.ErrOutcomeUnknown the same
// request, with the same key, finds out.
func (a *Allocator) Refund(ctx context.Context, id models.RedemptionID, req RefundRequest) (Refunded, error) {
	verdict, err := a.book(ctx, id, models.Entry{
		Kind: models.KindRefund, IdempotencyKey: req.Key, Units: req.Units, Reason: req.Reason,
	})
	if err != nil {
		return Refunded{}, err
	}
	return Refunded{Refund: verdict.Entry, Redemption: verdict.Redemption, Replayed: verdict.Replayed}, nil
}

// Confirm makes a hold final, for so many of its units; 0 means all. When it gives no error, that is committed in the database, by this
// request or by one before that asked for the same.
//
// Refusals: models.ErrRedemptionNotFound, ErrNotAHold, ErrHoldResolved, ErrConfirmExceeds. After models.ErrOutcomeUnknown the same
// request finds out.
func (a *Allocator) Confirm(ctx context.Context, id models.RedemptionID, units int64) (models.Redemption, error) {
	verdict, err := a.book(ctx, id, models.Entry{Kind: models.KindConfirm, Units: units})
	return verdict.Redemption, err
}

// Cancel gives the units of a hold back. It promises and refuses as Confirm does.
func (a *Allocator) Cancel(ctx context.Context, id models.RedemptionID) (models.Redemption, error) {
	verdict, err := a.book(ctx, id, models.Entry{Kind: models.KindCancel})
	return verdict.Redemption, err
}

// book books an entry that follows the first of a redemption. It waits for a redemption that may be on its way from a
// journal into the ledger.
func (a *Allocator) book(ctx context.Context, id models.RedemptionID, e models.Entry) (verdict models.Verdict, err error) {
	offer, err := a.cfg.Offers.Offer(ctx, id.OfferID)
	if errors.Is(err, models.ErrOfferNotFound) {
		return models.Verdict{}, models.ErrRedemptionNotFound
	}
	if err != nil {
		return models.Verdict{}, err
	}
	e = a.following(id, e)
	err = a.onceSettled(ctx, offer, id, func() error {
		verdict, err = a.cfg.Desk.Book(ctx, offer, e)
		return err
	})
	if r := &verdict.Redemption; !r.Hash.IsZero() { // a refusal says as well that it is there
		a.memory.follow(r)
	}
	return verdict, err
}

// following completes an entry that follows the first of a redemption.
func (a *Allocator) following(id models.RedemptionID, e models.Entry) models.Entry {
	e.OfferID, e.ID, e.Redemption, e.NodeID, e.CreatedAt = id.OfferID, models.NewID(), id.Hash, a.cfg.NodeID, a.LedgerNow()
	return e
}
