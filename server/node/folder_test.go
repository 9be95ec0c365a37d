package node

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tranche/internal/datadir"
)

// Files in a deleted folder end with the process. So a node whose folder was deleted stops, and says why.
func TestC11ANodeStopsWhenItsDataDirectoryIsDeleted(t *testing.T) {
	for name, lose := range map[string]func(dir string) error{
		"deleted":              os.RemoveAll,
		"replaced":             func(dir string) error { return errors.Join(os.Rename(dir, dir+".old"), os.MkdirAll(dir, 0o700)) },
		"without its database": func(dir string) error { return os.Remove(filepath.Join(dir, "tranche.db")) },
	} {
		t.Run(name, func(t *testing.T) {
			n := start(t, config(t))
			n.ready(200)
			if err := lose(n.config.DataDir); err != nil {
				t.Fatal(err)
			}
			if err := n.wait(); !errors.Is(err, datadir.ErrDeleted) {
				t.Errorf("it stopped with %v", err)
			}
		})
	}
}

// The journal has a disk of its own trouble; the ledger is not to blame.
func TestC11ADeletedJournalIsNotCalledTheLedger(t *testing.T) {
	n := start(t, config(t))
	n.ready(200)
	n.offer("o", `"mode":"fast"`)
	n.redeem("o", "k", "journal")
	if err := os.RemoveAll(n.dir.Journal()); err != nil {
		t.Fatal(err)
	}
	n.until("the journal to be found missing", func() bool { return n.journal.Err() != nil })
	status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", "k2")
	if status != 503 || v["type"] != "/problems/journal-unavailable" || v["outcome"] != "not_redeemed" {
		t.Errorf("%d %v", status, v)
	}
}
