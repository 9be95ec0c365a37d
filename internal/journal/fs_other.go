//go:build !linux

package journal

import (
	"errors"
	"io/fs"
	"os"
)

// Sync is os.File's, which asks for a full flush where the system distinguishes.
func (f *osFile) Sync() error { return f.File.Sync() }

// Named looks whether the name is still this file's.
func (f *osFile) Named() (bool, error) {
	there, err := os.Stat(f.Name())
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	here, err := f.Stat()
	return err == nil && os.SameFile(here, there), err
}

// Allocate leaves it to the filling with zeros.
func (f *osFile) Allocate(int64) error { return nil }
