package store

import (
	"context"

	"tranche/models"
)

// identity is the one row that says which ledger this is.
type identity struct {
	Place int64 `gorm:"primaryKey;autoIncrement:false"`
	ID    models.ID
}

// TableName implements gorm's Tabler.
func (identity) TableName() string { return "ledger" }

// LedgerID gives the random id of the ledger. The first caller makes it, durable on return. In tables that nodes have used before, it is
// the id of their oldest node: a backup from before the ledger had an id gets the same one.
func (s *Store) LedgerID(ctx context.Context) (models.ID, error) {
	var row identity
	err := s.write(ctx, "LedgerID", onDuplicate|onUnknown, func(q *query) error {
		row = identity{}
		if err := q.scan(&row, "SELECT id FROM ledger WHERE place = 1"); err != nil || !row.ID.IsZero() {
			return err
		}
		if err := q.scan(&row, "SELECT id FROM nodes ORDER BY id LIMIT 1"); err != nil {
			return err
		}
		if row.ID.IsZero() {
			row.ID = models.NewID()
		}
		row.Place = 1
		return q.Create(&row).Error
	})
	return row.ID, err
}
