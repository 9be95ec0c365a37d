package store

import (
	"context"
	"database/sql"
	"io/fs"

	"gorm.io/gorm"

	"tranche/migrations"
)

// A dialect is all in which the databases differ.
type dialect struct {
	// now is the database's clock as a SQL expression: whole microseconds since 1970, in UTC, one value per statement.
	now string
	// incoming gives, in an upsert, the value that the row would have been inserted with.
	incoming func(column string) string
	// onDuplicate begins what an INSERT does to a row that has the same key.
	onDuplicate func(key string) string
	// datesEntries says that an entry inserted without a time of booking gets the statement's.
	datesEntries bool
	// upsertsTellNew says that a row that was there counts twice among those that an upsert has affected.
	upsertsTellNew bool
	// lower folds the case of a column's text for a search.
	lower func(column string) string
	// begin starts a transaction that may write; empty: a session of openWriters begins one with its first statement.
	begin string
	// snapshots says that a plain read in a transaction may miss what was committed since the transaction's first one.
	snapshots bool
	// oneWriter says that transactions run one after the other in this process, instead of polling the file for its lock.
	oneWriter bool
	// commitRunsToItsEnd says that COMMIT must not be interrupted: it is local, and being interrupted would leave its outcome open.
	commitRunsToItsEnd bool

	// open gives a pool of so many connections, and openWriters one for transactions.
	open, openWriters func(conns int) (*sql.DB, gorm.Dialector, error)

	denials   *denials
	connector *connector // nil: there are no sessions to set up

	// explain names the place of an error, where the error itself doesn't.
	explain func(error) error

	// migrations
	versions func() (*versionTable, error) // keeps which of the files were applied
	files    string
	migrate  func(ctx context.Context, run func(*sql.DB) error) error
}

func (d *dialect) migrations() (fs.FS, error) { return fs.Sub(migrations.Files, d.files) }

func mySQL(cfg *Config) (*dialect, error) {
	denials := &denials{log: cfg.Logger}
	connector, err := newConnector(cfg, denials)
	if err != nil {
		return nil, err
	}
	return &dialect{
		denials:        denials,
		connector:      connector,
		now:            "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
		incoming:       func(column string) string { return "VALUES(" + column + ")" },
		onDuplicate:    func(string) string { return " ON DUPLICATE KEY UPDATE " },
		datesEntries:   true,
		upsertsTellNew: true,
		lower:          func(column string) string { return "LOWER(CONVERT(" + column + " USING utf8mb4)) COLLATE utf8mb4_bin" },
		snapshots:      cfg.Isolation > sql.LevelReadCommitted,
		open:           func(conns int) (*sql.DB, gorm.Dialector, error) { return openMySQL(connector, conns) },
		openWriters:    func(conns int) (*sql.DB, gorm.Dialector, error) { return openMySQL(connector.writing(), conns) },
		explain:        func(err error) error { return err },
		versions:       func() (*versionTable, error) { return mySQLVersions(connector.base.DBName) },
		files:          "mysql",
		migrate: func(ctx context.Context, run func(*sql.DB) error) error {
			return migrateMySQL(ctx, connector, run)
		},
	}, nil
}

func sqLite(path string, cfg *Config) *dialect {
	return &dialect{
		denials:            &denials{log: cfg.Logger},
		now:                "(CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000)",
		incoming:           func(column string) string { return "excluded." + column },
		onDuplicate:        func(key string) string { return " ON CONFLICT (" + key + ") DO UPDATE SET " },
		lower:              func(column string) string { return "LOWER(" + column + ")" },
		begin:              "BEGIN IMMEDIATE",
		oneWriter:          true,
		commitRunsToItsEnd: true,
		open:               func(conns int) (*sql.DB, gorm.Dialector, error) { return openSQLite(path, conns) },
		openWriters:        func(conns int) (*sql.DB, gorm.Dialector, error) { return openSQLite(path, conns) },
		explain:            func(err error) error { return nameFile(path, err) },
		versions:           sqLiteVersions,
		files:              "sqlite",
		migrate: func(ctx context.Context, run func(*sql.DB) error) error {
			return migrateSQLite(ctx, path, run)
		},
	}
}
