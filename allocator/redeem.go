package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/ledger"
	"tranche/lease"
	"tranche/models"
)

// Redeem takes units of an offer for a user, or holds them for a while. When it gives no error, the redemption is as durable as the
// offer's mode promises.
//
// Refusals: models.ErrOfferNotFound, ErrOfferNotActive, ErrBudgetExhausted, ErrBudgetHeld, ErrUserLimitReached, ErrKeyReused,
// ErrRequestInFlight. Then nothing was spent. After models.ErrOutcomeUnknown the same request, with the same key, finds out.
func (a *Allocator) Redeem(ctx context.Context, offerID string, req RedeemRequest) (Redeemed, error) {
	e := a.entry(models.RedemptionIDOf(offerID, req.Key), &req)
	f := a.flights.start(e.RedemptionID())
	if f == nil {
		if r, known, err := a.remembered(ctx, &e); known { // an earlier request with this key has succeeded: no need to wait for the one under way
			return r, err
		}
		var err error
		if f, err = a.flights.begin(ctx, e.RedemptionID()); err != nil {
			return Redeemed{}, err
		}
	}
	defer f.done()
	if r, known, err := a.remembered(ctx, &e); known {
		return r, err
	}
	offer, err := a.offers.Offer(ctx, offerID)
	if err != nil {
		return Redeemed{}, err
	}
	e.OfferID = offer.ID // equal, but the request's is a part of its URL, which would stay in memory as long as the entry
	switch {
	case offer.Mode == models.ModeAvailable:
		return a.redeemOrOutlast(ctx, f, offer, e)
	default:
		return a.redeem(ctx, f, offer, e)
	}
}

// entry is what the redemption would be in the ledger.
func (a *Allocator) entry(id models.RedemptionID, req *RedeemRequest) models.Entry {
	e := models.Entry{
		OfferID: id.OfferID, ID: models.NewID(), Redemption: id.Hash, Kind: models.KindRedeem,
		UserID: req.UserID, OrderID: req.OrderID, IdempotencyKey: req.Key, Units: req.Units,
		NodeID: a.nodeID, Metadata: req.Metadata, CreatedAt: a.LedgerNow(),
	}
	if req.HoldFor > 0 {
		ends := e.CreatedAt.Add(req.HoldFor)
		e.Kind, e.HoldExpiresAt = models.KindHold, &ends
	}
	return e
}

// patience is how long an offer in mode available waits for the ledger before it takes it for away.
const patience = time.Second

// redeemOrOutlast redeems as strict does, and while the database is away, as fast.
func (a *Allocator) redeemOrOutlast(ctx context.Context, f *flight, offer *models.Offer, e models.Entry) (Redeemed, error) {
	if !a.ledger.Available() {
		return a.outage(ctx, offer, e)
	}
	strict, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	r, err := a.redeem(strict, f, offer, e)
	switch {
	case err == nil && !r.Replayed:
		e.LeaseID = r.Redemption.LeaseID
		a.remember(offer, e)
	case errors.Is(err, models.ErrLedgerUnavailable):
		return a.outage(ctx, offer, e)
	case errors.Is(err, models.ErrOutcomeUnknown):
		if r, refused := a.outage(ctx, offer, e); refused == nil {
			return r, nil
		} // else what was tried first may still come true, so this is no answer
	}
	return r, err
}

func (a *Allocator) redeem(ctx context.Context, f *flight, offer *models.Offer, e models.Entry) (Redeemed, error) {
	now := a.now()
	for {
		if err := a.active(offer, now); err != nil {
			return a.refuse(ctx, &e, err)
		}
		r, err := a.spend(ctx, f, offer, e, now)
		switch {
		case err == nil:
			return r, nil
		case errors.Is(err, errTermsChanged): // while it waited
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
		now, offer = a.now(), a.offers.Newer(offer)
	}
}

// active says why an offer can't be redeemed at an instant, by its status and its window; nil when it can.
func (a *Allocator) active(offer *models.Offer, now time.Time) error {
	if status := offer.StatusAt(a.offers.LedgerNow(now)); status != models.StatusActive {
		return &models.NotActiveError{Status: status, StartsAt: offer.StartsAt, EndsAt: offer.EndsAt}
	}
	return nil
}

// errTermsChanged: the offer is not as it was when the request was admitted.
var errTermsChanged = errors.New("the offer was changed meanwhile")

// spend takes the units from a block and makes the redemption durable: in the journal, if both the offer and the block's lease
// are fast, else in the ledger.
//
// The offer is looked at again once the block is there. A grant brings the offer as it was then; and since a lease is on record from
// then on, nobody can have added a limit behind this node's back.
func (a *Allocator) spend(ctx context.Context, f *flight, offer *models.Offer, e models.Entry, now time.Time) (Redeemed, error) {
	block, err := a.blocks.Spend(ctx, offer, e.Units, now)
	if err != nil {
		return Redeemed{}, err
	}
	if err := a.agree(offer, block); err != nil {
		block.Unspend(e.Units)
		return Redeemed{}, err
	}
	if offer.Mode == models.ModeFast && block.Mode.Outlives() {
		return a.acknowledge(ctx, block, offer, e, false)
	}
	f.hold()
	verdict, err := a.settler.Settle(ctx, lease.Posting{Block: block, Offer: offer, Entry: e}, f.done)
	if err != nil {
		return Redeemed{}, err
	}
	return Redeemed{Redemption: verdict.Redemption, Replayed: verdict.Replayed}, nil
}

// agree says whether the terms that a request was admitted under may be acted on with a block. A block brings the offer as it was at its
// grant or later, so it is never spent from on terms from before.
func (a *Allocator) agree(offer *models.Offer, block *lease.Block) error {
	switch newest := a.offers.Newer(offer); {
	case newest.Version != offer.Version:
		return errTermsChanged
	case newest.Recall < block.Recall: // this node has forgotten what came with the block: the offer is over
		return models.ErrLedgerUnavailable
	default:
		return nil
	}
}

// short says why there is not enough, from the offer's books. It is nil when they have enough after all: then it is worth
// another try. A balance of late will do for a refusal, but only a fresh one to contradict the keeper.
func (a *Allocator) short(ctx context.Context, offer *models.Offer, units int64) error {
	now := a.now()
	for _, after := range []time.Time{now.Add(-balanceFor), now} {
		books, err := a.balances.get(ctx, offer.ID, after)
		if err != nil {
			return err
		}
		if books.balance.Unallocated() < units {
			return &models.ShortError{Wanted: units, Balance: books.balance, Holders: books.holders, NextReleaseAt: books.release}
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
