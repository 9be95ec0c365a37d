package store_test

import (
	"database/sql"
	"path/filepath"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// Nodes of older versions put no entries into the feed. While one of them may run, theirs have to wait.
func TestTheFeedTakesUpWhatOlderVersionsHaveInserted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tranche.db")
	t.Run("SQLite", func(t *testing.T) { fillsFeed(t, store.Config{Path: path}, "sqlite", path) })
	t.Run("MySQL", func(t *testing.T) {
		dsn := storetest.MySQL(t)
		fillsFeed(t, store.Config{DSN: dsn}, "mysql", dsn)
	})
}

func TestAClockThatWasSetBackHoldsUpNoPositions(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tranche.db")
	s := open(t, store.Config{Path: path})
	batch := settleOn(t, s, nil)
	fillNext(&batch, 1)
	if _, err := s.Settle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	inFile(t, path, "UPDATE feed_end SET placed_at = 1000000 * (unixepoch('now') + 3600)")
	if n, err := s.PlaceEntries(t.Context(), time.Second); err != nil || n != 1 {
		t.Errorf("%d placed, %v", n, err)
	}
}

// To take up a long ledger may take an hour, in which entries get their positions as ever.
func TestTakingUpOldEntriesHoldsUpNoPositions(t *testing.T) {
	s := open(t, store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")})
	batch := settleOn(t, s, nil)
	fillNext(&batch, 1)
	if _, err := s.Settle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.FillFeed(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, err := s.PlaceEntries(t.Context(), time.Hour); err != nil || n != 1 {
		t.Errorf("%d placed, %v", n, err)
	}
}

// A transaction that has listed entries and stands still holds up the positions of no others.
func TestPlacingWaitsForNoTransactionInFlight(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn, Isolation: sql.LevelRepeatableRead})
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	batch := settleOn(t, s, nil)
	for range 20 {
		fillNext(&batch, 1)
		if _, err := s.Settle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = tx.Rollback() }()
	id := models.NewID()
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO feed_unplaced VALUES ('o', ?, ?)", id[:], make([]byte, 18)); err != nil {
		t.Fatal(err)
	}
	if n, err := s.PlaceEntries(t.Context(), 0); err != nil || n != 20 {
		t.Errorf("%d placed, %v", n, err)
	}
}

func fillsFeed(t *testing.T, cfg store.Config, driver, source string) {
	s := open(t, cfg)
	db, err := sql.Open(driver, source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	exec := func(statement string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	batch := settleOn(t, s, nil)
	settleNext := func(size int) {
		t.Helper()
		fillNext(&batch, size)
		if _, err := s.Settle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	settleNext(500)
	settleNext(200)
	exec("UPDATE entries SET fed = FALSE")
	exec("DELETE FROM feed_unplaced")
	exec("UPDATE nodes SET feeds = FALSE")
	settleNext(100)

	placed := func() (entries []models.Fed) {
		t.Helper()
		if _, err := s.PlaceEntries(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		for after := int64(0); ; {
			page, err := s.Feed(t.Context(), "", after, 300)
			if err != nil {
				t.Fatal(err)
			}
			if entries = append(entries, page...); len(page) == 0 {
				return entries
			}
			after = page[len(page)-1].Position
		}
	}
	if done, err := s.FillFeed(t.Context()); err != nil || done || len(placed()) != 100 {
		t.Fatalf("with a node of an older version: done %t, %v, %d entries in the feed", done, err, len(placed()))
	}
	exec("UPDATE nodes SET seen_at = seen_at - 601000000")
	for range 10 {
		if done, err := s.FillFeed(t.Context()); err != nil || done {
			if err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	seen := map[models.ID]int64{}
	for _, e := range placed() {
		if seen[e.ID] != 0 {
			t.Errorf("entry %s is at %d and at %d", e.ID, seen[e.ID], e.Position)
		}
		seen[e.ID] = e.Position
	}
	if len(seen) != 800 {
		t.Errorf("%d entries in the feed, want 800", len(seen))
	}
	if done, err := s.FillFeed(t.Context()); err != nil || !done {
		t.Errorf("done %t, %v", done, err)
	}
}
