package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"tranche/models"
)

const (
	maxAttempts      = 6  // of a transaction that collides on a key, or is divisible
	maxConflicts     = 12 // of another one that meets deadlocks; its pauses add up to half of a call's time
	maxLockWaits     = 4
	maxDeadConns     = 3
	maxReads         = 3                     // of what meets dead connections, or a cluster that aborts it
	maxUnknown       = 3                     // COMMITs of an idempotent transaction
	retryPause       = 10 * time.Millisecond // doubles with each
	maxRetryPause    = 320 * time.Millisecond
	lockWaitHeadroom = lockWait + 100*time.Millisecond
	rollbackTimeout  = time.Second
)

// again says which ends of a transaction, besides deadlocks and lock waits, call for running it once more, or don't.
type again int

const (
	onDuplicate again = 1 << iota // the next run reads first, and sees what took the key
	onUnknown                     // the work is idempotent: it finds what an earlier run of it has written
	divisible                     // others wait behind this one: its caller makes it smaller, instead of waiting for long
)

// read runs queries outside of a transaction, each with a snapshot of its own.
func (s *Store) read(ctx context.Context, name string, work func(*query) error) error {
	return s.call(ctx, name, readTimeout, func(ctx context.Context) error { return s.onConn(ctx, s.reads, work) })
}

// onConn runs queries on a connection of a pool, for readTimeout once they have it.
func (s *Store) onConn(ctx context.Context, p *pool, work func(*query) error) (err error) {
	for range maxReads {
		if err = s.onConnOnce(ctx, p, work); classify(err) != badConn && classify(err) != conflict {
			break
		}
	}
	return err
}

func (s *Store) onConnOnce(ctx context.Context, p *pool, work func(*query) error) error {
	conn, err := p.conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	return work(s.query(ctx, conn))
}

// write runs a transaction, the whole of it again where that helps.
func (s *Store) write(ctx context.Context, name string, rerun again, work func(*query) error) error {
	return s.call(ctx, name, writeTimeout, func(ctx context.Context) error {
		return s.transact(ctx, rerun, work)
	})
}

// transact runs a transaction until it is decided, or no further run is worth it. Once one run has ended in the dark, nothing but
// an answer of a later one can say that nothing was changed.
func (s *Store) transact(ctx context.Context, rerun again, work func(*query) error) error {
	var dark error
	ended := map[kind]int{}
	for {
		err := s.attempt(ctx, work)
		k := classify(err)
		if k == none || k == refusal {
			return err
		}
		if k == unknown {
			dark = err
		}
		ended[k]++
		if !worthAnother(ctx, k, ended, rerun) {
			return cmp.Or(dark, waited(ended, err))
		}
		first := k == duplicate && ended[duplicate] == 1 // who took the key has committed: there is nothing to wait for
		if !first && !pause(ctx, min(retryPause<<(ended[k]-1), maxRetryPause)) {
			return cmp.Or(dark, waited(ended, err))
		}
		s.metrics.retries.Inc()
	}
}

// worthAnother decides by how the runs so far have ended.
func worthAnother(ctx context.Context, k kind, ended map[kind]int, rerun again) bool {
	switch k {
	case conflict:
		return ended[conflict] < maxAttempts || rerun&divisible == 0 && ended[conflict] < maxConflicts
	case duplicate:
		return rerun&onDuplicate != 0 && ended[duplicate] < maxAttempts
	case lockWaited:
		deadline, _ := ctx.Deadline()
		return rerun&divisible == 0 && ended[lockWaited] < maxLockWaits && time.Until(deadline) > lockWaitHeadroom
	case badConn:
		return ended[badConn] < maxDeadConns
	case unknown:
		return rerun&onUnknown != 0 && ended[unknown] < maxUnknown
	default:
		return false
	}
}

// waited tells a deadline that passed because others held their locks from a database that doesn't answer.
func waited(ended map[kind]int, err error) error {
	collided := ended[conflict]+ended[lockWaited]+ended[duplicate] > 0
	if collided && (errors.Is(err, context.DeadlineExceeded) || classify(err) == duplicate) {
		return fmt.Errorf("%w: %w", models.ErrBusy, err)
	}
	return err
}

