package fill

import (
	"context"
	"database/sql"
	"fmt"
)

// User is the name of the i-th user.
func User(i int64) string { return fmt.Sprintf("user-%011d", i) }

// Users adds counters of the users from the from-th up to the one before the to-th. Each has redeemed once.
func Users(ctx context.Context, db *sql.DB, offer string, from, to int64) error {
	return quietly(ctx, db, func(s *session) error {
		return s.insert("usages (offer_id, user_id, redemptions, units)", to-from, func(row []byte, i int64) []byte {
			return fmt.Appendf(row, "('%s','%s',1,1)", offer, User(from+i))
		})
	})
}
