package allocator

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"tranche/internal/ledger"
	"tranche/lease"
	"tranche/models"
)

// cart is a cart on its way.
type cart struct {
	models.Cart
	entries []models.Entry  // in the order asked for
	offers  []*models.Offer // of the entries, as they were at the last try
	order   []int           // the places of the entries, by their offers: a cart waits for its items in this order
}

// RedeemCart takes, or holds, units of several offers for a user: of all of them or of none. When it gives no error, they are committed in
// the ledger, whatever the offers' modes.
//
// Refusals are a models.CartError with the item's offer, around what Redeem refuses a request for; or, because of the cart itself,
// models.ErrKeyReused and ErrRequestInFlight. Then nothing was spent. ErrHoldResolved: the key has made a cart of holds before, and this item's
// units went back. After models.ErrOutcomeUnknown the same request, with the same key, finds out.
func (a *Allocator) RedeemCart(ctx context.Context, req CartRequest) (Carted, error) {
	r, err := a.redeemCartOnce(ctx, a.newCart(&req))
	if err != nil {
		return Carted{}, err
	}
	for i := range r.Redemptions {
		if err := ended(&r.Redemptions[i]); err != nil {
			return Carted{}, &models.CartError{OfferID: r.Redemptions[i].OfferID, Err: err}
		}
	}
	return r, nil
}

// redeemCartOnce makes the cart of a key, or finds the one that the key has made before.
func (a *Allocator) redeemCartOnce(ctx context.Context, c *cart) (Carted, error) {
	f, err := a.beginCart(ctx, c)
	if err != nil {
		return Carted{}, err
	}
	defer f.leave()
	if err := a.remembersOther(c); err != nil {
		return Carted{}, err
	}
	for closed := newClosed(); ; {
		verdicts, err := a.buy(ctx, f, c)
		switch {
		case err == nil:
			return carted(c.ID, verdicts), nil
		case errors.Is(err, errTermsChanged):
		case errors.Is(err, models.ErrLeaseClosed): // as for a single redemption
			closed.Wait(ctx)
		case errors.Is(err, lease.ErrShort):
			if short := a.shortOf(ctx, c, err); short != nil {
				return a.refuseCart(ctx, c, short)
			}
		case refuses(err):
			return a.refuseCart(ctx, c, err)
		default:
			return Carted{}, err
		}
		if ctx.Err() != nil {
			return Carted{}, models.ErrLedgerUnavailable
		}
	}
}

func (a *Allocator) newCart(req *CartRequest) *cart {
	c := &cart{
		Cart:    models.Cart{ID: models.CartIDOf(req.Key), IdempotencyKey: req.Key, CreatedAt: a.LedgerNow()},
		entries: make([]models.Entry, len(req.Items)), offers: make([]*models.Offer, len(req.Items)), order: make([]int, len(req.Items)),
	}
	id := c.ID // a copy: a remembered entry must not keep the whole cart in memory
	for i, item := range req.Items {
		c.OfferIDs = append(c.OfferIDs, item.OfferID)
		c.entries[i] = a.entry(models.RedemptionIDOf(item.OfferID, req.Key), &RedeemRequest{
			Key: req.Key, UserID: req.UserID, OrderID: req.OrderID, Units: item.Units, HoldFor: req.HoldFor, Metadata: req.Metadata,
		})
		c.entries[i].CartID = &id
		c.order[i] = i
	}
	slices.SortFunc(c.order, func(i, j int) int { return cmp.Compare(c.OfferIDs[i], c.OfferIDs[j]) })
	return c
}

// beginCart starts the flights of all its redemptions. Then neither the same cart nor a single redemption with its key is under way on this
// node.
func (a *Allocator) beginCart(ctx context.Context, c *cart) (all flights, err error) {
	for _, i := range c.order {
		f, err := a.inFlight.await(ctx, c.entries[i].RedemptionID())
		if err != nil {
			all.leave()
			return nil, err
		}
		all = append(all, f)
	}
	return all, nil
}

// remembersOther refuses a cart whose key this node remembers from a single redemption, which may be in its journal only.
func (a *Allocator) remembersOther(c *cart) error {
	for i := range c.entries {
		e := &c.entries[i]
		if earlier, _, known := a.memory.find(e.Redemption); known && !ledger.SameRequest(earlier, e) {
			return &models.CartError{OfferID: e.OfferID, Err: models.ErrKeyReused}
		}
	}
	return nil
}

