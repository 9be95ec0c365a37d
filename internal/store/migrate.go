package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
)

const (
	migrateWait    = 60 * time.Second // for other processes that migrate
	migrateTimeout = 10 * time.Minute // for a migration itself
	tableWait      = time.Second      // for those who read a table, a backup perhaps: everybody else waits behind who waits for them
	lockPoll       = 20 * time.Millisecond
)

// Migrate brings the tables up to date, whoever else is doing the same: one process at a time, the others wait up to a minute
// and find nothing left to do. It runs past the breaker, on connections of its own. The error is ErrLedgerUnavailable or
// ErrBusy where trying again later may help.
func (s *Store) Migrate(ctx context.Context) error {
	files, err := s.dialect.migrations()
	if err != nil {
		return err
	}
	err = s.dialect.migrate(ctx, func(db *sql.DB) error {
		versions, err := s.dialect.versions()
		if err != nil {
			return err
		}
		provider, err := goose.NewProvider(goose.DialectCustom, db, files, goose.WithStore(versions), goose.WithLogger(goose.NopLogger()))
		if err != nil {
			return err
		}
		results, err := provider.Up(ctx)
		for _, r := range results {
			s.log.Info().Str("migration", r.Source.Path).Dur("took", r.Duration).Msg("tables changed")
		}
		return err
	})
	if err != nil {
		return outcome(fmt.Errorf("migrate: %w", err))
	}
	return nil
}

// versionTable is goose's table, in a schema that is named: Vitess does not understand how goose asks for a table without one.
type versionTable struct {
	database.Store
	schema string
}

func newVersionTable(schema string) (database.Store, error) {
	table, err := database.NewStore(database.DialectMySQL, goose.DefaultTablename)
	return &versionTable{table, schema}, err
}

// TableExists implements an optional method of goose's stores.
func (v *versionTable) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, "SELECT COUNT(*) > 0 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?",
		v.schema, v.Tablename()).Scan(&exists)
	return exists, err
}

// migrateMySQL runs a migration while it holds a lock of the server's. The lock belongs to one session, so that session is
// pinned, and it must not be ended for being idle while the other one works.
func migrateMySQL(ctx context.Context, base *mysql.Config, level sql.IsolationLevel, lock string, run func(*sql.DB) error) (err error) {
	cfg := base.Clone()
	cfg.ReadTimeout, cfg.WriteTimeout = migrateTimeout, migrateTimeout
	cfg.Params["wait_timeout"] = seconds(migrateTimeout)
	cfg.Params["lock_wait_timeout"] = seconds(tableWait)
	connector, err := isolated(cfg, level)
	if err != nil {
		return err
	}
	db := sql.OpenDB(connector)
	defer func() { err = errors.Join(err, db.Close()) }()

	holder, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = holder.Close() }() // the lock goes with the session, when the pool is closed
	var got sql.NullInt64
	if err := holder.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", lock, int(migrateWait/time.Second)).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return fmt.Errorf("another process has been migrating for %s: %w", migrateWait, errLocked)
	}
	return run(db)
}

// migrateSQLite runs a migration while it holds a lock on a file beside the database.
func migrateSQLite(ctx context.Context, path string, run func(*sql.DB) error) (err error) {
	ctx, cancel := context.WithTimeout(ctx, migrateWait)
	defer cancel()
	file, err := os.OpenFile(path+".migrate", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }() // which gives the lock up
	if err := flock(ctx, file); err != nil {
		return err
	}
	db, _, err := openSQLite(path, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return run(db)
}

func flock(ctx context.Context, file *os.File) error {
	poll := time.NewTicker(lockPoll)
	defer poll.Stop()
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("another process is migrating: %w", errLocked)
		case <-poll.C:
		}
	}
}
