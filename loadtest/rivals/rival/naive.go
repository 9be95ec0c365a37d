package rival

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tranche/loadtest/rivals/contract"
)

// Naive keeps the budget in the offer's row and redeems in one transaction: it writes the log row, counts the user, and adds to the
// offer's counter if the budget allows.
//
// It is what one writes first, and what most shops run. Gives: everything, exactly. Budget and user limits hold at each commit, a
// retry finds its redemption, a crash leaves nothing half done, the counter is always the sum of the log.
// Loses: speed. All redemptions of an offer queue for its row, which each keeps locked from the UPDATE until the commit is on the disk.
// That queue is made as short as can be, by having the UPDATE come last.
type Naive struct{ transactional }

// NewNaive makes its tables.
func NewNaive(ctx context.Context, db *sql.DB, now func() time.Time) (*Naive, error) {
	if err := createTables(ctx, db, tableOffers, tableLog, tableUsages); err != nil {
		return nil, err
	}
	return &Naive{transactional{offers{db: db}, now}}, nil
}

// CreateOffer implements contract.Books.
func (n *Naive) CreateOffer(ctx context.Context, offer contract.Offer) (bool, error) {
	return n.create(ctx, offer, nothing)
}

// Redeem implements contract.Books.
func (n *Naive) Redeem(ctx context.Context, order contract.Order) (contract.Redemption, bool, error) {
	return n.redeem(ctx, &order, func(tx *sql.Tx) error {
		return change(ctx, tx, contract.ErrSoldOut, "UPDATE offers SET used = used + ? WHERE id = ? AND used - refunded + ? <= budget",
			order.Units, order.OfferID, order.Units)
	})
}

// Refund implements contract.Books.
func (n *Naive) Refund(ctx context.Context, wish contract.RefundWish) (contract.Refund, bool, error) {
	r, err := n.refund(ctx, &wish, func(tx *sql.Tx, units int64) error {
		return change(ctx, tx, contract.ErrOfferNotFound, "UPDATE offers SET refunded = refunded + ? WHERE id = ?", units, wish.OfferID)
	})
	return r.Refund, r.replayed, err
}

// Balance implements contract.Books.
func (n *Naive) Balance(ctx context.Context, offerID string) (b contract.Balance, err error) {
	err = n.db.QueryRowContext(ctx, "SELECT budget, used, refunded FROM offers WHERE id = ?", offerID).Scan(&b.Budget, &b.UnitsRedeemed, &b.UnitsRefunded)
	if errors.Is(err, sql.ErrNoRows) {
		err = contract.ErrOfferNotFound
	}
	return b, err
}
