package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"tranche/models"
)

// Locked says which wanted entries of a batch another session keeps from being booked, now: it has locked the counters of their user, or
// the rows of their redemption, those too that it has not committed yet. It waits for no lock, and changes nothing.
//
// By the time of the answer all may be different, so it is of use only to choose what to try. errors.ErrUnsupported: the server can't
// tell. Nothing is ever locked in SQLite, whose transactions have the whole file.
func (s *Store) Locked(ctx context.Context, batch models.Batch) ([]bool, error) {
	locked := make([]bool, len(batch.Wanted))
	if s.dialect.oneWriter {
		return locked, nil
	}
	err := s.call(ctx, "Locked", readTimeout, func(ctx context.Context) error {
		conn, err := s.reads.conn(ctx)
		if err != nil {
			return err
		}
		q := s.query(ctx, conn)
		users, err := lockedRows(q, conn, "usages", "user_id", batch.Offer.ID, usersOf(&batch))
		if err == nil {
			var redemptions []models.ID
			redemptions, err = lockedRows(q, conn, "entries", "redemption", batch.Offer.ID, redemptionsOf(&batch, true))
			for i, w := range batch.Wanted {
				locked[i] = slices.Contains(users, w.UserID) || slices.Contains(redemptions, w.Redemption)
			}
		}
		if err != nil {
			discard(conn) // its next transaction would read what is not committed
		}
		return errors.Join(err, conn.Close())
	})
	if unknown, ok := errors.AsType[*mysql.MySQLError](err); ok && (unknown.Number == 1064 || unknown.Number == 1235) {
		return nil, fmt.Errorf("%w: %w", errors.ErrUnsupported, err)
	}
	return locked, err
}

// usersOf gives the users whose counters a batch changes.
func usersOf(batch *models.Batch) (users []string) {
	if !batch.Offer.LimitsUsers() {
		return nil
	}
	for i := range batch.Wanted {
		users = append(users, batch.Wanted[i].UserID)
	}
	slices.Sort(users)
	return slices.Compact(users)
}

// lockedRows gives those values of a column that have rows, committed or not, of which one is locked by others.
func lockedRows[T comparable](q *query, conn *sql.Conn, table, column, offerID string, values []T) (locked []T, err error) {
	rows := func(where *gorm.DB) (counts map[T]int, err error) {
		var found []T
		err = where.Table(table).Where("offer_id = ?", offerID).Where(column+" IN ?", values).Pluck(column, &found).Error
		counts = map[T]int{}
		for _, v := range found {
			counts[v]++
		}
		return counts, err
	}
	if len(values) == 0 {
		return nil, nil
	}
	if _, err := conn.ExecContext(q.Statement.Context, "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"); err != nil { // of the next statement
		return nil, err
	}
	all, err := rows(q.DB)
	if err != nil {
		return nil, err
	}
	free, err := rows(q.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate, Options: clause.LockingOptionsSkipLocked}))
	if err != nil {
		return nil, err
	}
	for v, n := range all {
		if free[v] < n {
			locked = append(locked, v)
		}
	}
	return locked, nil
}
