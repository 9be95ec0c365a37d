package store

import (
	"context"
	"slices"

	"tranche/models"
)

// Exceptions lists the acknowledged redemptions of an offer that the ledger would have refused, newest first.
func (s *Store) Exceptions(ctx context.Context, offerID string, limit int, before models.ID) (exceptions []models.Exception, err error) {
	err = s.list(ctx, "Exceptions", func(q *query) error {
		return q.Where("offer_id = ?", offerID).Scopes(page("id", limit, before)).Find(&exceptions).Error
	})
	return exceptions, err
}

// except lists exceptions. It looks for those that are there already, because an entry whose key is taken may be asked for again.
func (q *query) except(offerID string, found []models.Exception) error {
	if len(found) == 0 {
		return nil
	}
	var reused []models.ID
	for _, e := range found {
		if e.Reason == models.ReasonKeyReused {
			reused = append(reused, e.EntryID)
		}
	}
	listed, err := q.listed(offerID, reused)
	if err != nil {
		return err
	}
	now, err := q.now()
	if err != nil {
		return err
	}
	var rows []models.Exception
	for _, e := range found {
		if !slices.Contains(listed, e.EntryID) {
			e.ID, e.CreatedAt = models.NewID(), now
			rows = append(rows, e)
		}
	}
	for chunk := range slices.Chunk(rows, chunkSize) {
		if err := q.Create(&chunk).Error; err != nil {
			return err
		}
	}
	return nil
}

// listed gives those of the entries that are listed for their reused key.
func (q *query) listed(offerID string, entries []models.ID) (listed []models.ID, err error) {
	for chunk := range slices.Chunk(entries, chunkSize) {
		var some []models.ID
		err := q.Model(&models.Exception{}).Where("offer_id = ? AND entry_id IN ? AND reason = ?", offerID, chunk, models.ReasonKeyReused).
			Pluck("entry_id", &some).Error
		if err != nil {
			return nil, err
		}
		listed = append(listed, some...)
	}
	return listed, nil
}
