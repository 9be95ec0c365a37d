package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
	"github.com/pressly/goose/v3/lock"

	"tranche/models"
)

const (
	migrateWait    = 60 * time.Second // for other processes that migrate
	migrateTimeout = 10 * time.Minute // for a migration itself
	tableWait      = time.Second      // for those who read a table, a backup perhaps: everybody else waits behind who waits for them
	lockPoll       = 20 * time.Millisecond
	rowLease       = 30 * time.Second // of the lock in a row, unless its holder renews it
	rowPoll        = 250 * time.Millisecond
	migratingConns = 2 // one renews the lock while the other is in use
)

// Migrate brings the tables up to date, whoever else is doing the same: one process at a time, the others wait up to a minute
// and find nothing left to do. It runs past the breaker, on connections of its own. The error is ErrLedgerUnavailable or
// ErrBusy where trying again later may help. A *TablesError is the first of them, unless the tables are newer than the program.
func (s *Store) Migrate(ctx context.Context) error {
	err := s.dialect.explain(s.migrate(ctx))
	s.denials.note("Migrate", err)
	if err != nil {
		return outcome(fmt.Errorf("migrate: %w", err))
	}
	return nil
}

func (s *Store) migrate(ctx context.Context) error {
	has, needs, err := s.tables(ctx)
	switch {
	case err != nil:
		return err
	case has == needs:
	case has > needs, s.keepTables:
		return &TablesError{Has: has, Needs: needs}
	default:
		if err := s.change(ctx); err != nil {
			return err
		}
	}
	return s.readBack(ctx)
}

// TablesError says that the tables are not those that the program needs. Where somebody has to migrate them first, it is an
// ErrLedgerUnavailable. Where they are newer, only another program will do.
type TablesError struct{ Has, Needs int64 } // the number of a migration, 0: there are no tables

func (e *TablesError) Error() string {
	const remedy = "run `tranche migrate` with a database user that may change tables"
	switch {
	case e.Newer():
		return fmt.Sprintf("the tables are at version %d, and this program knows them up to version %d: a newer version of Tranche has changed them, so start that one",
			e.Has, e.Needs)
	case e.Has == 0:
		return "the database has no tables yet: " + remedy
	default:
		return fmt.Sprintf("the tables are at version %d, and this program needs version %d: %s", e.Has, e.Needs, remedy)
	}
}

// Newer reports whether a newer program has changed the tables.
func (e *TablesError) Newer() bool { return e.Has > e.Needs }

func (e *TablesError) Unwrap() error {
	if e.Newer() {
		return nil
	}
	return models.ErrLedgerUnavailable
}

// tables says which migration the tables are at, and which one this program needs. It locks nothing and changes nothing.
func (s *Store) tables(ctx context.Context) (has, needs int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	files, err := s.dialect.migrations()
	if err != nil {
		return 0, 0, err
	}
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return 0, 0, err
	}
	if needs, err = goose.NumericComponent(slices.Max(names)); err != nil {
		return 0, 0, err
	}
	versions, err := s.dialect.versions()
	if err != nil {
		return 0, 0, err
	}
	if there, err := versions.TableExists(ctx, s.reads); err != nil || !there {
		return 0, needs, err
	}
	has, err = versions.GetLatestVersion(ctx, s.reads)
	if errors.Is(err, database.ErrVersionNotFound) {
		return 0, needs, nil
	}
	return has, needs, err
}

