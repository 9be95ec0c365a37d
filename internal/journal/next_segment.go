package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	// spaceEvery is the pause between two attempts to make a segment on a full disk.
	spaceEvery = time.Second
	// fillStep is written and synced at a time when a segment is filled: appends share the disk with it.
	fillStep = 1 << 20
	// firstSegmentBytes is the size of the first segment that a process makes. Each further one is twice as large, up to
	// Config.SegmentBytes: a node with little to write fills little of a disk that it may share with the database and other nodes.
	firstSegmentBytes = 2 << 20
)

var errStopped = errors.New("journal: stopping")

// prepare makes the next segment, unless there is one. A journal that has no segment at all and can make none says so at once.
func (j *Journal) prepare(ctx context.Context) error {
	j.spareMu.Lock()
	defer j.spareMu.Unlock()
	err := j.ensureSpare(ctx)
	if errors.Is(err, ErrNoSpace) && !j.hasOpen() {
		j.setNoSpace(err)
	}
	return err
}

func (j *Journal) hasOpen() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.open() != nil
}

// takeSpare gives the segment that lies ready, or makes one. structure is held.
func (j *Journal) takeSpare() (*segment, error) {
	j.spareMu.Lock()
	defer j.spareMu.Unlock()
	err := j.ensureSpare(context.Background())
	if errors.Is(err, ErrNoSpace) {
		j.setNoSpace(err)
	}
	if err != nil {
		return nil, err
	}
	s := j.spare
	j.spare = nil
	return s, nil
}

// ensureSpare gives ErrNoSpace, ErrFailed or ErrClosed. spareMu is held.
func (j *Journal) ensureSpare(ctx context.Context) error {
	if j.spare != nil {
		return nil
	}
	if j.lacking != nil && j.cfg.Now().Before(j.retryAt) {
		return j.lacking
	}
	s, err := j.makeSegment(ctx)
	switch {
	case err == nil:
		j.spare, j.lacking, j.size = s, nil, min(2*j.size, j.cfg.SegmentBytes)
		j.setNoSpace(nil)
		return nil
	case errors.Is(err, errStopped):
		return ErrClosed
	case passing(err):
		if j.lacking == nil {
			j.cfg.Logger.Warn().Err(err).Msg("no space for the next journal segment; the open one is used up first")
		}
		j.lacking, j.retryAt = wrap(ErrNoSpace, err), j.cfg.Now().Add(spaceEvery)
		return j.lacking
	default:
		return j.fail(err)
	}
}

// makeSegment makes a segment of zeros that is durable, its name too, so that an append needs no more than its own bytes on the
// disk. After an error there is none.
func (j *Journal) makeSegment(ctx context.Context) (*segment, error) {
	j.mu.Lock()
	s := &segment{extent: extent{number: j.nextSegment, end: segmentHeader}, size: j.size}
	j.nextSegment++ // not used again, should the file outlive a failure
	j.mu.Unlock()
	if _, err := rand.Read(s.id[:]); err != nil {
		return nil, err
	}
	path := j.path(s.number)
	file, err := j.cfg.FS.Create(path)
	if err != nil {
		return nil, err
	}
	s.file = file
	err = j.fill(ctx, s)
	if err == nil {
		err = j.folder.Sync()
	}
	if err != nil {
		err = errors.Join(err, file.Close())
		if removing := j.cfg.FS.Remove(path); removing != nil { // the next Open will
			j.cfg.Logger.Warn().Err(removing).Msg("removing a half-made journal segment")
		}
		return nil, err
	}
	return s, nil
}

func (j *Journal) fill(ctx context.Context, s *segment) error {
	if err := s.file.Allocate(s.size); err != nil {
		return err
	}
	step := make([]byte, min(fillStep, s.size))
	for offset := int64(0); offset < s.size; offset += int64(len(step)) {
		if j.stopping(ctx) {
			return errStopped
		}
		step = step[:min(int64(len(step)), s.size-offset)]
		if offset == 0 {
			copy(step, encodeHeader(s.extent, s.size))
		} else {
			clear(step[:min(segmentHeader, len(step))])
		}
		if _, err := s.file.WriteAt(step, offset); err != nil {
			return err
		}
		if err := s.file.Sync(); err != nil {
			return err
		}
	}
	return nil
}
