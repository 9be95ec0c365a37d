package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"tranche/internal/ledger"
	"tranche/models"
)

// SettleCart books a cart's items, each a batch of one entry for an offer of its own, in one transaction: all of them or none. Entries
// that spend bring the cart into being; all others follow on one that is there. Durable on return, one verdict for each item, in order.
//
// Batch numbers play no part: the same call again, with the same entries, finds what an earlier one has written.
// *models.CartError: it is refused, and neither this call nor one before it with these entries has changed anything, or ever will. For
// ErrLeaseClosed the entries may be sent again on another lease. ErrOutcomeUnknown: call again until it is decided.
func (s *Store) SettleCart(ctx context.Context, cart models.Cart, items []models.Batch) (verdicts []models.Verdict, err error) {
	err = s.write(ctx, "SettleCart", onDuplicate|onUnknown, func(q *query) error {
		verdicts, err = q.settleCart(&cart, items)
		return err
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

// settleCart locks in the order of all transactions: the cart, user counters, entries, holds, leases. Rows are in the order of their
// offers first.
func (q *query) settleCart(cart *models.Cart, items []models.Batch) ([]models.Verdict, error) {
	if err := q.lockCart(cart, items[0].Wanted[0].Kind.Spends()); err != nil {
		return nil, err
	}
	decisions := make([]*ledger.Decision, len(items))
	order := byOffer(items)
	for _, i := range order {
		decision, err := q.decideItem(&items[i])
		if err != nil {
			return nil, err
		}
		decisions[i] = decision
	}
	verdicts, err := ledger.AllOrNone(decisions)
	if err != nil {
		return nil, err
	}
	var appends []models.Entry
	var held, ended []models.Hold
	for _, p := range decisions {
		appends = append(appends, p.Appends...)
		held, ended = append(held, p.Held...), append(ended, p.Ended...)
	}
	if err := q.append(appends); err != nil {
		return nil, err
	}
	if err := q.hold(held, ended); err != nil {
		return nil, err
	}
	for _, i := range order {
		if err := q.moveItem(&items[i], &decisions[i].Lease); err != nil {
			return nil, err
		}
	}
	return verdicts, nil
}

// byOffer gives the places of the items in the order of their offers.
func byOffer(items []models.Batch) []int {
	order := make([]int, len(items))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(items[a].Offer.ID, items[b].Offer.ID) })
	return order
}

// lockCart makes sure that nobody else is at this cart until the transaction ends, an earlier attempt of it included. A new one inserts
// the cart's row; if that is there, all that the cart began with is, too, and nothing will be written.
func (q *query) lockCart(cart *models.Cart, isNew bool) error {
	db := q.DB
	if !isNew {
		db = q.locking()
	} // else a lock on the place of a row that is not there would keep others of the same place from inserting theirs
	var there models.Cart
	err := db.Where("id = ?", cart.ID).Take(&there).Error
	switch missing := errors.Is(err, gorm.ErrRecordNotFound); {
	case missing && isNew:
		return q.Create(cart).Error
	case missing:
		return &models.CartError{Err: models.ErrCartNotFound}
	case err == nil && isNew && !ledger.SameOffers(&there, cart):
		return &models.CartError{Err: models.ErrKeyReused}
	default:
		return err
	}
}

// decideItem decides on one item, and counts it for its user.
func (q *query) decideItem(item *models.Batch) (*ledger.Decision, error) {
	histories, now, err := q.histories(item.Offer.ID, redemptionsOf(item, true), item.Wanted)
	if err != nil {
		return nil, err
	}
	item.BookedAt = now
	decision, err := ledger.Decide(item, histories)
	if err != nil {
		return nil, err
	}
	return decision, q.count(item.Offer, decision, true)
}

// moveItem books an item on its lease, which must be active. The number of the lease's last batch stays as it is.
func (q *query) moveItem(item *models.Batch, d *ledger.Delta) error {
	if *d == (ledger.Delta{}) {
		return nil // nothing was written
	}
	rows, err := q.exec(`UPDATE leases SET granted = granted + ?, spent = spent + ?,
			redeemed = redeemed + ?, held = held + ?, refunded = refunded + ?, forfeited = forfeited + ?
		WHERE offer_id = ? AND id = ? AND state = 'active' AND spent + ? <= granted + ?`,
		d.Granted, d.Spent, d.Redeemed, d.Held, d.Refunded, d.Forfeited, item.Offer.ID, item.LeaseID, d.Spent, d.Granted)
	if err == nil && rows != 1 {
		return q.closedTo(item)
	}
	return err
}

// closedTo says why a lease did not take an item.
func (q *query) closedTo(item *models.Batch) error {
	l, err := q.lockLease(item.Offer.ID, item.LeaseID)
	switch {
	case err == nil && l.State == models.LeaseActive: // the ledger has lost commits: see settled
		err = fmt.Errorf("%w: %w: an item of %d units does not fit lease %s: %d of %d spent",
			models.ErrLeaseClosed, errLost, item.Wanted[0].Units, l.ID, l.Spent, l.Granted)
	case err == nil:
		err = models.ErrLeaseClosed
	case !errors.Is(err, models.ErrLeaseClosed):
		return err
	}
	return &models.CartError{OfferID: item.Offer.ID, Err: err}
}

// Cart reads the row of a cart. ErrCartNotFound.
func (s *Store) Cart(ctx context.Context, id models.CartID) (cart models.Cart, err error) {
	err = s.read(ctx, "Cart", func(q *query) error {
		err := q.Where("id = ?", id).Take(&cart).Error
		if errors.Is(err, gorm.ErrRecordNotFound) {
			return fmt.Errorf("%w: %s", models.ErrCartNotFound, id)
		}
		return err
	})
	return cart, err
}