// pause waits for half of d to twice d, so that those who collided don't collide again. False when ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d*3/2))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// attempt runs a transaction once. The connection goes back to the pool only when it is known to be outside of a transaction.
func (s *Store) attempt(ctx context.Context, work func(*query) error) error {
	if err := s.becomeWriter(ctx); err != nil {
		return err
	}
	defer s.stopWriting()
	conn, err := s.writes.conn(ctx)
	if err != nil {
		return err
	}
	committed := false
	defer func() { // also when work panics
		if !committed {
			rollBack(ctx, conn)
		}
		_ = conn.Close()
	}()
	if s.dialect.begin != "" {
		if _, err := conn.ExecContext(ctx, s.dialect.begin); err != nil {
			return err
		}
	}
	if err := work(s.query(ctx, conn)); err != nil {
		return err
	}
	if err := s.commit(ctx, conn); err != nil {
		return err
	}
	committed = true
	return nil
}

// commit tells a COMMIT that was not sent or was refused from one whose fate is open.
//
// It is sent as a statement, because database/sql's Tx.Commit takes no context: it could outlast the call's deadline.
func (s *Store) commit(ctx context.Context, conn *sql.Conn) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.dialect.commitRunsToItsEnd {
		ctx = context.WithoutCancel(ctx)
	}
	_, err := conn.ExecContext(ctx, "COMMIT")
	if err == nil {
		return nil
	}
	if k := classify(err); k == conflict || k == lockWaited && s.dialect.oneWriter {
		return err // the database says that it rolled back, or that it is still waiting for us to
	}
	discard(conn)
	return fmt.Errorf("%w: %w", models.ErrOutcomeUnknown, err)
}

func rollBack(ctx context.Context, conn *sql.Conn) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		discard(conn)
	}
}

// discard closes a connection instead of giving it back to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
}

func (s *Store) becomeWriter(ctx context.Context) error {
	if s.writer == nil {
		return nil
	}
	select {
	case s.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: the file's one writer: %w", errCrowded, ctx.Err())
	}
}

func (s *Store) stopWriting() {
	if s.writer != nil {
		<-s.writer
	}
}

// A query runs statements on one connection.
type query struct {
	*gorm.DB
	dialect *dialect
}

func (s *Store) query(ctx context.Context, conn gorm.ConnPool) *query {
	db := s.orm.Session(&gorm.Session{NewDB: true, Context: ctx})
	db.Statement.ConnPool = conn
	return &query{db, s.dialect}
}

// locking makes a SELECT wait for, and keep, the rows it reads. SQLite's transactions have the whole file anyway.
func (q *query) locking() *gorm.DB {
	return q.Clauses(clause.Locking{Strength: clause.LockingStrengthUpdate})
}

// current makes a SELECT see all that is committed by now. At READ COMMITTED each one does. At a stronger level only a locking one does, and
// it may lock, and wait for, more rows than it gives: all of an offer, if they are few.
func (q *query) current() *gorm.DB {
	if q.dialect.snapshots {
		return q.locking()
	}
	return q.DB
}

// scan runs a SELECT in plain SQL. A row that isn't there leaves dst as it is.
func (q *query) scan(dst any, sql string, args ...any) error {
	return q.Raw(sql, args...).Scan(dst).Error
}

// exec runs a statement in plain SQL and gives the number of rows that it changed.
func (q *query) exec(sql string, args ...any) (int64, error) {
	result := q.Exec(sql, args...)
	return result.RowsAffected, result.Error
}

// one fails unless a guarded statement has changed exactly one row.
func one(rows int64, err error, what string) error {
	if err == nil && rows != 1 {
		return fmt.Errorf("%s: %d rows changed, want 1", what, rows)
	}
	return err
}

// now reads the database's clock.
func (q *query) now() (now models.Micros, err error) {
	err = q.scan(&now, "SELECT "+q.dialect.now)
	return now, err
}

// clocked reads rows, and the database's clock as it was then, in one statement: all nodes look all the time for what is due, nearly always
// in vain. Where there is no row, the clock is zero.
func clocked[T any](q *query, where *gorm.DB) (rows []T, now models.Micros, err error) {
	var read []struct {
		Row T             `gorm:"embedded"`
		Now models.Micros `gorm:"column:as_of"`
	}
	err = where.Model(new(T)).Select("*, " + q.dialect.now + " AS as_of").Scan(&read).Error
	for i := range read {
		rows, now = append(rows, read[i].Row), read[i].Now
	}
	return rows, now, err
}
