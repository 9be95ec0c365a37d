package journal

import (
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
)

// Outcomes of an append. Only ErrUnknown leaves open whether the record is in the journal; after any other error it
// certainly is not, and never will be.
var (
	// ErrUnknown: the caller stopped waiting, or the write or its fsync failed. The record may be replayed at the next start.
	ErrUnknown = errors.New("journal: it is unknown whether the record was written")
	// ErrFailed: a write or an fsync has failed, and nothing is acknowledged until the journal was opened anew.
	ErrFailed = errors.New("journal: failed")
	// ErrDeleted: a file of the journal was deleted under it. Like ErrFailed, which it is, too, it does not pass.
	ErrDeleted = errors.New("journal: its files were deleted")
	// ErrNoSpace: the disk has no room for another segment. Appends go on as soon as it has.
	ErrNoSpace = errors.New("journal: no space for another segment")
	// ErrFull: as much is kept as MaxBacklogBytes allows. Appends go on when enough was settled.
	ErrFull = errors.New("journal: the backlog has reached its bound")
	// ErrOverloaded: too much waits to be written already.
	ErrOverloaded = errors.New("journal: too many records wait to be written")
	// ErrTooLarge: the payload is longer than MaxPayload.
	ErrTooLarge = errors.New("journal: payload too large")
	// ErrClosed: Run has ended, or Close was called.
	ErrClosed = errors.New("journal: closed")
)

// Faults of a journal's folder.
var (
	// ErrCorrupt: something that had been made durable is damaged or missing. The error is a *CorruptError.
	ErrCorrupt = errors.New("journal: corrupt")
	// ErrVersion: a newer program wrote this.
	ErrVersion = errors.New("journal: written in a newer format")
)

// CorruptError says where the first damage is.
type CorruptError struct {
	File   string // the name within the journal's folder
	Offset int64
	Reason string
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("%v: %s at byte %d: %s", ErrCorrupt, e.File, e.Offset, e.Reason)
}

// Unwrap makes it an ErrCorrupt.
func (e *CorruptError) Unwrap() error { return ErrCorrupt }

func corrupt(path string, offset int64, format string, args ...any) error {
	return &CorruptError{File: filepath.Base(path), Offset: offset, Reason: fmt.Sprintf(format, args...)}
}

// passing reports whether a failure to make a file is one that passes: nothing is broken, something has run out.
func passing(err error) bool {
	for _, errno := range []error{syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// wrap makes an error that is both.
func wrap(kind, cause error) error { return fmt.Errorf("%w: %w", kind, cause) }
