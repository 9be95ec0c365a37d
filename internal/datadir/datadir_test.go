package datadir

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
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
