package rival

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"tranche/loadtest/rivals/contract"
)

// rollup adds the log's rows to offers.used and offers.refunded, each once, from a checkpoint on.
//
// Rows become visible out of order: who took a lower number may commit later. So a run goes only as far as the log reached at the
// run before. A period is longer than a request and its statements can last, so by then every lower number is there or never will be.
type rollup struct {
	db   *sql.DB
	head uint64 // what the log had reached at the last run
}

// rollupRows is how many rows one transaction takes at most.
const rollupRows = 200_000

// runOnce is called once a period.
func (r *rollup) runOnce(ctx context.Context) error {
	upto := r.head
	if err := r.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(number), 0) FROM log").Scan(&r.head); err != nil {
		return err
	}
	for {
		done, err := r.advance(ctx, upto)
		if err != nil || done {
			return err
		}
	}
}

// advance moves the checkpoint towards a number. Its row makes several servers take turns.
func (r *rollup) advance(ctx context.Context, upto uint64) (done bool, err error) {
	err = transact(ctx, r.db, func(tx *sql.Tx) error {
		var from uint64
		if err := tx.QueryRowContext(ctx, "SELECT number FROM checkpoint WHERE id = 1 FOR UPDATE").Scan(&from); err != nil {
			return err
		}
		if from >= upto {
			done = true
			return nil
		}
		to := min(upto, from+rollupRows)
		done = to == upto
		sums, err := sumLog(ctx, tx, from, to)
		if err != nil {
			return err
		}
		for _, s := range sums {
			if _, err := tx.ExecContext(ctx, "UPDATE offers SET used = used + ?, refunded = refunded + ? WHERE id = ?", s.redeemed, s.refunded, s.offerID); err != nil {
				return err
			}
		}
		_, err = tx.ExecContext(ctx, "UPDATE checkpoint SET number = ? WHERE id = 1", to)
		return err
	})
	return done, err
}

type logSum struct {
	offerID            string
	redeemed, refunded int64
}

// sumLog sums the rows after one number up to another.
func sumLog(ctx context.Context, tx *sql.Tx, from, to uint64) (sums []logSum, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT offer_id, SUM(IF(refund = ?, units, 0)), SUM(IF(refund = ?, 0, units))
		FROM log WHERE number > ? AND number <= ? GROUP BY offer_id`, noRefund[:], noRefund[:], from, to)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var s logSum
		if err := rows.Scan(&s.offerID, &s.redeemed, &s.refunded); err != nil {
			return nil, err
		}
		sums = append(sums, s)
	}
	return sums, rows.Err()
}

// logBalance is what the log says of an offer at this moment: what was rolled up, and the rows since. One statement, so one snapshot.
func logBalance(ctx context.Context, db *sql.DB, offerID string) (b contract.Balance, err error) {
	err = db.QueryRowContext(ctx, `SELECT o.budget,
		o.used + COALESCE(SUM(IF(l.refund = ?, l.units, 0)), 0), o.refunded + COALESCE(SUM(IF(l.refund = ?, 0, l.units)), 0)
		FROM offers AS o LEFT JOIN log AS l ON l.offer_id = o.id AND l.number > (SELECT number FROM checkpoint WHERE id = 1)
		WHERE o.id = ? GROUP BY o.id, o.budget, o.used, o.refunded`, noRefund[:], noRefund[:], offerID).
		Scan(&b.Budget, &b.UnitsRedeemed, &b.UnitsRefunded)
	if errors.Is(err, sql.ErrNoRows) {
		err = contract.ErrOfferNotFound
	}
	return b, err
}

func createCheckpoint(ctx context.Context, db *sql.DB) error {
	if err := createTables(ctx, db, tableCheckpoint); err != nil {
		return err
	}
	_, err := db.ExecContext(ctx, "INSERT IGNORE INTO checkpoint (id, number) VALUES (1, 0)")
	return err
}

// repeat calls runOnce once a period until ctx ends. What fails is told and tried again.
func repeat(ctx context.Context, period time.Duration, report func(error), runOnce func(context.Context) error) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := runOnce(ctx); err != nil && ctx.Err() == nil {
				report(err)
			}
		}
	}
}
