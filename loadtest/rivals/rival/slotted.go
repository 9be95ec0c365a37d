package rival

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"time"

	"tranche/loadtest/rivals/contract"
)

// Slotted is Naive with the budget split over several rows. A redemption takes from one of them, picked at random, so that as many
// can be under way at once as there are slots.
//
// It is the usual cure for a hot row. Gives: all that Naive gives. When the picked slot is short, a redemption takes from
// whichever slots have units left, so the budget is sold to its last unit and "sold out" is true when it is said.
// Loses: still a transaction per redemption, with its four statements and its own share of a commit. And towards the end the
// slots run dry one after the other, everybody goes looking in the same few, and what was gained is gone when the crowd is largest.
type Slotted struct {
	transactional
	slots int64
}

// NewSlotted makes its tables. Offers get so many slots.
func NewSlotted(ctx context.Context, db *sql.DB, slots int64, now func() time.Time) (*Slotted, error) {
	if err := createTables(ctx, db, tableOffers, tableLog, tableUsages, tableSlots); err != nil {
		return nil, err
	}
	return &Slotted{transactional{offers{db: db}, now}, slots}, nil
}

// CreateOffer implements contract.Books.
func (s *Slotted) CreateOffer(ctx context.Context, offer contract.Offer) (bool, error) {
	return s.create(ctx, offer, func(tx *sql.Tx) error {
		for slot := range s.slots {
			size := offer.Budget / s.slots
			if slot < offer.Budget%s.slots {
				size++
			}
			if _, err := tx.ExecContext(ctx, "INSERT INTO slots (offer_id, slot, size) VALUES (?, ?, ?)", offer.ID, slot, size); err != nil {
				return err
			}
		}
		return nil
	})
}

// Redeem implements contract.Books.
func (s *Slotted) Redeem(ctx context.Context, order contract.Order) (contract.Redemption, bool, error) {
	return s.redeem(ctx, &order, func(tx *sql.Tx) error {
		taken, err := s.take(ctx, tx, order.OfferID, rand.Int64N(s.slots), order.Units)
		if err != nil || taken {
			return err
		}
		return s.takeAnywhere(ctx, tx, order.OfferID, order.Units)
	})
}

// take takes units from one slot, if it has as many.
func (s *Slotted) take(ctx context.Context, tx *sql.Tx, offerID string, slot, units int64) (bool, error) {
	result, err := tx.ExecContext(ctx, "UPDATE slots SET used = used + ? WHERE offer_id = ? AND slot = ? AND used - refunded + ? <= size",
		units, offerID, slot, units)
	if err != nil {
		return false, err
	}
	changed, err := result.RowsAffected()
	return changed > 0, err
}

// takeAnywhere takes units from all slots that have some. It locks them in their order, so two of its kind cannot lock each other out.
func (s *Slotted) takeAnywhere(ctx context.Context, tx *sql.Tx, offerID string, units int64) error {
	// A look without locks first: after the end, nobody should queue only to be refused. What is committed is all that it sees, and a
	// transaction that holds units here does nothing after it but commit: so it never sees too little.
	var left int64
	err := tx.QueryRowContext(ctx, "SELECT COALESCE(SUM(size - used + refunded), 0) FROM slots WHERE offer_id = ?", offerID).Scan(&left)
	if err != nil {
		return err
	}
	if left < units {
		return contract.ErrSoldOut
	}
	filled, err := lockFilled(ctx, tx, offerID)
	if err != nil {
		return err
	}
	for _, f := range filled {
		n := min(units, f.left)
		if _, err := s.take(ctx, tx, offerID, f.slot, n); err != nil { // it has them: its row is locked
			return err
		}
		if units -= n; units == 0 {
			return nil
		}
	}
	return contract.ErrSoldOut
}

type slot struct{ slot, left int64 }

// lockFilled locks the slots of an offer, and gives those that have units left.
func lockFilled(ctx context.Context, tx *sql.Tx, offerID string) (filled []slot, err error) {
	rows, err := tx.QueryContext(ctx, "SELECT slot, size - used + refunded FROM slots WHERE offer_id = ? ORDER BY slot FOR UPDATE", offerID)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s slot
		if err := rows.Scan(&s.slot, &s.left); err != nil {
			return nil, err
		}
		if s.left > 0 {
			filled = append(filled, s)
		}
	}
	return filled, rows.Err()
}

// Refund implements contract.Books. Units go back to whichever slot.
func (s *Slotted) Refund(ctx context.Context, wish contract.RefundWish) (contract.Refund, bool, error) {
	r, err := s.refund(ctx, &wish, func(tx *sql.Tx, units int64) error {
		return change(ctx, tx, contract.ErrOfferNotFound, "UPDATE slots SET refunded = refunded + ? WHERE offer_id = ? AND slot = ?",
			units, wish.OfferID, rand.Int64N(s.slots))
	})
	return r.Refund, r.replayed, err
}

// Balance implements contract.Books.
func (s *Slotted) Balance(ctx context.Context, offerID string) (b contract.Balance, err error) {
	offer, err := s.offer(ctx, offerID)
	if err != nil {
		return b, err
	}
	b.Budget = offer.Budget
	err = s.db.QueryRowContext(ctx, "SELECT COALESCE(SUM(used), 0), COALESCE(SUM(refunded), 0) FROM slots WHERE offer_id = ?", offerID).
		Scan(&b.UnitsRedeemed, &b.UnitsRefunded)
	return b, err
}
