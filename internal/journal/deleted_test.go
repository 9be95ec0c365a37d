package journal

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

// A record in a file without a name ends with the process, so it must not be acknowledged.
func TestC11ADeletedFolderIsNoticedByTheNextRecord(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "journal")
	j, err := Open(Config{Dir: dir, Now: time.Now, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { j.Run(context.Background()) })
	defer running.Wait()
	defer j.Close() // it can't say any more how far the journal is durable
	if _, err := j.Append(t.Context(), 1, []byte("before")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if seq, err := j.Append(t.Context(), 1, []byte("after")); err == nil {
		t.Errorf("record %d is acknowledged, and its file is deleted", seq)
	}
	if err := j.Err(); !errors.Is(err, ErrDeleted) || !errors.Is(err, ErrFailed) {
		t.Errorf("the journal says %v", err)
	}
}

func TestC11ADeletedFolderIsNoticedWithoutRecords(t *testing.T) {
	m := observed(t)
	m.submit()
	m.write()
	clear(m.fs.names)
	m.j.maintainOnce(context.Background())
	if err := m.j.Err(); !errors.Is(err, ErrDeleted) {
		t.Errorf("the journal says %v", err)
	}
}

// A full disk is found out before the first redemption of a shop is.
func TestC11AFullDiskIsSaidBeforeTheFirstRecord(t *testing.T) {
	m := observed(t)
	m.fs.capacity = manifestCopies * manifestSlot
	m.j.maintainOnce(context.Background())
	if err := m.j.Err(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("without room for a segment the journal says %v", err)
	}
	m.fs.capacity = 0
	m.now = m.now.Add(spaceEvery)
	m.j.maintainOnce(context.Background())
	if err := m.j.Err(); err != nil {
		t.Errorf("with room again the journal says %v", err)
	}
}
