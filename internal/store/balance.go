package store

import (
	"context"

	"tranche/models"
)

// balanceReads is how often a balance that does not add up is read before it is believed.
const balanceReads = 5

// Balance reads the offer's books at one instant. ErrOfferNotFound.
//
// One statement should be one snapshot, at any isolation level. MariaDB (10.11) makes it while others commit, and about once in a hundred
// thousand reads beside busy grants and returns the snapshot has a transaction, and lacks one that had committed before. So a balance
// that does not add up is read again. If it never does, it is given as it is, for the books are wrong then.
func (s *Store) Balance(ctx context.Context, offerID string) (b models.Balance, err error) {
	return untilAddsUp(func() (models.Balance, error) { return s.balance(ctx, offerID) })
}

func untilAddsUp(read func() (models.Balance, error)) (b models.Balance, err error) {
	for range balanceReads {
		if b, err = read(); err != nil || b.AddsUp() {
			break
		}
	}
	return b, err
}

// balance is one statement: a lease is active or folded in its snapshot, never both and never neither; what it exposes is its outstanding
// units or in the offer's sum of exposed ones. Closed leases, of which there may be very many, are not read.
func (s *Store) balance(ctx context.Context, offerID string) (b models.Balance, err error) {
	err = s.read(ctx, "Balance", func(q *query) error {
		b = models.Balance{}
		result := q.Raw(`
			SELECT o.budget, o.allocated, o.late_units, o.recall, o.updated_at AS changed_at, COALESCE(l.outstanding, 0) AS outstanding,
				o.redeemed + COALESCE(l.redeemed, 0) AS redeemed, o.held + COALESCE(l.held, 0) AS held,
				o.refunded + COALESCE(l.refunded, 0) AS refunded, o.forfeited + COALESCE(l.forfeited, 0) AS forfeited,
				o.exposed + COALESCE(l.exposable, 0) AS overspend_bound,
				COALESCE(l.recalled, 0) AS recalled,
				COALESCE(l.leases, 0) AS leases_active,
				(SELECT COUNT(*) FROM nodes WHERE seen_at > `+q.dialect.now+` - ? AND `+notGone+`) AS nodes_active,
				(SELECT MIN(expires_at) FROM holds WHERE offer_id = o.id) AS next_hold_ends, `+q.dialect.now+` AS as_of
			FROM offers o LEFT JOIN (
				SELECT l.offer_id, SUM(l.granted - l.spent) AS outstanding, SUM(l.redeemed) AS redeemed, SUM(l.held) AS held,
					SUM(l.refunded) AS refunded, SUM(l.forfeited) AS forfeited,
					SUM(CASE WHEN l.mode IN ('fast', 'available') THEN l.granted - l.spent ELSE 0 END) AS exposable,
					SUM(CASE WHEN l.recall < r.recall THEN l.granted - l.spent ELSE 0 END) AS recalled,
					COUNT(*) AS leases
				FROM leases l JOIN offers r ON r.id = l.offer_id
				WHERE l.offer_id = ? AND l.state = 'active' GROUP BY l.offer_id
			) AS l ON l.offer_id = o.id
			WHERE o.id = ?`, models.NodeSilence.Microseconds(), offerID, offerID).Scan(&b)
		if result.Error == nil && result.RowsAffected == 0 {
			return notFound(offerID)
		}
		b.OverspendBound += b.Overspend()
		return result.Error
	})
	return b, err
}
