package store

import (
	"context"
	"fmt"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"tranche/internal/version"
	"tranche/models"
)

// RegisterNode takes the node's next epoch, which supersedes the ones before it. Durable on return. Repeating it after a lost
// reply takes one more, which does no harm.
func (s *Store) RegisterNode(ctx context.Context, id models.ID, name string) (epoch int64, err error) {
	err = s.write(ctx, "RegisterNode", onDuplicate|onUnknown, func(q *query) error {
		now, err := q.now()
		if err != nil {
			return err
		}
		node := models.Node{ID: id, Name: name, Epoch: 1, Version: version.Version, Feeds: true, StartedAt: now, SeenAt: now}
		next := clause.Assignments(map[string]any{
			"epoch":      gorm.Expr("epoch + 1"),
			"name":       gorm.Expr(q.dialect.incoming("name")),
			"version":    version.Version,
			"feeds":      true,
			"started_at": now,
			"seen_at":    now,
		})
		conflict := clause.OnConflict{Columns: []clause.Column{{Name: "id"}}, DoUpdates: next}
		if err := q.Clauses(conflict).Create(&node).Error; err != nil {
			return err
		}
		return q.locking().Model(&models.Node{}).Select("epoch").Where("id = ?", id).Take(&epoch).Error
	})
	return epoch, err
}

// Heartbeat notes that the node was seen, or gives ErrEpochSuperseded. A ledger that has lost the node's registration, or a later one,
// has its epoch from then on.
func (s *Store) Heartbeat(ctx context.Context, id models.ID, name string, epoch int64) error {
	return s.write(ctx, "Heartbeat", onDuplicate|onUnknown, func(q *query) error {
		rows, err := q.exec("UPDATE nodes SET seen_at = "+q.dialect.now+", epoch = ? WHERE id = ? AND epoch <= ?", epoch, id, epoch)
		if err != nil || rows == 1 {
			return err
		}
		newest, err := q.newest(id)
		switch {
		case err != nil:
			return err
		case newest > 0: // MySQL counts a row that stays as it was as not changed
			return notSuperseded(id, epoch, newest)
		}
		now, err := q.now()
		if err != nil {
			return err
		}
		return q.Create(&models.Node{ID: id, Name: name, Epoch: epoch, Version: version.Version, Feeds: true, StartedAt: now, SeenAt: now}).Error
	})
}

// SignOff notes that a node has gone and owes nothing: it has no lease, and nothing to settle. Until it is seen again it does not count as
// active. Durable on return, idempotent. An epoch that is not the newest changes nothing.
func (s *Store) SignOff(ctx context.Context, id models.ID, epoch int64) error {
	return s.write(ctx, "SignOff", onUnknown, func(q *query) error {
		now := q.dialect.now // a clock in milliseconds may not have moved since the last heartbeat
		_, err := q.exec("UPDATE nodes SET left_at = CASE WHEN "+now+" > seen_at THEN "+now+" ELSE seen_at + 1 END WHERE id = ? AND epoch = ?", id, epoch)
		return err
	})
}

// notGone is, in a query of nodes, whether a node has not signed off since it was seen.
const notGone = "(left_at IS NULL OR left_at <= seen_at)"

// newest reads the newest epoch that the ledger knows of a node: 0 for none.
func (q *query) newest(id models.ID) (newest int64, err error) {
	err = q.scan(&newest, "SELECT epoch FROM nodes WHERE id = ?", id)
	return newest, err
}

// notSuperseded gives ErrEpochSuperseded if the ledger knows a higher epoch of the node. A lower one is of a ledger that has lost commits.
func notSuperseded(id models.ID, epoch, newest int64) error {
	if newest > epoch {
		return fmt.Errorf("%w: node %s, epoch %d, newest %d", models.ErrEpochSuperseded, id, epoch, newest)
	}
	return nil
}

// Nodes lists nodes and what they hold over all offers, newest id first, those before an id unless it is zero.
func (s *Store) Nodes(ctx context.Context, limit int, before models.ID) (nodes []models.NodeActivity, err error) {
	err = s.list(ctx, "Nodes", func(q *query) error {
		return q.Table("nodes AS n").
			Select(`n.*,
				(SELECT COUNT(*) FROM leases l WHERE l.node_id = n.id AND l.state = 'active') AS leases_active,
				(SELECT COALESCE(SUM(granted - spent), 0) FROM leases l WHERE l.node_id = n.id AND l.state = 'active') AS outstanding`).
			Scopes(page("n.id", limit, before)).
			Scan(&nodes).Error
	})
	return nodes, err
}

// page orders a list newest first and cuts a page out of it.
func page(id string, limit int, before models.ID) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if !before.IsZero() {
			db = db.Where(id+" < ?", before)
		}
		return db.Order(id + " DESC").Limit(limit)
	}
}
