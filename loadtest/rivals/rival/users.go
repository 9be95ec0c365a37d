package rival

import (
	"context"
	"database/sql"
	"errors"

	"tranche/loadtest/rivals/contract"
)

// countUser counts one more redemption of a user, if the limit allows it. It locks the user's row until the transaction ends.
func countUser(ctx context.Context, q queryer, o *contract.Offer, userID string) error {
	// One row is affected by the insert, two by the update, and none by an update that changes nothing.
	return change(ctx, q, contract.ErrUserLimit, `INSERT INTO usages (offer_id, user_id, used) VALUES (?, ?, 1)
		ON DUPLICATE KEY UPDATE used = used + IF(used - refunded < ?, 1, 0)`, o.ID, userID, limitOf(o))
}

// uncountUser gives a redemption back to a user.
func uncountUser(ctx context.Context, q queryer, offerID, userID string) error {
	_, err := q.ExecContext(ctx, "UPDATE usages SET refunded = refunded + 1 WHERE offer_id = ? AND user_id = ?", offerID, userID)
	return err
}

// Usage implements contract.Books for those who count users in the database.
func (t *transactional) Usage(ctx context.Context, offerID, userID string) (contract.Usage, error) {
	o, err := t.offer(ctx, offerID)
	if err != nil {
		return contract.Usage{}, err
	}
	u := contract.Usage{Limit: o.UserLimit}
	err = t.db.QueryRowContext(ctx, "SELECT used - refunded FROM usages WHERE offer_id = ? AND user_id = ?", offerID, userID).Scan(&u.Redemptions)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return u, err
}
