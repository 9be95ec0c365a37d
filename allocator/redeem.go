package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// Redeem takes units of an offer for a user, or holds them for a while. When it gives no error, the redemption is as durable as the
// offer's mode promises.
//
// Refusals: models.ErrOfferNotFound, ErrOfferNotActive, ErrBudgetExhausted, ErrBudgetInsufficient, ErrBudgetHeld, ErrTotalsExceeded, ErrUserLimitReached,
// ErrKeyReused, ErrRequestInFlight. Then nothing was spent. ErrHoldResolved: the key has made a hold before, and its units went back.
// After models.ErrOutcomeUnknown the same request, with the same key, finds out.
func (a *Allocator) Redeem(ctx context.Context, offerID string, req RedeemRequest) (Redeemed, error) {
	r, err := a.redeemOnce(ctx, a.entry(models.RedemptionIDOf(offerID, req.Key), &req))
	if err == nil {
		err = ended(&r.Redemption)
	}
	if err != nil {
		return Redeemed{}, err
	}
	return r, nil
}

// ended refuses a request whose key has made a hold that came to nothing. It must not look like a success.
func ended(r *models.Redemption) error {
	if r.State == models.StateCancelled || r.State == models.StateExpired {
		return &models.HoldResolvedError{Redemption: *r}
	}
	return nil
}

// redeemOnce makes the redemption of a key, or finds the one that the key has made before.
func (a *Allocator) redeemOnce(ctx context.Context, e models.Entry) (Redeemed, error) {
	for {
		f, other := a.inFlight.begin(e.RedemptionID())
		if f != nil {
			defer f.leave()
		}
		if r, known, err := a.remembered(ctx, &e); known {
			return r, err
		}
		if f != nil {
			return a.redeemNew(ctx, f, e)
		}
		select {
		case <-other:
		case <-ctx.Done():
			return Redeemed{}, models.ErrRequestInFlight
		}
	}
}

// entry is what the redemption would be in the ledger.
func (a *Allocator) entry(id models.RedemptionID, req *RedeemRequest) models.Entry {
	e := models.Entry{
		OfferID: id.OfferID, ID: models.NewID(), Redemption: id.Hash, Kind: models.KindRedeem,
		UserID: req.UserID, OrderID: req.OrderID, IdempotencyKey: req.Key, Units: req.Units,
		NodeID: a.cfg.NodeID, Metadata: req.Metadata, CreatedAt: a.LedgerNow(),
	}
	if req.HoldFor > 0 {
		ends := e.CreatedAt.Add(req.HoldFor)
		e.Kind, e.HoldExpiresAt = models.KindHold, &ends
	}
	return e
}

// redeemNew serves a request whose key this node does not remember, and that has no duplicate under way.
func (a *Allocator) redeemNew(ctx context.Context, f *flight, e models.Entry) (Redeemed, error) {
	offer, err := a.cfg.Offers.Offer(ctx, e.OfferID)
	if err != nil {
		return Redeemed{}, err
	}
	e.OfferID = offer.ID // equal, but the request's is a part of its URL, which would stay in memory as long as the entry
	redeem := a.redeem
	if offer.Mode == models.ModeAvailable {
		redeem = a.redeemAvailable
	}
	r, err := redeem(ctx, f, offer, e)
	if refused, ok := errors.AsType[refusal](err); ok {
		return a.refuse(ctx, &e, refused.reason)
	}
	return r, err
}

// newClosed is the pause before another lease is tried in the place of a closed one. It grows: if all are closed, a request must not lease
// again and again.
func newClosed() run.Backoff { return run.Backoff{Min: 5 * time.Millisecond, Max: time.Second} }

// redeem makes a redemption on the offer as it is by now. It tries again where only something that this node did not know yet was in the
// way, or where the ledger, which is there, did not answer: one lost connection is no outage.
func (a *Allocator) redeem(ctx context.Context, f *flight, offer *models.Offer, e models.Entry) (Redeemed, error) {
	unanswered := run.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond}
	closed := newClosed()
	for {
		r, err := a.attempt(ctx, f, offer, e)
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, errTermsChanged): // while it waited
		case errors.Is(err, models.ErrLeaseClosed): // this node was taken for dead, or the ledger has lost the lease: the next is as good
			closed.Wait(ctx)
		case errors.Is(err, lease.ErrShort):
			if short := a.short(ctx, offer, e.Units); short != nil {
				return Redeemed{}, refusal{short}
			}
		case refuses(err):
			return Redeemed{}, refusal{err}
		case a.mayPass(offer, err) && unanswered.Wait(ctx):
		default:
			return Redeemed{}, err
		}
		if ctx.Err() != nil {
			return Redeemed{}, models.ErrLedgerUnavailable
		}
		offer = a.cfg.Offers.Newer(offer)
	}
}

// mayPass reports whether the ledger, which is there, failed to answer an attempt: the next one may find it well.
func (a *Allocator) mayPass(offer *models.Offer, err error) bool {
	return errors.Is(err, models.ErrLedgerUnavailable) && !errors.Is(err, errForgotten) && offer.Mode != models.ModeFast && !a.cfg.Health.Away()
}

// attempt takes the units once. It makes the redemption durable in the journal, if both the offer and the block's lease are fast, else in
// the ledger.
func (a *Allocator) attempt(ctx context.Context, f *flight, offer *models.Offer, e models.Entry) (Redeemed, error) {
	posting, err := a.spend(ctx, offer, e)
	switch {
	case err != nil:
		return Redeemed{}, err
	case offer.Mode == models.ModeFast && posting.Block.Mode.Outlives():
		return a.acknowledge(ctx, posting)
	default:
		return a.settle(ctx, f, posting)
	}
}
