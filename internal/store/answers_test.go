package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	gormmysql "gorm.io/driver/mysql"
	"gorm.io/gorm"
)

// answers is a server that answers as a test says: a driver's connector, the driver and its connections in one.
type answers struct {
	exec func(statement string) error
	rows *table // of every query; nil: none
}

// answering gives a store of a server that executes statements as a test says.
func answering(t *testing.T, exec func(statement string) error) *Store {
	t.Helper()
	return storeOf(t, &answers{exec: exec})
}

func storeOf(t *testing.T, server *answers) *Store {
	t.Helper()
	var cfg Config
	d, err := chooseDialect(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	d.oneWriter, d.commitRunsToItsEnd = false, false
	d.open = func(int) (*sql.DB, gorm.Dialector, error) {
		db := sql.OpenDB(server)
		return db, gormmysql.New(gormmysql.Config{Conn: db, SkipInitializeWithVersion: true}), nil
	}
	d.openWriters = d.open
	s, err := openDialect(d, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func (a *answers) Connect(context.Context) (driver.Conn, error) { return a, nil }
func (a *answers) Driver() driver.Driver                        { return a }
func (a *answers) Open(string) (driver.Conn, error)             { return a, nil }
func (a *answers) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }

func (a *answers) Begin() (driver.Tx, error) { return nil, errors.ErrUnsupported }
func (a *answers) Close() error              { return nil }
func (a *answers) ExecContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(0), a.exec(statement)
}

func (a *answers) QueryContext(_ context.Context, statement string, _ []driver.NamedValue) (driver.Rows, error) {
	rows := &table{columns: []string{"value"}}
	if a.rows != nil {
		rows = &table{a.rows.columns, a.rows.rows}
	}
	return rows, a.exec(statement)
}

// A table is what a query gives.
type table struct {
	columns []string
	rows    [][]driver.Value
}

func (t *table) Columns() []string { return t.columns }
func (t *table) Close() error      { return nil }
func (t *table) Next(row []driver.Value) error {
	if len(t.rows) == 0 {
		return io.EOF
	}
	copy(row, t.rows[0])
	t.rows = t.rows[1:]
	return nil
}
