package systemtest

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
)

// books is everything that the database holds about one offer, read in one snapshot.
type books struct {
	budget, allocated int64
	userLimit         sql.NullInt64
	folded            sums
	leases            map[string]*leaseRow
	entries           []entryRow
	usages            map[string]usageRow
}

type sums struct{ redeemed, held, refunded, forfeited int64 }

func (s sums) plus(o sums) sums {
	return sums{s.redeemed + o.redeemed, s.held + o.held, s.refunded + o.refunded, s.forfeited + o.forfeited}
}

type leaseRow struct {
	id, node, kind, state string
	granted, spent        int64
	sums                  sums
	ttl                   int64
	expiresAt, closedAt   sql.NullInt64
}

type entryRow struct {
	redemption, kind, user, key, lease string
	seq, units                         int64
	restoresBudget, restoresLimit      bool
	late                               bool
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
	err = tx.QueryRowContext(ctx, `SELECT budget, allocated, user_limit_redemptions, redeemed, held, refunded, forfeited
		FROM offers WHERE id = ?`, offerID).Scan(&b.budget, &b.allocated, &b.userLimit,
		&b.folded.redeemed, &b.folded.held, &b.folded.refunded, &b.folded.forfeited)
	if err != nil {
		return nil, err
	}
	return b, errors.Join(b.readLeases(ctx, tx, offerID), b.readEntries(ctx, tx, offerID), b.readUsages(ctx, tx, offerID))
}

func (b *books) readLeases(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT id, node_id, kind, state, granted, spent, redeemed, held, refunded, forfeited,
		ttl_seconds, expires_at, closed_at FROM leases WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var l leaseRow
		var id, node []byte
		if err := rows.Scan(&id, &node, &l.kind, &l.state, &l.granted, &l.spent, &l.sums.redeemed, &l.sums.held,
			&l.sums.refunded, &l.sums.forfeited, &l.ttl, &l.expiresAt, &l.closedAt); err != nil {
			return err
		}
		l.id, l.node = hex.EncodeToString(id), hex.EncodeToString(node)
		b.leases[l.id] = &l
	}
	return rows.Err()
}

func (b *books) readEntries(ctx context.Context, tx *sql.Tx, offerID string) error {
	rows, err := tx.QueryContext(ctx, `SELECT redemption, seq, kind, user_id, idempotency_key, units, lease_id,
		restores_budget, restores_user_limit, late FROM entries WHERE offer_id = ?`, offerID)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var e entryRow
		var redemption, lease []byte
		if err := rows.Scan(&redemption, &e.seq, &e.kind, &e.user, &e.key, &e.units, &lease,
			&e.restoresBudget, &e.restoresLimit, &e.late); err != nil {
			return err
		}
		e.redemption, e.lease = hex.EncodeToString(redemption), hex.EncodeToString(lease)
		b.entries = append(b.entries, e)
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

// netSpent is how much of the budget is gone, by the entries alone.
func (b *books) netSpent() (n int64) {
	for _, e := range b.entries {
		switch {
		case e.kind == "redeem":
			n += e.units
		case e.restoresBudget:
			n -= e.units
		}
	}
	return n
}

// redeems gives the entries that brought a redemption into being, by idempotency key.
func (b *books) redeems() map[string][]entryRow {
	m := map[string][]entryRow{}
	for _, e := range b.entries {
		if e.seq == 0 {
			m[e.key] = append(m[e.key], e)
		}
	}
	return m
}

// check holds the books against themselves: every total against the entries behind it.
func (b *books) check(t *testing.T) {
	t.Helper()
	for _, problem := range b.problems() {
		t.Error(problem)
	}
}

func (b *books) problems() (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	byLease := b.sumByLease(wrong)
	var spent, pooled, outstanding int64
	var closed sums
	for id, l := range b.leases {
		got := byLease[id]
		if l.sums != got {
			wrong("lease %s says %+v, its entries say %+v", id, l.sums, got)
		}
		if l.spent != got.redeemed {
			wrong("lease %s has spent %d, its entries %d", id, l.spent, got.redeemed)
		}
		if l.kind == "refund_pool" {
			pooled += l.granted
			if l.granted != got.refunded {
				wrong("pool %s was granted %d, the refunds into it are %d", id, l.granted, got.refunded)
			}
		}
		spent += l.spent
		if l.state == "active" {
			outstanding += l.granted - l.spent
		} else {
			closed = closed.plus(l.sums)
		}
	}
	netSpent := b.netSpent()
	if netSpent != spent-pooled {
		wrong("net spent is %d by the entries, %d by the leases", netSpent, spent-pooled)
	}
	if b.allocated != netSpent+outstanding {
		wrong("allocated %d is not net spent %d + outstanding %d", b.allocated, netSpent, outstanding)
	}
	if b.allocated > b.budget {
		wrong("allocated %d of a budget of %d", b.allocated, b.budget)
	}
	if b.folded != closed {
		wrong("the offer folded %+v, its closed leases say %+v", b.folded, closed)
	}
	b.checkUsers(wrong)
	return problems
}

// sumByLease adds up the entries by lease, looking at each on the way.
func (b *books) sumByLease(wrong func(string, ...any)) map[string]sums {
	byLease := map[string]sums{}
	for _, e := range b.entries {
		if b.leases[e.lease] == nil {
			wrong("%s %s: booked on lease %s, which does not exist", e.kind, e.key, e.lease)
		}
		if e.late {
			wrong("%s %s: late, in strict mode", e.kind, e.key)
		}
		s := byLease[e.lease]
		switch {
		case e.kind == "redeem":
			s.redeemed += e.units
		case e.kind == "refund" && e.restoresBudget:
			s.refunded += e.units
		case e.kind == "refund":
			s.forfeited += e.units
		default:
			wrong("an entry of kind %q", e.kind)
		}
		byLease[e.lease] = s
	}
	return byLease
}

// checkUsers counts each user's redemptions, those refunded as a whole taken off, and holds them against limit and counter.
func (b *books) checkUsers(wrong func(string, ...any)) {
	users, left := map[string]usageRow{}, map[string]int64{}
	for _, e := range b.entries {
		u := users[e.user]
		switch {
		case e.kind == "redeem":
			u.redemptions++
			u.units += e.units
			left[e.redemption] += e.units
		case e.restoresLimit:
			u.units -= e.units
			left[e.redemption] -= e.units
		}
		users[e.user] = u
	}
	for _, e := range b.entries {
		if e.kind == "redeem" && left[e.redemption] == 0 {
			u := users[e.user]
			u.redemptions--
			users[e.user] = u
		}
	}
	if !b.userLimit.Valid {
		return
	}
	for user, u := range users {
		if u.redemptions > b.userLimit.Int64 {
			wrong("user %s has %d redemptions, the limit is %d", user, u.redemptions, b.userLimit.Int64)
		}
		if b.usages[user] != u {
			wrong("user %s is counted as %+v, the entries say %+v", user, b.usages[user], u)
		}
	}
	for user, u := range b.usages {
		if _, known := users[user]; !known && u != (usageRow{}) {
			wrong("user %s is counted as %+v and has no entry", user, u)
		}
	}
}
