package store

import (
	"cmp"
	"context"
	"slices"

	"tranche/models"
)

// ExpiredHolds lists holds that are past their end by the database's clock and have not ended, oldest first, without locks.
func (s *Store) ExpiredHolds(ctx context.Context, limit int) (expired models.ExpiredHolds, err error) {
	err = s.read(ctx, "ExpiredHolds", func(q *query) error {
		expired.Holds, expired.Now, err = clocked[models.Hold](q, q.
			Where("expires_at <= "+q.dialect.now).Order("expires_at").Limit(limit))
		return err
	})
	return expired, err
}

// hold keeps the list of holds that have not ended. Nobody else is at these rows: who brings or ends a hold has its entry.
//
// They are deleted one by one, each by its key. For one statement with many keys a server may take a scan to be cheaper, as long
// as the table is small, and would wait for the rows of everybody else on its way.
func (q *query) hold(held, ended []models.Hold) error {
	for chunk := range slices.Chunk(inOrder(held), chunkSize) {
		if _, err := insert(q, chunk, nil, ""); err != nil {
			return err
		}
	}
	for _, h := range inOrder(ended) {
		rows, err := q.exec("DELETE FROM holds WHERE offer_id = ? AND redemption = ?", h.OfferID, h.Redemption)
		if err := one(rows, err, "end hold"); err != nil {
			return err
		}
	}
	return nil
}

// inOrder gives holds in the order of their keys.
func inOrder(holds []models.Hold) []models.Hold {
	return slices.SortedFunc(slices.Values(holds), func(a, b models.Hold) int {
		return cmp.Or(cmp.Compare(a.OfferID, b.OfferID), compareIDs(a.Redemption, b.Redemption))
	})
}
