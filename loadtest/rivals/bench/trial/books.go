package trial

import (
	"context"
	"database/sql"
)

// Queries read one offer's rows. Each gives the redemption's name, and its statement takes the offer's id.
type Queries struct {
	Redemptions string // name, key, user
	Refunds     string // name, units
}

// Tranche's are over its ledger, Rivals' over their log.
var (
	Tranche = Queries{
		"SELECT redemption, idempotency_key, user_id FROM entries WHERE offer_id = ? AND kind = 'redeem'",
		"SELECT redemption, units FROM entries WHERE offer_id = ? AND kind = 'refund'",
	}
	Rivals = Queries{
		"SELECT redemption, idempotency_key, user_id FROM log WHERE offer_id = ? AND refund = REPEAT(CHAR(0), 16)",
		"SELECT redemption, units FROM log WHERE offer_id = ? AND refund <> REPEAT(CHAR(0), 16)",
	}
)

// Read reads the books of an offer.
func (q *Queries) Read(ctx context.Context, db *sql.DB, offer string) (*Books, error) {
	b := &Books{Redeemed: map[string]int{}, Refunded: map[string]int64{}, Users: map[string]string{}}
	keys := map[string]string{} // by the redemption's name
	err := each(ctx, db, q.Redemptions, offer, func(rows *sql.Rows) error {
		var name, key, user string
		if err := rows.Scan(&name, &key, &user); err != nil {
			return err
		}
		keys[name] = key
		b.Redeemed[key]++
		b.Users[key] = user
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b, each(ctx, db, q.Refunds, offer, func(rows *sql.Rows) error {
		var name string
		var units int64
		if err := rows.Scan(&name, &units); err != nil {
			return err
		}
		b.Refunded[keys[name]] += units
		return nil
	})
}

func each(ctx context.Context, db *sql.DB, query, offer string, row func(*sql.Rows) error) error {
	rows, err := db.QueryContext(ctx, query, offer)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
