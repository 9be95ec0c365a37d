package store

import (
	"database/sql"
	"time"

	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// Time-outs that have to fit together. A statement that waits for a row lock must come back with the server's answer, so the
// socket waits longer than the lock; a pooled connection must be given up before the server ends it.
const (
	dialTimeout     = 2 * time.Second
	lockWait        = time.Second     // a batch that meets a lock makes all its requests wait for so long, once
	fileWait        = 2 * time.Second // for another process that writes the SQLite file
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
