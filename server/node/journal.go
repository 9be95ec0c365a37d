package node

import (
	"context"
	"errors"
	"fmt"

	"tranche/internal/journal"
	"tranche/models"
)

// acknowledgements is the journal as the allocator knows it: its errors in the words of package models, with their cause.
type acknowledgements struct{ *journal.Journal }

// Append implements allocator.Journal.
func (a acknowledgements) Append(ctx context.Context, kind byte, payload []byte) (uint64, error) {
	seq, err := a.Journal.Append(ctx, kind, payload)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", meaning(err), err)
	}
	return seq, nil
}

// meaning says what a failed append means to who asked for it. Unless the outcome is unknown, nothing was acknowledged and
// nothing ever will be.
func meaning(err error) error {
	switch {
	case errors.Is(err, journal.ErrUnknown):
		return models.ErrOutcomeUnknown
	case errors.Is(err, journal.ErrFull), errors.Is(err, journal.ErrOverloaded):
		return models.ErrOverloaded
	default:
		return models.ErrJournalUnavailable
	}
}

// condition says in words why the journal acknowledges nothing; empty: it does. Details, which name files, are in the log.
func condition(j *journal.Journal) string {
	switch err := j.Err(); {
	case err == nil:
		return ""
	case errors.Is(err, journal.ErrNoSpace):
		return "the journal has no space on its disk"
	case errors.Is(err, journal.ErrDeleted):
		return "the journal's files were deleted: the node must be started anew"
	default:
		return "the journal has failed: the node must be started anew"
	}
}
