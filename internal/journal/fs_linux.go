package journal

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Sync leaves out what fsync does beyond the data: with the size fixed and the blocks written before, that is one flush.
func (f *osFile) Sync() error {
	return retried("fdatasync", f.Name(), func() error { return unix.Fdatasync(int(f.Fd())) })
}

// Named looks at the count of links.
func (f *osFile) Named() (bool, error) {
	var stat unix.Stat_t
	err := retried("fstat", f.Name(), func() error { return unix.Fstat(int(f.Fd()), &stat) })
	return stat.Nlink > 0, err
}

// Allocate does nothing where the file system can't: the file is filled with zeros anyway.
func (f *osFile) Allocate(size int64) error {
	err := retried("fallocate", f.Name(), func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return err
}

func retried(op, path string, call func() error) error {
	for {
		err := call()
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: op, Path: path, Err: err}
		}
	}
}
