package journal

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// FS is what a journal needs of a file system. The tests have one that loses what was not synced.
type FS interface {
	// MakeDir makes a folder where it is missing; its entry is durable on return.
	MakeDir(path string) error
	// List gives the names in a folder.
	List(path string) ([]string, error)
	// OpenDir opens a folder, to be synced.
	OpenDir(path string) (Dir, error)
	// Create makes a file that must not exist; its entry is durable after Dir.Sync.
	Create(path string) (File, error)
	Open(path string) (File, error)
	// OpenRead opens a file that will not be written to.
	OpenRead(path string) (File, error)
	Rename(from, to string) error
	Remove(path string) error
}

// Dir is an open folder. A journal keeps its folder open: making a removal durable must not take a file descriptor.
type Dir interface {
	// Sync makes creations, renames and removals in the folder durable.
	Sync() error
	io.Closer
}

// File is one of its files.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer
	Size() (int64, error)
	// Allocate takes the space for a file of this size all at once, or fails; the bytes read as zeros.
	Allocate(size int64) error
	Truncate(size int64) error
	// Sync makes the data durable, and the size if it has changed.
	Sync() error
	// Named reports whether the file still has a name in some folder. Without one, it is gone once it is closed.
	Named() (bool, error)
}

// osFS is the real one.
type osFS struct{}

func (osFS) MakeDir(path string) error {
	if err := os.MkdirAll(path, 0o750); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func (osFS) List(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, nil
}

func (osFS) Create(path string) (File, error) {
	return open(path, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (osFS) Open(path string) (File, error)     { return open(path, os.O_RDWR) }
func (osFS) OpenRead(path string) (File, error) { return open(path, os.O_RDONLY) }
func (osFS) Rename(from, to string) error       { return os.Rename(from, to) }
func (osFS) Remove(path string) error           { return os.Remove(path) }
func (osFS) OpenDir(path string) (Dir, error)   { return os.Open(path) }

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func open(path string, flags int) (File, error) {
	f, err := os.OpenFile(path, flags, 0o600)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

type osFile struct{ *os.File }

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
