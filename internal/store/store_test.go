package store_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tranche/internal/store"
	"tranche/internal/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open gives a migrated store, closed when the test ends.
func open(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s := prepare(t, cfg)
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

// prepare opens a store without touching its database.
func prepare(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	cfg.Logger = zerolog.New(zerolog.NewTestWriter(t))
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func file(t *testing.T) store.Config {
	return store.Config{Path: filepath.Join(t.TempDir(), "a folder?with #odd% characters.db")}
}

func TestConformanceOnSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return open(t, file(t)) })
}

func TestConformanceOnMySQL(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead} {
		t.Run(level.String(), func(t *testing.T) {
			storetest.Run(t, func(t *testing.T) storetest.Store {
				return open(t, store.Config{DSN: storetest.MySQL(t), Isolation: level})
			})
		})
	}
}

// database gives the name of the database in a DSN.
func database(t *testing.T, dsn string) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return cfg.DBName
}
