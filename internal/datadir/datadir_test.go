package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"tranche/models"
)

func TestTheIdentityStaysAndTheFolderIsLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "data")
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if first.NodeID.IsZero() {
		t.Error("no identity")
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(path)
	if err != nil || again.NodeID != first.NodeID {
		t.Fatalf("after a restart: %v, %v", again, err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

// A damaged identity must not become a new node that knows nothing of its leases.
func TestADamagedIdentityIsAnError(t *testing.T) {
	for _, text := range []string{"", "x", "00000000-0000-0000-0000"} {
		path := t.TempDir()
		if err := os.WriteFile(filepath.Join(path, idName), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if d, err := Open(path); err == nil {
			t.Errorf("%q was taken for %s", text, d.NodeID)
		}
	}
}

func TestAnExistingFolderIsLockedAndNothingIsMadeInOneThatIsNot(t *testing.T) {
	path := t.TempDir()
	if d, err := OpenExisting(path); err == nil {
		t.Errorf("an empty folder was taken for node %s", d.NodeID)
	}
	if left, err := os.ReadDir(path); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	first, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenExisting(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened beside its owner: %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenExisting(path)
	if err != nil || again.NodeID != first.NodeID {
		t.Fatalf("opened again: %v, %v", again, err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("opened beside its reader: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestA1TheFolderRemembersItsLedger(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := d.LedgerID(); err != nil || !id.IsZero() {
		t.Errorf("at first: %s, %v", id, err)
	}
	want := models.NewID()
	if err := d.KeepLedgerID(want); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenExisting(path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if id, err := again.LedgerID(); err != nil || id != want {
		t.Errorf("later: %s, %v, want %s", id, err, want)
	}
	if err := os.WriteFile(filepath.Join(path, ledgerName), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if id, err := again.LedgerID(); err == nil { // not taken for none
		t.Errorf("a damaged id was taken for %s", id)
	}
}
