package store_test

import (
	"context"
	"sync"
	"testing"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// dozen lets twelve stores migrate one empty database at once, and then each once more.
func dozen(t *testing.T, cfg store.Config) {
	t.Helper()
	var wait sync.WaitGroup
	for range 12 {
		s := prepare(t, cfg)
		wait.Go(func() {
			for range 2 {
				if err := s.Migrate(context.Background()); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.SyncOffers(context.Background(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestADozenMigrateAtOnceOnSQLite(t *testing.T) { dozen(t, file(t)) }

func TestADozenMigrateAtOnceOnMySQL(t *testing.T) { dozen(t, store.Config{DSN: storetest.MySQL(t)}) }

// MySQL commits each CREATE by itself, so a process that dies in the middle leaves some tables and no record of them.
func TestAMigrationThatDiedHalfWayIsContinued(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn})
	server, name := storetest.Server(t), database(t, dsn)
	for _, statement := range []string{
		"DELETE FROM " + name + ".goose_db_version WHERE version_id > 0",
		"DROP TABLE " + name + ".nodes",
	} {
		if _, err := server.ExecContext(context.Background(), statement); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.RegisterNode(context.Background(), models.NewID(), "n"); err != nil {
		t.Fatal(err)
	}
}
