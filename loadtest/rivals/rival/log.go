package rival

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tranche/loadtest/rivals/contract"
)

// errDuplicate: the log has a redemption of this name.
var errDuplicate = errors.New("the log has it already")

var noRefund contract.Hash // in the log's column refund: the row is the redemption itself

// newRedemption is what an order becomes if it is served.
func newRedemption(o *contract.Order, now time.Time) contract.Redemption {
	return contract.Redemption{Order: *o, Hash: contract.HashOf(o.OfferID, o.Key), CreatedAt: now.UTC().Truncate(time.Microsecond)}
}

// logRedemption writes the row of a redemption, or gives errDuplicate.
func logRedemption(ctx context.Context, q queryer, r *contract.Redemption) error {
	_, err := q.ExecContext(ctx, `INSERT INTO log (offer_id, redemption, refund, user_id, order_id, idempotency_key, units, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
		r.OfferID, r.Hash[:], noRefund[:], r.UserID, r.OrderID, r.Key, r.Units, r.CreatedAt.UnixMicro())
	if hasNumber(err, numberDuplicate) {
		return errDuplicate
	}
	return err
}

// readRedemption gives a redemption from the log as it is now, or ErrRedemptionNotFound.
func readRedemption(ctx context.Context, q queryer, offerID string, h contract.Hash) (contract.Redemption, error) {
	r := contract.Redemption{Order: contract.Order{OfferID: offerID}, Hash: h}
	var createdAt int64
	err := q.QueryRowContext(ctx, `SELECT user_id, order_id, idempotency_key, units, created_at,
		(SELECT COALESCE(SUM(units), 0) FROM log AS refunds WHERE offer_id = ? AND redemption = ? AND refund <> ?)
		FROM log WHERE offer_id = ? AND redemption = ? AND refund = ?`,
		offerID, h[:], noRefund[:], offerID, h[:], noRefund[:]).
		Scan(&r.UserID, &r.OrderID, &r.Key, &r.Units, &createdAt, &r.UnitsRefunded)
	if errors.Is(err, sql.ErrNoRows) {
		return r, contract.ErrRedemptionNotFound
	}
	r.CreatedAt = time.UnixMicro(createdAt).UTC()
	return r, err
}

// replay answers an order whose key the log knows.
func replay(ctx context.Context, db *sql.DB, o *contract.Order) (contract.Redemption, bool, error) {
	r, err := readRedemption(ctx, db, o.OfferID, contract.HashOf(o.OfferID, o.Key))
	if err != nil {
		return contract.Redemption{}, false, err
	}
	if !r.Same(o) {
		return contract.Redemption{}, false, contract.ErrKeyReused
	}
	return r, true, nil
}

// refundedNow is a refund, and what went with it.
type refundedNow struct {
	contract.Refund
	replayed bool
	userID   string
	whole    bool // with this one, all of the redemption was given back
}

// logRefund writes a refund's row, and has restore give the units back in the same transaction. A refund that the log has is answered
// from there.
func logRefund(ctx context.Context, db *sql.DB, wish *contract.RefundWish, now time.Time, restore func(*sql.Tx, *refundedNow) error) (refundedNow, error) {
	var done refundedNow
	err := transact(ctx, db, func(tx *sql.Tx) error {
		done = refundedNow{Refund: contract.Refund{RefundWish: *wish, CreatedAt: now.UTC().Truncate(time.Microsecond)}}
		left, err := lockRedemption(ctx, tx, &done)
		if err != nil {
			return err
		}
		if err := readRefund(ctx, tx, &done, left); err != nil || done.replayed {
			return err
		}
		if wish.Units == 0 {
			done.Units = left
		}
		if done.Units == 0 || done.Units > left {
			return contract.ErrRefundExceeds
		}
		done.whole = done.Units == left
		if err := insertRefund(ctx, tx, &done); err != nil {
			return err
		}
		return restore(tx, &done)
	})
	return done, err
}

// lockRedemption makes refunds of one redemption take turns, and gives what is left of it.
func lockRedemption(ctx context.Context, tx *sql.Tx, r *refundedNow) (left int64, err error) {
	err = tx.QueryRowContext(ctx, `SELECT user_id, units FROM log WHERE offer_id = ? AND redemption = ? AND refund = ? FOR UPDATE`,
		r.OfferID, r.Hash[:], noRefund[:]).Scan(&r.userID, &left)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, contract.ErrRedemptionNotFound
	}
	if err != nil {
		return 0, err
	}
	var refunded int64
	err = tx.QueryRowContext(ctx, `SELECT COALESCE(SUM(units), 0) FROM log WHERE offer_id = ? AND redemption = ? AND refund <> ?`,
		r.OfferID, r.Hash[:], noRefund[:]).Scan(&refunded)
	return left - refunded, err
}

// readRefund fills in the refund that has the wish's key, if there is one.
func readRefund(ctx context.Context, tx *sql.Tx, r *refundedNow, left int64) error {
	refund := refundHash(&r.RefundWish)
	var units, createdAt int64
	var last bool
	err := tx.QueryRowContext(ctx, `SELECT units, created_at, number = (SELECT MAX(number) FROM log AS entries WHERE offer_id = ? AND redemption = ?)
		FROM log WHERE offer_id = ? AND redemption = ? AND refund = ?`,
		r.OfferID, r.Hash[:], r.OfferID, r.Hash[:], refund[:]).Scan(&units, &createdAt, &last)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.Units != 0 && r.Units != units {
		return contract.ErrKeyReused
	}
	r.Units, r.CreatedAt = units, time.UnixMicro(createdAt).UTC()
	r.replayed, r.whole = true, last && left == 0
	return nil
}

func insertRefund(ctx context.Context, tx *sql.Tx, r *refundedNow) error {
	refund := refundHash(&r.RefundWish)
	_, err := tx.ExecContext(ctx, `INSERT INTO log (offer_id, redemption, refund, user_id, idempotency_key, units, created_at)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		r.OfferID, r.Hash[:], refund[:], r.userID, r.Key, r.Units, r.CreatedAt.UnixMicro())
	return err
}

// refundHash names a refund within its offer.
func refundHash(wish *contract.RefundWish) contract.Hash {
	return contract.HashOf(wish.OfferID, string(wish.Hash[:])+"\x00"+wish.Key)
}
