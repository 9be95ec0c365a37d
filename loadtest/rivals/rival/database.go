package rival

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-sql-driver/mysql"

	"tranche/loadtest/rivals/contract"
)

// attempts is how often a transaction is run that other transactions got in the way of.
const attempts = 8

// OpenDatabase opens a pool of so many connections to MySQL or MariaDB, with the settings that Tranche's own has: READ COMMITTED,
// statements with their arguments filled in by the client so that each is one round trip, and time-outs on everything.
func OpenDatabase(dsn string, conns int) (*sql.DB, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	cfg.InterpolateParams = true
	cfg.RejectReadOnly = true
	cfg.Timeout, cfg.ReadTimeout, cfg.WriteTimeout = 2*time.Second, 5*time.Second, 5*time.Second
	cfg.Logger = &mysql.NopLogger{} // its errors come back to us as well
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["innodb_lock_wait_timeout"] = "2"
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(readCommitted{connector})
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	db.SetConnMaxLifetime(10 * time.Minute)
	return db, nil
}

// readCommitted sets each new session's isolation level, once: by sql.TxOptions it would cost a round trip per transaction.
type readCommitted struct{ driver.Connector }

// Connect implements driver.Connector.
func (c readCommitted) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED", nil); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

// queryer is what a pool and a transaction have in common.
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// transact runs a transaction, again when it lost against others. Nothing was changed when it fails with ErrNotDone or with what do
// refused with; after any other error the outcome is unknown.
func transact(ctx context.Context, db *sql.DB, do func(tx *sql.Tx) error) error {
	var err error
	for attempt := range attempts {
		if err = once(ctx, db, do); !isConflict(err) || !pause(ctx, rand.N(conflictPause<<attempt)) {
			break
		}
	}
	if isConflict(err) {
		return fmt.Errorf("%w: %w", contract.ErrNotDone, err)
	}
	return err
}

// conflictPause doubles with each attempt, and is taken at random: those who collided at once would collide again.
const conflictPause = 2 * time.Millisecond

// pause reports whether ctx has not ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func once(ctx context.Context, db *sql.DB, do func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", contract.ErrNotDone, err)
	}
	if err := do(tx); err != nil {
		// MySQL leaves a transaction open after a lock wait. If this fails, too, the connection is gone and the server rolls back.
		_ = tx.Rollback()
		if isConflict(err) || isRefusal(err) {
			return err
		}
		return fmt.Errorf("%w: %w", contract.ErrNotDone, err)
	}
	return tx.Commit()
}

// change runs a statement that has to change exactly one row, or gives none.
func change(ctx context.Context, q queryer, none error, statement string, args ...any) error {
	result, err := q.ExecContext(ctx, statement, args...)
	if err != nil {
		return err
	}
	changed, err := result.RowsAffected()
	if err != nil {
		return err
	}
	if changed == 0 {
		return none
	}
	return nil
}

// The server's error numbers that are told apart.
const (
	numberDuplicate = 1062
	numberLockWait  = 1205
	numberDeadlock  = 1213
)

func hasNumber(err error, numbers ...uint16) bool {
	e, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return false
	}
	for _, n := range numbers {
		if e.Number == n {
			return true
		}
	}
	return false
}

func isConflict(err error) bool { return hasNumber(err, numberDeadlock, numberLockWait) }

// isDefinite reports whether the server itself said no to a single statement: then it changed nothing.
func isDefinite(err error) bool {
	_, ok := errors.AsType[*mysql.MySQLError](err)
	return ok
}

func isRefusal(err error) bool {
	for _, r := range []error{
		errDuplicate, contract.ErrOfferNotFound, contract.ErrRedemptionNotFound, contract.ErrSoldOut, contract.ErrUserLimit, contract.ErrRefundExceeds,
		contract.ErrKeyReused,
	} {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}
