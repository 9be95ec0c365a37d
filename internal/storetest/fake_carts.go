package storetest

import (
	"context"
	"fmt"

	"tranche/internal/ledger"
	"tranche/models"
)

// SettleCart books a cart's items, all of them or none.
func (f *Fake) SettleCart(ctx context.Context, cart models.Cart, items []models.Batch) ([]models.Verdict, error) {
	return do(ctx, f, "SettleCart", func(now models.Micros) ([]models.Verdict, error) {
		there, found := f.carts[cart.ID]
		isNew := items[0].Wanted[0].Kind.Spends()
		switch {
		case !found && !isNew:
			return nil, &models.CartError{Err: models.ErrCartNotFound}
		case found && isNew && !ledger.SameOffers(&there, &cart):
			return nil, &models.CartError{Err: models.ErrKeyReused}
		}
		decisions, err := f.decideCart(items, now)
		if err != nil {
			return nil, err
		}
		verdicts, err := ledger.AllOrNone(decisions)
		if err != nil {
			return nil, err
		}
		if err := f.admitCart(items, decisions); err != nil {
			return nil, err
		}
		for i, p := range decisions {
			s := f.offers[items[i].Offer.ID]
			if p.Lease == (ledger.Delta{}) {
				continue // nothing is to be written
			}
			l := s.leases[items[i].LeaseID]
			l.Granted += p.Lease.Granted
			l.Spent += p.Lease.Spent
			l.Totals = l.Totals.Add(p.Lease.Totals)
			s.write(p, now)
			s.check()
		}
		if !found {
			f.carts[cart.ID] = cart
		}
		return verdicts, nil
	})
}

func (f *Fake) decideCart(items []models.Batch, now models.Micros) ([]*ledger.Decision, error) {
	decisions := make([]*ledger.Decision, len(items))
	for i := range items {
		s, err := f.shelf(items[i].Offer.ID)
		if err != nil {
			return nil, err
		}
		items[i].BookedAt = &now
		if decisions[i], err = s.decide(&items[i], ledger.Decide); err != nil {
			return nil, err
		}
	}
	return decisions, nil
}

// admitCart checks that each lease takes its item, in the order of the offers as a database does.
func (f *Fake) admitCart(items []models.Batch, decisions []*ledger.Decision) error {
	var closed *models.CartError
	for i, p := range decisions {
		offerID, d := items[i].Offer.ID, p.Lease
		if d == (ledger.Delta{}) {
			continue
		}
		l, ok := f.offers[offerID].leases[items[i].LeaseID]
		switch {
		case !ok, l.State != models.LeaseActive, l.Spent+d.Spent > l.Granted+d.Granted:
			if closed == nil || offerID < closed.OfferID {
				closed = &models.CartError{OfferID: offerID, Err: models.ErrLeaseClosed}
			}
		}
	}
	if closed != nil {
		return closed
	}
	return nil
}

// Cart reads the row of a cart.
func (f *Fake) Cart(ctx context.Context, id models.CartID) (models.Cart, error) {
	return do(ctx, f, "Cart", func(models.Micros) (models.Cart, error) {
		cart, found := f.carts[id]
		if !found {
			return models.Cart{}, fmt.Errorf("%w: %s", models.ErrCartNotFound, id)
		}
		return cart, nil
	})
}
