package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/ledger"
	"tranche/lease"
	"tranche/models"
)

// Redeem takes units of an offer for a user. When it gives no error, the redemption is committed in the database.
//
// Refusals: models.ErrOfferNotFound, ErrOfferNotActive, ErrBudgetExhausted, ErrBudgetHeld, ErrUserLimitReached, ErrKeyReused,
// ErrRequestInFlight. Then nothing was spent. After models.ErrOutcomeUnknown the same request, with the same key, finds out.
func (a *Allocator) Redeem(ctx context.Context, offerID string, req RedeemRequest) (Redeemed, error) {
	offer, err := a.catalogue.Offer(ctx, offerID)
	if err != nil {
		return Redeemed{}, err
	}
	id := models.RedemptionIDOf(offerID, req.Key)
	if err := a.flights.begin(ctx, id); err != nil {
		return Redeemed{}, err
	}
	defer a.flights.land(id)
	return a.redeem(ctx, offer, a.entry(id, &req))
}

// entry is what the redemption would be in the ledger.
func (a *Allocator) entry(id models.RedemptionID, req *RedeemRequest) models.Entry {
	return models.Entry{
		OfferID: id.OfferID, ID: models.NewID(), Redemption: id.Hash, Kind: models.KindRedeem,
		UserID: req.UserID, OrderID: req.OrderID, IdempotencyKey: req.Key, Units: req.Units,
		NodeID: a.nodeID, Metadata: req.Metadata,
	}
}

func (a *Allocator) redeem(ctx context.Context, offer *models.Offer, e models.Entry) (Redeemed, error) {
	now := a.now()
	for {
		e.CreatedAt = a.catalogue.LedgerNow(now)
		if status := offer.StatusAt(e.CreatedAt); status != models.StatusActive {
			return a.refuse(ctx, &e, &models.NotActiveError{Status: status, StartsAt: offer.StartsAt, EndsAt: offer.EndsAt})
		}
		verdict, err := a.spend(ctx, offer, e, now)
		switch {
		case err == nil:
			return Redeemed{Redemption: verdict.Redemption, Replayed: verdict.Replayed}, nil
		case errors.Is(err, lease.ErrShort):
			if short := a.short(ctx, offer, e.Units); short != nil {
				return a.refuse(ctx, &e, short)
			}
		case errors.Is(err, models.ErrLeaseClosed): // this node was taken for dead; its next lease is as good
		case errors.Is(err, models.ErrUserLimitReached), errors.Is(err, models.ErrOfferNotActive):
			return a.refuse(ctx, &e, err)
		default:
			return Redeemed{}, err
		}
		if ctx.Err() != nil {
			return Redeemed{}, models.ErrLedgerUnavailable
		}
		now = a.now()
	}
}

// spend takes the units from a block and books the entry on its lease.
func (a *Allocator) spend(ctx context.Context, offer *models.Offer, e models.Entry, now time.Time) (models.Verdict, error) {
	block, err := a.blocks.Spend(ctx, offer, e.Units, now)
	if err != nil {
		return models.Verdict{}, err
	}
	return a.settler.Settle(ctx, block, offer, e)
}

// short says why there is not enough, from the offer's books. It is nil when they have enough after all: then it is worth
// another try. A balance of late will do for a refusal, but only a fresh one to contradict the keeper.
func (a *Allocator) short(ctx context.Context, offer *models.Offer, units int64) error {
	now := a.now()
	for _, notBefore := range []time.Time{now.Add(-balanceFor), now} {
		balance, err := a.balances.get(ctx, offer.ID, notBefore)
		if err != nil {
			return err
		}
		if balance.Unallocated() < units {
			return &models.ShortError{Wanted: units, Balance: balance}
		}
	}
	a.blocks.Reconsider(offer.ID)
	return nil
}

// refuse says no for a reason, unless the request had succeeded before. It looks after the reason was found, so a success that
// caused the reason is seen.
func (a *Allocator) refuse(ctx context.Context, e *models.Entry, reason error) (Redeemed, error) {
	history, redemption, found, err := a.lookups.find(ctx, e.RedemptionID())
	switch {
	case err != nil:
		return Redeemed{}, err
	case !found:
		return Redeemed{}, reason
	case !ledger.SameRequest(&history[0], e):
		return Redeemed{}, models.ErrKeyReused
	default:
		return Redeemed{Redemption: redemption, Replayed: true}, nil
	}
}

// Refund gives units of a redemption back. When it gives no error, the refund is committed in the database.
//
// Refusals: models.ErrRedemptionNotFound, ErrRefundExceeds, ErrKeyReused. After models.ErrOutcomeUnknown the same request, with
// the same key, finds out.
func (a *Allocator) Refund(ctx context.Context, id models.RedemptionID, req RefundRequest) (Refunded, error) {
	offer, err := a.catalogue.Offer(ctx, id.OfferID)
	if errors.Is(err, models.ErrOfferNotFound) {
		return Refunded{}, models.ErrRedemptionNotFound
	}
	if err != nil {
		return Refunded{}, err
	}
	verdict, err := a.refunds.Refund(ctx, offer, models.Entry{
		OfferID: id.OfferID, ID: models.NewID(), Redemption: id.Hash, Kind: models.KindRefund,
		IdempotencyKey: req.Key, Units: req.Units, NodeID: a.nodeID, Reason: req.Reason,
		CreatedAt: a.LedgerNow(),
	})
	if err != nil {
		return Refunded{}, err
	}
	return Refunded{Refund: verdict.Entry, Redemption: verdict.Redemption, Replayed: verdict.Replayed}, nil
}
