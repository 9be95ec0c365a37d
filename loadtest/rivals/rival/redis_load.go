package rival

import (
	"context"
	"fmt"
	"time"

	"tranche/loadtest/rivals/contract"
)

// loading is how long one server at most keeps others from loading the same offer.
const loading = 30 * time.Second

// load writes an offer's counters as the log has them, if Redis does not know it: a new offer, or one that was lost. The counters come
// last: until they are there nobody counts users.
func (r *Redis) load(ctx context.Context, offerID string) error {
	offer, err := r.offer(ctx, offerID)
	if err != nil {
		return err
	}
	lock := "{" + offerID + "}:loading"
	mine, err := r.cache.SetNX(ctx, lock, 1, loading).Result()
	if err != nil {
		return err
	}
	if !mine {
		return fmt.Errorf("%w: another server is loading the offer", contract.ErrNotDone)
	}
	defer r.cache.Del(context.WithoutCancel(ctx), lock)
	if n, err := r.cache.Exists(ctx, counters(offerID)).Result(); err != nil || n > 0 {
		return err
	}
	b, err := logBalance(ctx, r.db, offerID)
	if err != nil {
		return err
	}
	if err := r.loadUsers(ctx, offerID); err != nil {
		return err
	}
	return loadCounters.Run(ctx, r.cache, []string{counters(offerID)}, offer.Budget, offer.UserLimit, b.UnitsRedeemed, b.UnitsRefunded, r.now().UnixMicro()).Err()
}

// loadUsers counts the users' redemptions in the log, and those of them that are given back whole.
func (r *Redis) loadUsers(ctx context.Context, offerID string) error {
	keys := r.keys(offerID, contract.Hash{})
	if err := r.cache.Del(ctx, keys[1], keys[2]).Err(); err != nil {
		return err
	}
	rows, err := r.db.QueryContext(ctx, `SELECT user_id, COUNT(*), SUM(back >= units) FROM (
			SELECT user_id, SUM(IF(refund = ?, units, 0)) AS units, SUM(IF(refund = ?, 0, units)) AS back
			FROM log WHERE offer_id = ? GROUP BY redemption, user_id
		) AS redemptions GROUP BY user_id`, noRefund[:], noRefund[:], offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	batch := r.cache.Pipeline()
	for rows.Next() {
		var userID string
		var used, refunded int64
		if err := rows.Scan(&userID, &used, &refunded); err != nil {
			return err
		}
		batch.HSet(ctx, keys[1], userID, used)
		batch.HSet(ctx, keys[2], userID, refunded)
		if batch.Len() >= 1000 {
			if _, err := batch.Exec(ctx); err != nil {
				return err
			}
		}
	}
	if err := rows.Err(); err != nil || batch.Len() == 0 {
		return err
	}
	_, err = batch.Exec(ctx)
	return err
}