// buy takes the units of all items from blocks, and books them.
func (a *Allocator) buy(ctx context.Context, f flights, c *cart) ([]models.Verdict, error) {
	items, err := a.spendAll(ctx, c)
	if err != nil {
		return nil, err
	}
	f.join()
	verdicts, err := a.cfg.Settler.SettleCart(ctx, c.Cart, items, f.leave)
	for i, v := range verdicts {
		if !v.Replayed && items[i].Offer.Mode.Outlives() {
			a.memory.settle(v.Entry, items[i].Offer.LimitsUsers()) // for an outage
		}
	}
	return verdicts, err
}

// spendAll takes the units of all items, or of none: then the error is a models.CartError.
func (a *Allocator) spendAll(ctx context.Context, c *cart) ([]lease.Posting, error) {
	items := make([]lease.Posting, len(c.entries))
	var spent []lease.Posting
	var err error
	for _, i := range c.order {
		e := c.entries[i]
		var block *lease.Block
		if c.offers[i], block, err = a.spendItem(ctx, &e); err != nil {
			err = &models.CartError{OfferID: e.OfferID, Err: err}
			break
		}
		items[i] = lease.Posting{Block: block, Offer: c.offers[i], Entry: e}
		spent = append(spent, items[i])
	}
	if err == nil {
		err = a.agreeToAll(spent) // not before: the later ones may have waited
	}
	if err == nil {
		c.spendAt(a.LedgerNow(), items)
		return items, nil
	}
	for _, it := range spent {
		it.Block.Unspend(it.Entry.Units)
	}
	return nil, err
}

// spendAt dates a cart and its items: when the last of them was spent.
func (c *cart) spendAt(now models.Micros, items []lease.Posting) {
	for _, it := range items {
		now = max(now, it.Block.GrantedAt)
	}
	for i := range items {
		items[i].Entry.SpendAt(now)
	}
	c.CreatedAt = now
}

func (a *Allocator) spendItem(ctx context.Context, e *models.Entry) (*models.Offer, *lease.Block, error) {
	offer, err := a.cfg.Offers.Offer(ctx, e.OfferID)
	if err != nil {
		return nil, nil, err
	}
	now := a.cfg.Now()
	if err := a.active(offer, now); err != nil {
		return offer, nil, err
	}
	block, err := a.cfg.Blocks.Spend(ctx, offer, e.Units, now)
	return offer, block, err
}

func (a *Allocator) agreeToAll(items []lease.Posting) error {
	for _, it := range items {
		if err := a.agree(it.Offer, it.Block); err != nil {
			return &models.CartError{OfferID: it.Offer.ID, Err: err}
		}
	}
	return nil
}

// shortOf is short for the item that found too little.
func (a *Allocator) shortOf(ctx context.Context, c *cart, err error) error {
	item, _ := errors.AsType[*models.CartError](err) // as all of spendAll
	i := slices.Index(c.OfferIDs, item.OfferID)
	if short := a.short(ctx, c.offers[i], c.entries[i].Units); short != nil {
		return &models.CartError{OfferID: item.OfferID, Err: short}
	}
	return nil
}

// refuseCart is refuse for a cart: it says no for a reason, unless the request had succeeded before.
func (a *Allocator) refuseCart(ctx context.Context, c *cart, reason error) (Carted, error) {
	redemptions := make([]models.Redemption, len(c.entries))
	there := false
	for i := range c.entries {
		r, found, err := a.lookups.request(ctx, &c.entries[i], ledger.SameRequest)
		switch {
		case found && err != nil:
			return Carted{}, &models.CartError{OfferID: c.entries[i].OfferID, Err: err}
		case err != nil:
			return Carted{}, err
		case found:
			redemptions[i], there = r.Redemption, true
		}
	}
	if !there {
		return Carted{}, reason
	}
	earlier, err := a.cfg.Ledger.Cart(ctx, c.ID)
	switch {
	case err != nil:
		return Carted{}, err
	case !ledger.SameOffers(&earlier, &c.Cart):
		return Carted{}, &models.CartError{Err: models.ErrKeyReused}
	default:
		return Carted{ID: c.ID, Redemptions: redemptions, Replayed: true}, nil
	}
}

// carted is the cart that the verdicts make. They are of one transaction, so if one redemption was made before, all were.
func carted(id models.CartID, verdicts []models.Verdict) Carted {
	r := Carted{ID: id, Replayed: verdicts[0].Replayed}
	for _, v := range verdicts {
		r.Redemptions = append(r.Redemptions, v.Redemption)
	}
	return r
}
