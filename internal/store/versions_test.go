package store_test

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"tranche/internal/store"
	"tranche/internal/version"
	"tranche/models"
)

// inFile runs a statement on the file of an embedded database.
func inFile(t *testing.T, path, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

func TestD2AnUpgradedNodeSaysItsNewVersion(t *testing.T) {
	cfg, node := store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")}, models.NewID()
	s := open(t, cfg)
	for range 2 {
		if _, err := s.RegisterNode(t.Context(), node, "n"); err != nil {
			t.Fatal(err)
		}
		nodes, err := s.Nodes(t.Context(), 1, models.ID{})
		if err != nil || nodes[0].Version != version.Version {
			t.Fatalf("%+v, %v", nodes, err)
		}
		inFile(t, cfg.Path, "UPDATE nodes SET version = ''") // as one of before has it
	}
}

// The columns that it would read and write may mean something else by now.
func TestD2AProgramOlderThanTheTablesIsTurnedAway(t *testing.T) {
	cfg := store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")}
	open(t, cfg)
	inFile(t, cfg.Path, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)")
	old := prepare(t, cfg)
	err := old.Migrate(t.Context())
	tables, ok := errors.AsType[*store.TablesError](err)
	if !ok || !tables.Newer() || tables.Has != 9999 || errors.Is(err, models.ErrLedgerUnavailable) || !strings.Contains(err.Error(), "start that one") {
		t.Errorf("%v", err)
	}
}
