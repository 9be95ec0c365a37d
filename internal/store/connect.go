package store

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	glebarez "github.com/glebarez/sqlite"
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

func openMySQL(c *connector, maxConns int) (*sql.DB, gorm.Dialector, error) {
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(maxConns)
	db.SetMaxIdleConns(maxConns)
	db.SetConnMaxIdleTime(maxIdleTime)
	db.SetConnMaxLifetime(maxConnLifetime)
	// Without SkipInitializeWithVersion gorm would ask the server at once, and use RETURNING on MariaDB.
	return db, gormmysql.New(gormmysql.Config{Conn: db, SkipInitializeWithVersion: true}), nil
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
