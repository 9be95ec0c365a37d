package systemtest

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
)

// books is everything that the database holds about one offer, read in one snapshot.
type books struct {
	budget, allocated  int64
	lateUnits, exposed int64
	userLimit          sql.NullInt64
	folded             sums
	leases             map[string]*leaseRow
	entries            []entryRow
	exceptions         []exceptionRow
	usages             map[string]usageRow
}

type sums struct{ redeemed, held, refunded, forfeited int64 }

func (s sums) plus(o sums) sums {
	return sums{s.redeemed + o.redeemed, s.held + o.held, s.refunded + o.refunded, s.forfeited + o.forfeited}
}

type leaseRow struct {
	id, node, kind, mode, state string
	granted, spent, exposed     int64
	answered                    bool // what it exposes will be acquitted at its end, by any node
	sums                        sums
	ttl                         int64
	expiresAt, closedAt         sql.NullInt64
}

// outlives reports whether the lease's owner may acknowledge what it spends before it is booked.
func (l *leaseRow) outlives() bool { return l.mode == "fast" || l.mode == "available" }

// unanswered is what leases expose without anybody having said that nothing more comes.
func (b *books) unanswered() (units int64) {
	for _, l := range b.leases {
		if !l.answered {
			units += l.exposed
		}
	}
	return units
}

type entryRow struct {
	id, redemption, kind, user, order, key, lease, node string
	seq, units                                          int64
	restoresBudget, restoresLimit                       bool
	late                                                bool
}

// exceptionRow is an acknowledged redemption that is listed.
type exceptionRow struct {
	reason, entry, redemption, user, order, key, lease, node string
	units                                                    int64
}

// as gives the exception that an entry is listed as.
func (e *entryRow) as(reason string) exceptionRow {
	return exceptionRow{
		reason: reason, entry: e.id, redemption: e.redemption, user: e.user, order: e.order, key: e.key,
		lease: e.lease, node: e.node, units: e.units,
	}
}

type usageRow struct{ redemptions, units, held int64 }

// readBooks reads the books of an offer.
func (f *fleet) readBooks(offerID string) *books {
	f.t.Helper()
	b, err := readBooks(f.t.Context(), f.db, offerID)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func readBooks(ctx context.Context, db *sql.DB, offerID string) (*books, error) {
	tx, err := db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { _ = tx.Rollback() }()
	b := &books{leases: map[string]*leaseRow{}, usages: map[string]usageRow{}}
	err = tx.QueryRowContext(ctx, `SELECT budget, allocated, late_units, exposed, user_limit_redemptions,
		redeemed, held, refunded, forfeited FROM offers WHERE id = ?`, offerID).Scan(
		&b.budget, &b.allocated, &b.lateUnits, &b.exposed, &b.userLimit,
		&b.folded.redeemed, &b.folded.held, &b.folded.refunded, &b.folded.forfeited)
	if err != nil {
		return nil, err
	}
	return b, errors.Join(b.readLeases(ctx, tx, offerID), b.readEntries(ctx, tx, offerID),
		b.readExceptions(ctx, tx, offerID), b.readUsages(ctx, tx, offerID))
}

func (b *books) readLeases(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, node_id, kind, mode, state, granted, spent, exposed, acquit_at IS NOT NULL, redeemed, held, refunded, forfeited,
		ttl_seconds, expires_at, closed_at FROM leases WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l leaseRow
		var id, node []byte
		if err := rows.Scan(&id, &node, &l.kind, &l.mode, &l.state, &l.granted, &l.spent, &l.exposed, &l.answered, &l.sums.redeemed, &l.sums.held,
			&l.sums.refunded, &l.sums.forfeited, &l.ttl, &l.expiresAt, &l.closedAt); err != nil {
			return err
		}
		l.id, l.node = hex.EncodeToString(id), hex.EncodeToString(node)
		b.leases[l.id] = &l
	}
	return rows.Err()
}

func (b *books) readEntries(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, redemption, seq, kind, user_id, order_id, idempotency_key, units, lease_id, node_id,
		restores_budget, restores_user_limit, late FROM entries WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e entryRow
		var id, redemption, lease, node []byte
		var order sql.NullString
		if err := rows.Scan(&id, &redemption, &e.seq, &e.kind, &e.user, &order, &e.key, &e.units, &lease, &node,
			&e.restoresBudget, &e.restoresLimit, &e.late); err != nil {
			return err
		}
		e.id, e.redemption, e.order = hex.EncodeToString(id), hex.EncodeToString(redemption), order.String
		e.lease, e.node = hex.EncodeToString(lease), hex.EncodeToString(node)
		b.entries = append(b.entries, e)
	}
	return rows.Err()
}

func (b *books) readExceptions(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT reason, entry_id, redemption, user_id, order_id, idempotency_key, units, lease_id, node_id
		FROM exceptions WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var x exceptionRow
		var entry, redemption, lease, node []byte
		var order sql.NullString
		if err := rows.Scan(&x.reason, &entry, &redemption, &x.user, &order, &x.key, &x.units, &lease, &node); err != nil {
			return err
		}
		x.entry, x.redemption, x.order = hex.EncodeToString(entry), hex.EncodeToString(redemption), order.String
		x.lease, x.node = hex.EncodeToString(lease), hex.EncodeToString(node)
		b.exceptions = append(b.exceptions, x)
	}
	return rows.Err()
}

func (b *books) readUsages(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT user_id, redemptions, units, held_units FROM usages WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var user string
		var u usageRow
		if err := rows.Scan(&user, &u.redemptions, &u.units, &u.held); err != nil {
			return err
		}
		b.usages[user] = u
	}
	return rows.Err()
}
