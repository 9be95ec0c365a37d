package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"io/fs"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/database"
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
	// upsertsTellNew says that a row that was there counts twice among those that an upsert has affected.
	upsertsTellNew bool
	// lower folds the case of a column's text for a search.
	lower func(column string) string
	// begin starts a transaction that may write.
	begin string
	// oneWriter says that transactions run one after the other in this process, instead of polling the file for its lock.
	oneWriter bool
	// commitRunsToItsEnd says that COMMIT must not be interrupted: it is local, and being interrupted would leave its outcome open.
	commitRunsToItsEnd bool

	open func() (*sql.DB, gorm.Dialector, error)

	// migrations
	versions func() (database.Store, error) // keeps which of the files were applied
	files    string
	migrate  func(ctx context.Context, run func(*sql.DB) error) error
}

func (d *dialect) migrations() (fs.FS, error) { return fs.Sub(migrations.Files, d.files) }

func mySQL(dsn string, cfg *Config) (*dialect, error) {
	parsed, err := mysqlConfig(dsn)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(parsed.DBName)) // a lock's name holds for the whole server and has at most 64 characters
	lock := "tranche-migrate-" + hex.EncodeToString(sum[:16])
	return &dialect{
		now:            "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
		incoming:       func(column string) string { return "VALUES(" + column + ")" },
		onDuplicate:    func(string) string { return " ON DUPLICATE KEY UPDATE " },
		upsertsTellNew: true,
		lower:          func(column string) string { return "LOWER(CONVERT(" + column + " USING utf8mb4)) COLLATE utf8mb4_bin" },
		begin:          "START TRANSACTION",
		open:           func() (*sql.DB, gorm.Dialector, error) { return openMySQL(parsed, cfg) },
		versions:       func() (database.Store, error) { return newVersionTable(parsed.DBName) },
		files:          "mysql",
		migrate: func(ctx context.Context, run func(*sql.DB) error) error {
			return migrateMySQL(ctx, parsed, cfg.Isolation, lock, run)
		},
	}, nil
}

func sqLite(path string, cfg *Config) *dialect {
	return &dialect{
		now:                "(CAST(ROUND(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000)",
		incoming:           func(column string) string { return "excluded." + column },
		onDuplicate:        func(key string) string { return " ON CONFLICT (" + key + ") DO UPDATE SET " },
		lower:              func(column string) string { return "LOWER(" + column + ")" },
		begin:              "BEGIN IMMEDIATE",
		oneWriter:          true,
		commitRunsToItsEnd: true,
		open:               func() (*sql.DB, gorm.Dialector, error) { return openSQLite(path, cfg.MaxConns) },
		versions: func() (database.Store, error) {
			return database.NewStore(database.DialectSQLite3, goose.DefaultTablename)
		},
		files: "sqlite",
		migrate: func(ctx context.Context, run func(*sql.DB) error) error {
			return migrateSQLite(ctx, path, run)
		},
	}
}
