package rival

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tranche/loadtest/rivals/contract"
)

// transactional is what the rivals share that redeem in one transaction each: log row first, so that a known key is found before
// anything is refused; then the user's counter; and last, because everybody wants it, the budget.
type transactional struct {
	offers
	now func() time.Time
}

// redeem serves an order. take takes its units from the budget, or gives ErrSoldOut; nothing but COMMIT comes after it.
func (t *transactional) redeem(ctx context.Context, order *contract.Order, take func(tx *sql.Tx) error) (contract.Redemption, bool, error) {
	offer, err := t.offer(ctx, order.OfferID)
	if err != nil {
		return contract.Redemption{}, false, err
	}
	r := newRedemption(order, t.now())
	err = transact(ctx, t.db, func(tx *sql.Tx) error {
		if err := logRedemption(ctx, tx, &r); err != nil {
			return err
		}
		if err := countUser(ctx, tx, &offer, order.UserID); err != nil {
			return err
		}
		return take(tx)
	})
	if errors.Is(err, errDuplicate) {
		return replay(ctx, t.db, order)
	}
	return r, false, err
}

// refund serves a wish. restore gives units back to the budget, in the same transaction.
func (t *transactional) refund(ctx context.Context, wish *contract.RefundWish, restore func(tx *sql.Tx, units int64) error) (refundedNow, error) {
	return logRefund(ctx, t.db, wish, t.now(), func(tx *sql.Tx, done *refundedNow) error {
		if done.whole {
			if err := uncountUser(ctx, tx, wish.OfferID, done.userID); err != nil {
				return err
			}
		}
		return restore(tx, done.Units)
	})
}
