package store

import (
	"context"

	"tranche/internal/ledger"
	"tranche/models"
)

// audit records what an admin did, in the transaction that does it.
func (q *query) audit(by models.Audit, before, after *models.Offer, now models.Micros) error {
	record, err := ledger.NewAudit(by, before, after, now)
	if err != nil {
		return err
	}
	return q.Create(&record).Error
}

// Audits lists what admins did to an offer, or with an empty id to all, newest first.
func (s *Store) Audits(ctx context.Context, offerID string, limit int, before models.ID) (audits []models.Audit, err error) {
	err = s.list(ctx, "Audits", func(q *query) error {
		db := q.Scopes(page("id", limit, before))
		if offerID != "" {
			db = db.Where("offer_id = ?", offerID)
		}
		return db.Find(&audits).Error
	})
	return audits, err
}
