package node

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tranche/internal/store"
	"tranche/models"
)

// backup copies the embedded database of a node that doesn't run, and gives what puts the copy back.
func backup(t *testing.T, c Config) (restore func()) {
	t.Helper()
	files := map[string][]byte{}
	name := filepath.Join(c.DataDir, "tranche.db")
	for _, part := range []string{"", "-wal", "-shm"} {
		content, err := os.ReadFile(name + part)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		files[name+part] = content
	}
	return func() {
		t.Helper()
		for name, content := range files {
			if content == nil {
				if err := os.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
				continue
			}
			if err := os.WriteFile(name, content, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// end stops a node and waits until it has drained.
func (r *running) end() {
	r.t.Helper()
	r.stop()
	if err := r.wait(); err != nil {
		r.t.Fatal(err)
	}
}

// settled waits until nothing of the journal is owed.
func (r *running) settled() {
	r.t.Helper()
	r.until("the journal is settled", func() bool { records, _ := r.journal.Backlog(); return records == 0 })
}

// A node comes to a restored backup that does not have the lease of what its journal holds.
func TestA1ANodeServesWhenItsLedgerHasLostTheLease(t *testing.T) {
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.offer("w", `"mode":"fast"`)
	n.end()
	restore := backup(t, c)

	n = start(t, c)
	n.ready(200)
	n.redeem("w", "k", "journal")
	n.settled()
	n.end()
	restore()

	n = start(t, c)
	n.ready(200)
	b := balance(t, c, "w")
	if b.Redeemed != 1 || b.LateUnits != 1 || !b.AddsUp() || b.Outstanding != 0 || b.OverspendBound != 0 {
		t.Errorf("afterwards: %+v", b)
	}
	status, v := n.call("GET", "/v1/offers/w/overspend", "")
	items, _ := v["items"].([]any)
	if status != 200 || len(items) != 1 || items[0].(map[string]any)["reason"] != "late" {
		t.Errorf("listed: %d %v", status, v)
	}
	status, v = n.call("GET", "/v1/offers/w/leases", "")
	items, _ = v["items"].([]any)
	if status != 200 || len(items) != 1 {
		t.Fatalf("leases: %d %v", status, v)
	}
	l := items[0].(map[string]any)
	if l["epoch"] != 0.0 || l["granted"] != 1.0 || l["spent"] != 1.0 || l["state"] == "active" || l["node_id"] != n.dir.NodeID.String() {
		t.Errorf("the lease: %v", l)
	}
	n.redeem("w", "l", "journal") // and it serves
}

// The records of an offer that the ledger has lost stay; all others are settled, and the node serves.
func TestA1TheRecordsOfALostOfferStayInTheJournal(t *testing.T) {
	var log bytes.Buffer
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.offer("w", `"mode":"fast"`)
	n.end()
	restore := backup(t, c)

	n = start(t, c)
	n.ready(200)
	n.offer("gone", `"mode":"fast"`)
	n.redeem("gone", "k", "journal")
	n.redeem("w", "k", "journal")
	n.settled()
	n.end()
	whole := backup(t, c)
	restore()

	c.Logger = zerolog.New(&log)
	n = start(t, c)
	n.ready(200)
	n.redeem("w", "l", "journal")
	n.until("l is settled", func() bool { return balance(t, c, "w").Redeemed == 2 })
	if records, _ := n.journal.Backlog(); records != 1 {
		t.Errorf("%d records are kept, want that of the lost offer", records)
	}
	n.end()
	if text := log.String(); !strings.Contains(text, `"offer_id":"gone"`) {
		t.Errorf("the log does not name the offer: %s", text)
	}

	whole() // the offer is there again
	n = start(t, c)
	n.ready(200)
	n.settled()
	for _, id := range []string{"gone", "w"} {
		if b := balance(t, c, id); b.Redeemed != map[string]int64{"gone": 1, "w": 2}[id] || !b.AddsUp() {
			t.Errorf("%s in the end: %+v", id, b)
		}
	}
}

// A data directory belongs to one ledger. Another one gets nothing of its journal.
func TestA1AJournalOfAnotherLedgerIsRefused(t *testing.T) {
	c, other := config(t), config(t)
	var ids []string
	for _, c := range []Config{c, other} {
		n := start(t, c)
		n.ready(200)
		n.end()
		id := onStore(t, c, func(ctx context.Context, s *store.Store) (models.ID, error) { return s.LedgerID(ctx) })
		ids = append(ids, id.String())
	}
	if err := os.Rename(filepath.Join(other.DataDir, "tranche.db"), filepath.Join(c.DataDir, "tranche.db")); err != nil {
		t.Fatal(err)
	}
	n := start(t, c)
	err := n.wait()
	if err == nil {
		t.Fatal("it served")
	}
	for _, id := range ids {
		if !strings.Contains(err.Error(), id) {
			t.Errorf("ledgers %v, and the node says: %v", ids, err)
		}
	}
}
