package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"time"

	glebarez "github.com/glebarez/sqlite"
	"github.com/go-sql-driver/mysql"
	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
)

// Time-outs that have to fit together. A statement that waits for a row lock must come back with the server's answer, so the
// socket waits longer than the lock; a pooled connection must be given up before the server ends it.
const (
	dialTimeout     = 2 * time.Second
	lockWait        = 2 * time.Second
	socketTimeout   = 5 * time.Second
	sessionSilence  = 5 * time.Second // a client that stops in mid-transaction loses its locks after this long
	maxIdleTime     = 3 * time.Second
	maxConnLifetime = 10 * time.Minute
)

// mysqlConfig reads a DSN and sets over it what the store depends on.
func mysqlConfig(dsn string) (*mysql.Config, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, fmt.Errorf("the DSN does not parse (want user:password@tcp(host:3306)/database): %w", err)
	}
	if cfg.DBName == "" {
		return nil, errors.New("the DSN names no database (want user:password@tcp(host:3306)/database)")
	}
	cfg.ParseTime = true
	cfg.Loc = time.UTC
	cfg.InterpolateParams = true
	cfg.ClientFoundRows = false
	cfg.RejectReadOnly = true
	cfg.CheckConnLiveness = true
	cfg.Timeout = dialTimeout
	cfg.ReadTimeout = socketTimeout
	cfg.WriteTimeout = socketTimeout
	cfg.Logger = &mysql.NopLogger{} // its errors come back to us as well
	if err := cfg.Apply(mysql.Charset("utf8mb4", "utf8mb4_bin")); err != nil {
		return nil, err
	}
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	cfg.Params["sql_mode"] = "'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	cfg.Params["time_zone"] = "'+00:00'"
	cfg.Params["wait_timeout"] = seconds(sessionSilence)
	cfg.Params["innodb_lock_wait_timeout"] = seconds(lockWait)
	return cfg, nil
}

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }

func openMySQL(cfg *mysql.Config, config *Config) (*sql.DB, gorm.Dialector, error) {
	connector, err := isolated(cfg, config.Isolation)
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(config.MaxConns)
	db.SetMaxIdleConns(config.MaxConns)
	db.SetConnMaxIdleTime(maxIdleTime)
	db.SetConnMaxLifetime(maxConnLifetime)
	// Without SkipInitializeWithVersion gorm would ask the server at once, and use RETURNING on MariaDB.
	return db, gormmysql.New(gormmysql.Config{Conn: db, SkipInitializeWithVersion: true}), nil
}

// An isolatedConnector sets each new session's isolation level, once. Doing it by sql.TxOptions would cost a round trip per
// transaction, and a session variable in the DSN has another name on each server.
type isolatedConnector struct {
	driver.Connector
	statement string
}

func isolated(cfg *mysql.Config, level sql.IsolationLevel) (driver.Connector, error) {
	names := map[sql.IsolationLevel]string{
		sql.LevelDefault:        "READ COMMITTED",
		sql.LevelReadCommitted:  "READ COMMITTED",
		sql.LevelRepeatableRead: "REPEATABLE READ",
		sql.LevelSerializable:   "SERIALIZABLE",
	}
	name, ok := names[level]
	if !ok {
		return nil, fmt.Errorf("isolation level %s: want READ COMMITTED or stronger", level)
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	return &isolatedConnector{connector, "SET SESSION TRANSACTION ISOLATION LEVEL " + name}, nil
}

// Connect implements driver.Connector.
func (c *isolatedConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.(driver.ExecerContext).ExecContext(ctx, c.statement, nil); err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// sqliteDriver is the name that glebarez/go-sqlite registers.
const sqliteDriver = "sqlite"

func openSQLite(path string, maxConns int) (*sql.DB, gorm.Dialector, error) {
	if path == "" {
		return nil, nil, errors.New("no DSN and no path of an SQLite file")
	}
	query := url.Values{"_txlock": {"immediate"}}
	query["_pragma"] = []string{
		fmt.Sprintf("busy_timeout(%d)", lockWait.Milliseconds()),
		"journal_mode(WAL)",
		"synchronous(FULL)", // of a ledger: a commit is on the disk
	}
	file := url.URL{Path: path}
	db, err := sql.Open(sqliteDriver, "file:"+file.EscapedPath()+"?"+query.Encode())
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	return db, sqliteDialector{glebarez.Dialector{Conn: db}}, nil
}

// sqliteDialector is glebarez's without its question for SQLite's version, which would open the file, and without RETURNING.
type sqliteDialector struct{ glebarez.Dialector }

// Initialize implements gorm.Dialector.
func (d sqliteDialector) Initialize(db *gorm.DB) error {
	db.ConnPool = d.Conn
	callbacks.RegisterDefaultCallbacks(db, &callbacks.Config{LastInsertIDReversed: true})
	for name, build := range d.ClauseBuilders() {
		db.ClauseBuilders[name] = build
	}
	return nil
}
