package store

import (
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"syscall"

	gosqlite "github.com/glebarez/go-sqlite"
	glebarez "github.com/glebarez/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"
)

// sqliteDriver is the name that glebarez/go-sqlite registers.
const sqliteDriver = "sqlite"

func openSQLite(path string, maxConns int) (*sql.DB, gorm.Dialector, error) {
	if path == "" {
		return nil, nil, errors.New("no DSN and no path of an SQLite file")
	}
	query := url.Values{"_txlock": {"immediate"}}
	query["_pragma"] = []string{
		fmt.Sprintf("busy_timeout(%d)", fileWait.Milliseconds()),
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

// FileError says that the file of an embedded database is of no use as it is: no later attempt can succeed.
type FileError struct {
	File   string
	Err    error
	remedy string
}

func (e *FileError) Error() string {
	return fmt.Sprintf("the database %s can't be used: %v: %s", e.File, e.Err, e.remedy)
}

func (e *FileError) Unwrap() error { return e.Err }

// nameFile says which file an error of SQLite is about, and whether it is one that passes.
func nameFile(path string, err error) error {
	answer, ok := errors.AsType[*gosqlite.Error](err)
	if !ok || classifySQLite(answer.Code()) != away {
		return err
	}
	switch answer.Code() & 0xff {
	case sqliteCorrupt, sqliteNotADatabase:
		return &FileError{path, err, "put a copy of it back, or move it away to begin with an empty one"}
	case sqliteCantOpen, sqliteReadOnly:
		if reason := whyNotOpened(path); reason != nil {
			return &FileError{path, reason, "let the user that Tranche runs as read and write it"}
		}
	}
	return fmt.Errorf("%s: %w", path, err)
}

// whyNotOpened gives the system's reason why nobody but an operator can change that a file is not opened for writing: nil, if there
// is none.
func whyNotOpened(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		_ = file.Close()
		return nil
	}
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EISDIR) {
		return err
	}
	return nil
}
