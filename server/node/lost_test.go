package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tranche/internal/store"
	"tranche/internal/storetest"
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
	var log lines
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

// A node that was killed serves soon after its next start. The bound has what a copy of its folder could spend, until that has ended.
func TestC12TheBoundAfterARestartFallsByItself(t *testing.T) {
	t.Parallel()
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"fast","lease_ttl_seconds":5`)
	n.end()
	forgotten(t, c, "o", 50) // all of the budget
	n = start(t, c)
	n.ready(200)
	if b := balance(t, c, "o"); b.OverspendBound != 50 || b.Allocated != 0 {
		t.Errorf("after the start: %+v", b)
	}
	n.redeem("o", "k", "journal")
	n.until("nothing of the earlier run is in the bound", func() bool {
		b := balance(t, c, "o")
		return b.OverspendBound <= b.Outstanding
	})
}

// restorable is a node on a server, which can be given a dump under it.
func restorable(t *testing.T) (*running, Config) {
	t.Helper()
	c := config(t)
	c.DSN = storetest.MySQL(t)
	n := start(t, c)
	n.ready(200)
	return n, c
}

// tried redeems, and repeats the request while it is refused for now.
func (r *running) tried(offer, key string) {
	r.t.Helper()
	r.until("redemption "+key, func() bool {
		status, _ := r.call("POST", "/v1/offers/"+offer+"/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", key)
		return status == 201
	})
}

// A dump is put back under a node that has changed offers, leased, redeemed and taken another epoch since.
func TestA2ARunningNodeGoesOnWithARestoredDump(t *testing.T) {
	t.Parallel()
	n, c := restorable(t)
	for _, id := range []string{"a", "b"} {
		n.offer(id, `"mode":"strict"`)
		n.tried(id, "before")
	}
	restore := dumped(t, c)
	n.end()
	n = start(t, c)
	n.ready(200)
	for _, id := range []string{"a", "b"} {
		n.tried(id, "lost")
		if status, v := n.call("PATCH", "/v1/offers/"+id, `{"lease_size":5}`); status != 200 {
			t.Fatal(status, v)
		}
	}
	n.tried("b", "lost-too")
	restore()
	for _, id := range []string{"a", "b"} {
		for i := range 10 {
			n.tried(id, fmt.Sprint("after-", i))
		}
		b := balance(t, c, id)
		leases := onStore(t, c, func(ctx context.Context, s *store.Store) ([]models.ListedLease, error) {
			return s.Leases(ctx, id, 100, models.ID{})
		})
		if b.Redeemed != 11 || !b.AddsUp() || b.LateUnits != 0 || len(leases) > 6 {
			t.Errorf("%s: %d leases, %+v", id, len(leases), b)
		}
	}
	n.until("the node's epoch is there again", func() bool { return node(t, c).Epoch == n.keeper.Epoch() })
	n.end() // by itself it has not stopped
}

// The journal's records of lost commits are booked again, and the node goes on.
func TestA3ARunningNodeGivesBackWhatItsJournalHas(t *testing.T) {
	t.Parallel()
	n, c := restorable(t)
	n.offer("f", `"mode":"fast"`)
	n.redeem("f", "before", "journal")
	n.settled()
	restore := dumped(t, c)
	for i := range 4 {
		n.redeem("f", fmt.Sprint("lost-", i), "journal")
		n.settled() // each in a batch of its own
	}
	restore()
	n.tried("f", "after")
	n.until("all is in the ledger", func() bool { return balance(t, c, "f").Redeemed == 6 })
	n.settled()
	b := balance(t, c, "f")
	if !b.AddsUp() || b.LateUnits < 5 {
		t.Errorf("%+v", b)
	}
	n.tried("f", "last")
	n.settled()
	if b := balance(t, c, "f"); b.Redeemed != 7 || !b.AddsUp() {
		t.Errorf("%+v", b)
	}
}

// The node has returned a lease, and the ledger has lost that. It is closed, and in the end nothing of it is in the bound.
func TestA3ALeaseThatTheNodeHadReturnedIsClosed(t *testing.T) {
	t.Parallel()
	n, c := restorable(t)
	n.offer("f", `"mode":"fast","lease_ttl_seconds":10`)
	n.redeem("f", "before", "journal")
	n.settled()
	restore := dumped(t, c)
	if status, v := n.call("POST", "/v1/offers/f/recall", ""); status != 200 {
		t.Fatal(status, v)
	}
	n.until("the lease is returned", func() bool { return balance(t, c, "f").LeasesActive == 0 })
	restore()
	n.tried("f", "after")
	n.until("nothing is out, when all leases have ended", func() bool {
		b := balance(t, c, "f")
		return b.Redeemed == 2 && b.LeasesActive == 0 && b.OverspendBound == 0
	})
}