// change runs the migrations that are missing.
func (s *Store) change(ctx context.Context) error {
	files, err := s.dialect.migrations()
	if err != nil {
		return err
	}
	versions, err := s.dialect.versions()
	if err != nil {
		return err
	}
	return s.dialect.migrate(ctx, func(db *sql.DB) error {
		if err := versions.begin(ctx, db); err != nil {
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
}

// versionTable is goose's table of the migrations that were applied. goose itself asks for it in a way that Vitess does not understand.
type versionTable struct {
	database.Store
	exists string // a query with the table's name as its last argument
	schema []any  // its other arguments
}

// TableExists implements an optional method of goose's stores.
func (v *versionTable) TableExists(ctx context.Context, db database.DBTxConn) (exists bool, err error) {
	err = db.QueryRowContext(ctx, v.exists, append(v.schema[:len(v.schema):len(v.schema)], v.Tablename())...).Scan(&exists)
	return exists, err
}

// begin gives a table that is empty the row that goose begins with. MySQL commits the table before the row, so a process may die between.
func (v *versionTable) begin(ctx context.Context, db *sql.DB) error {
	if there, err := v.TableExists(ctx, db); err != nil || !there {
		return err
	}
	_, err := v.GetLatestVersion(ctx, db)
	if errors.Is(err, database.ErrVersionNotFound) {
		return v.Insert(ctx, db, database.InsertRequest{})
	}
	return err
}

func mySQLVersions(schema string) (*versionTable, error) {
	table, err := database.NewStore(database.DialectMySQL, goose.DefaultTablename)
	return &versionTable{table, "SELECT COUNT(*) > 0 FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", []any{schema}}, err
}

func sqLiteVersions() (*versionTable, error) {
	table, err := database.NewStore(database.DialectSQLite3, goose.DefaultTablename)
	return &versionTable{table, "SELECT COUNT(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = ?", nil}, err
}

// migrateMySQL runs a migration while it holds a lock that is a row. The row holds on all members of a cluster, and for half a minute
// after a process that was killed.
//
// Nodes of earlier versions take only the server's named lock, which is held as well. It belongs to one session, so that
// session is pinned, and must not be ended for being idle while others work.
func migrateMySQL(ctx context.Context, c *connector, run func(*sql.DB) error) (err error) {
	db := sql.OpenDB(c.migrating())
	defer func() { err = errors.Join(err, db.Close()) }()
	holder, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = holder.Close() }() // the named lock goes with the session, when the pool is closed
	if err := lockByName(ctx, holder, c.base.DBName); err != nil {
		return err
	}
	locks, _, err := openMySQL(c, migratingConns) // with time-outs that a lock needs
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, locks.Close()) }()
	if _, err := locks.ExecContext(ctx, createLock); err != nil {
		return err
	}
	row, err := lock.NewMySQLTableLocker(
		lock.WithTableLeaseDuration(rowLease), lock.WithTableHeartbeatInterval(rowLease/6),
		lock.WithTableLockTimeout(rowPoll, uint64(migrateWait/rowPoll)), lock.WithTableUnlockTimeout(rowPoll, 1),
		lock.WithTableRetryPolicy(func(err error) bool { return classify(err) != away }),
		lock.WithTableLogger(slog.New(slog.DiscardHandler)),
	)
	if err != nil {
		return err
	}
	if err := row.Lock(ctx, locks); err != nil {
		if classify(err) == away {
			return err
		}
		return fmt.Errorf("%w: another process is migrating: %w", errLocked, err)
	}
	return errors.Join(run(db), row.Unlock(ctx, locks))
}

// createLock makes the table that goose would make otherwise, without IF NOT EXISTS. Two members of Group Replication that do so at once
// stop each other: each fails to apply what the other has done.
const createLock = `CREATE TABLE IF NOT EXISTS ` + lock.DefaultLockTableName + ` (
	lock_id          BIGINT      NOT NULL PRIMARY KEY,
	locked           BOOLEAN     NOT NULL DEFAULT FALSE,
	locked_at        DATETIME(6) NULL,
	locked_by        TEXT        NULL,
	lease_expires_at DATETIME(6) NULL,
	updated_at       DATETIME(6) NULL
)`

// lockByName takes the server's lock. It is local to a member of a cluster.
func lockByName(ctx context.Context, holder *sql.Conn, database string) error {
	sum := sha256.Sum256([]byte(database)) // the name holds for the whole server and has at most 64 characters
	name := "tranche-migrate-" + hex.EncodeToString(sum[:16])
	var got sql.NullInt64
	if err := holder.QueryRowContext(ctx, "SELECT GET_LOCK(?, ?)", name, int(migrateWait/time.Second)).Scan(&got); err != nil {
		return err
	}
	if got.Int64 != 1 {
		return fmt.Errorf("another process has been migrating for %s: %w", migrateWait, errLocked)
	}
	return nil
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
	if err := keepPrivate(path); err != nil {
		return err
	}
	db, _, err := openSQLite(path, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return run(db)
}

// keepPrivate makes the file of a database, if there is none, and lets nobody but this user read it: it has all orders. SQLite gives the files
// that it makes beside it the same rights.
func keepPrivate(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	for _, name := range []string{path, path + "-wal", path + "-shm"} { // of earlier versions, others may be able to read these
		if err := os.Chmod(name, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
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
