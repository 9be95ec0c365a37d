// Package datadir is a node's place on disk: who it is, and the lock that keeps a second process out.
//
// The node's identity is a random id in the folder, made at the first start. A copy of the folder is a copy of the identity; the
// epochs in the database then see to it that only the newest process acts on it. The folder also keeps which ledger it belongs to: what
// its journal holds must never be booked into another one.
package datadir

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"tranche/models"
)

// ErrLocked says that another process runs on this folder.
var ErrLocked = errors.New("data directory is in use by another process")

const (
	lockName     = "lock"
	idName       = "node-id"
	ledgerName   = "ledger-id"
	databaseName = "tranche.db"
	journalName  = "journal"
)

// Dir is a locked data directory.
type Dir struct {
	Path     string
	NodeID   models.ID
	lock     *os.File
	database atomic.Pointer[fs.FileInfo] // nil before HoldDatabase
}

// Open makes the folder where it is missing, locks it until Close or the end of the process, and reads the node's identity,
// or makes one that is on disk before Open returns.
func Open(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, lockName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return open(path, lock, identity)
}

// OpenExisting is Open for a folder that is a node's already. It makes and changes nothing, so it works on a copy that can only
// be read, too.
func OpenExisting(path string) (*Dir, error) {
	lock, err := os.Open(filepath.Join(path, lockName))
	if err != nil {
		return nil, fmt.Errorf("no node's data directory: %w", err)
	}
	return open(path, lock, existingIdentity)
}

// open locks the folder by its lock file, which it closes when it fails.
func open(path string, lock *os.File, identity func(path string) (models.ID, error)) (*Dir, error) {
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("%w: %s: end that process, or choose another folder with --data-dir", ErrLocked, path)
	}
	id, err := identity(path)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return &Dir{Path: path, NodeID: id, lock: lock}, nil
}

// Database is where the embedded database lives.
func (d *Dir) Database() string { return filepath.Join(d.Path, databaseName) }

// Journal is the folder of the node's journal.
func (d *Dir) Journal() string { return filepath.Join(d.Path, journalName) }

// ErrDeleted says that the folder that was opened, or the database in it, is not there any more.
var ErrDeleted = errors.New("data directory was deleted or replaced while the process ran")

// HoldDatabase takes the file that is the embedded database by now for the one that Check must find.
func (d *Dir) HoldDatabase() error {
	file, err := os.Stat(d.Database())
	if err == nil {
		d.database.Store(&file)
	}
	return err
}

// Check gives ErrDeleted when the folder's path does not lead to the folder that was opened, or to the database that is held.
func (d *Dir) Check() error {
	lock, err := d.lock.Stat()
	if err != nil {
		return fmt.Errorf("data directory: %w", err)
	}
	if isLost(filepath.Join(d.Path, lockName), lock) {
		return fmt.Errorf("%w: %s", ErrDeleted, d.Path)
	}
	if database := d.database.Load(); database != nil && isLost(d.Database(), *database) {
		return fmt.Errorf("%w: %s", ErrDeleted, d.Database())
	}
	return nil
}

// isLost reports whether a path does not lead to a file any more. One that can't be looked at for now is not lost.
func isLost(path string, held fs.FileInfo) bool {
	there, err := os.Stat(path)
	return err == nil && !os.SameFile(held, there) || errors.Is(err, fs.ErrNotExist)
}

// LedgerID is the id of the ledger that the folder belongs to; zero before KeepLedgerID.
func (d *Dir) LedgerID() (models.ID, error) {
	id, err := readID(filepath.Join(d.Path, ledgerName))
	if errors.Is(err, fs.ErrNotExist) {
		return models.ID{}, nil
	}
	return id, err
}

// KeepLedgerID says which ledger the folder belongs to, durable on return.
func (d *Dir) KeepLedgerID(id models.ID) error { return writeID(d.Path, ledgerName, id) }

// Close unlocks the folder.
func (d *Dir) Close() error { return d.lock.Close() }

func identity(path string) (models.ID, error) {
	id, err := existingIdentity(path)
	if errors.Is(err, fs.ErrNotExist) {
		id = models.NewID()
		err = writeID(path, idName, id)
	}
	return id, err
}

func existingIdentity(path string) (models.ID, error) { return readID(filepath.Join(path, idName)) }

func readID(name string) (models.ID, error) {
	text, err := os.ReadFile(name)
	if err != nil {
		return models.ID{}, err
	}
	id, err := models.ParseID(strings.TrimSpace(string(text)))
	if err != nil {
		return models.ID{}, fmt.Errorf("%s: %w: put the file back from a copy, or choose another folder with --data-dir", name, err)
	}
	return id, nil
}

// writeID writes an id beside its place, syncs it and moves it there, so that a crash leaves a whole one or none.
func writeID(path, name string, id models.ID) error {
	tmp, err := os.CreateTemp(path, name+".*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(id.String() + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), filepath.Join(path, name)); err != nil {
		return err
	}
	return syncDir(path)
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
