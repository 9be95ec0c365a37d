package store_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

func TestADSNThatCannotWorkIsRefused(t *testing.T) {
	for dsn, want := range map[string]string{
		"root@tcp(127.0.0.1:3306)/":            "names no database",
		"root@tcp(127.0.0.1:3306)":             "names no database",
		"root@tcp(127.0.0.1:3306)/x?timeout=x": "timeout",
	} {
		s, err := store.Open(store.Config{DSN: dsn})
		if err == nil {
			_ = s.Close()
			t.Errorf("%q was taken", dsn)
		} else if !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q in it", dsn, err, want)
		}
	}
	if s, err := store.Open(store.Config{}); err == nil {
		_ = s.Close()
		t.Error("neither DSN nor path was taken")
	}
	if s, err := store.Open(store.Config{DSN: "root@/x", Isolation: sql.LevelReadUncommitted}); err == nil {
		_ = s.Close()
		t.Error("READ UNCOMMITTED was taken")
	}
}

func TestOpenDoesNotTouchTheDatabase(t *testing.T) {
	cfg := file(t)
	prepare(t, cfg)
	if _, err := os.Stat(cfg.Path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the file is there: %v", err)
	}
	open(t, cfg)
	if _, err := os.Stat(cfg.Path); err != nil {
		t.Fatal(err)
	}
}

func TestC10NobodyElseReadsTheFilesOfADatabase(t *testing.T) {
	readable := file(t)
	if err := os.WriteFile(readable.Path, nil, 0o644); err != nil { // as an earlier version left it
		t.Fatal(err)
	}
	for _, cfg := range []store.Config{file(t), readable} {
		s := open(t, cfg)
		if err := s.Ping(context.Background()); err != nil {
			t.Fatal(err)
		}
		files, err := filepath.Glob(filepath.Dir(cfg.Path) + "/*")
		if err != nil || len(files) < 3 {
			t.Fatalf("%v, %v", files, err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", filepath.Base(name), info.Mode(), err)
			}
		}
	}
}

// The server ends idle sessions; a pool that kept using them would lose a call now and then.
func TestCallsSurviveSessionsThatTheServerEnded(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn})
	ctx, server := context.Background(), storetest.Server(t)
	for range 5 {
		if err := s.Ping(ctx); err != nil {
			t.Fatal(err)
		}
		rows, err := server.QueryContext(ctx, "SELECT id FROM information_schema.processlist WHERE db = ?", database(t, dsn))
		if err != nil {
			t.Fatal(err)
		}
		var ids []int64
		for rows.Next() {
			var id int64
			if err := rows.Scan(&id); err != nil {
				t.Fatal(err)
			}
			ids = append(ids, id)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			t.Fatal(err)
		}
		if len(ids) == 0 {
			t.Fatal("the store has no session")
		}
		for _, id := range ids {
			_, _ = server.ExecContext(ctx, "KILL ?", id) // it may have gone by itself
		}
		if _, err := s.RegisterNode(ctx, models.NewID(), "n"); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSessionsAreSetUpAsTheStoreNeedsThem(t *testing.T) {
	for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelRepeatableRead} {
		// What a DSN says otherwise is overruled.
		dsn := storetest.MySQL(t) + "?clientFoundRows=true&loc=Local&charset=latin1"
		s := open(t, store.Config{DSN: dsn, Isolation: level})
		if err := store.CheckSession(s, level); err != nil {
			t.Errorf("%s: %v", level, err)
		}
		if swallowed, err := store.Swallowed(t.Context(), s); err != nil || len(swallowed) > 0 {
			t.Errorf("%s: %v, %v", level, swallowed, err)
		}
	}
}
