package journal

import (
	"context"
	"crypto/rand"
	"errors"
	"time"
)

const (
	// houseEvery is how often the housekeeper looks, and about how long nothing on the disk says that the last group is durable.
	houseEvery = time.Second
	// spaceEvery is the pause between two attempts to make a segment on a full disk.
	spaceEvery = time.Second
	// fillStep is written and synced at a time when a segment is filled: appends share the disk with it.
	fillStep = 1 << 20
)

var errStopped = errors.New("journal: stopping")

func (j *Journal) wakeHousekeeper() {
	select {
	case j.chores <- struct{}{}:
	default:
	}
}

// keepHouse does the chores from time to time, and when it is told.
func (j *Journal) keepHouse(ctx context.Context) {
	tick := time.NewTicker(houseEvery)
	defer tick.Stop()
	for !j.stopping(ctx) {
		j.chore(ctx)
		select {
		case <-ctx.Done():
		case <-j.stop:
		case <-j.chores:
		case <-tick.C:
		}
	}
}

// chore does what keeps appends from waiting later. What fails for good is in Err.
func (j *Journal) chore(ctx context.Context) {
	if j.failed() {
		return
	}
	_ = j.tidy()
	_ = j.prepare(ctx)
}

func (j *Journal) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure != nil
}

// tidy removes segments that are settled, and lets the manifest say how far the journal is durable: without that, damage to the
// last group could not be told from a group that was torn.
func (j *Journal) tidy() error {
	j.structure.Lock()
	defer j.structure.Unlock()
	if j.closed {
		return nil
	}
	if err := j.removeSettled(); err != nil {
		return err
	}
	j.mu.Lock()
	behind, segments := j.marked+1 < j.nextSeq, j.segments
	j.mu.Unlock()
	if behind {
		return j.writeManifest(segments)
	}
	return nil
}

// removeSettled removes what is settled from the manifest first, so that a file that is missing is always a loss. structure is held.
func (j *Journal) removeSettled() error {
	var kept, gone []*segment
	j.mu.Lock()
	for _, s := range j.segments {
		if s.done() {
			gone = append(gone, s)
		} else {
			kept = append(kept, s)
		}
	}
	j.mu.Unlock()
	if len(gone) == 0 && len(j.litter) == 0 {
		return nil
	}
	if len(gone) > 0 {
		if err := j.writeManifest(kept); err != nil {
			return err
		}
	}
	for _, s := range gone {
		s.removed = true
		j.litter = append(j.litter, j.path(s.number))
	}
	return j.sweep()
}

// sweep removes files that nothing refers to. One that stays is no harm: it is tried again, at the latest by the next Open.
// structure is held.
func (j *Journal) sweep() error {
	left := j.litter[:0]
	for _, path := range j.litter {
		if err := j.cfg.FS.Remove(path); err != nil {
			j.cfg.Logger.Warn().Err(err).Msg("removing a journal segment")
			left = append(left, path)
		}
	}
	removed := len(left) < len(j.litter)
	j.litter = left
	if !removed {
		return nil
	}
	if err := j.cfg.FS.SyncDir(j.cfg.Dir); err != nil {
		return j.fail(err)
	}
	return nil
}

// prepare makes the next segment, unless there is one.
func (j *Journal) prepare(ctx context.Context) error {
	j.spareMu.Lock()
	defer j.spareMu.Unlock()
	return j.ensureSpare(ctx)
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
		j.spare, j.lacking = s, nil
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
	s := &segment{entry: entry{number: j.nextSegment, end: segmentHeader}, size: j.cfg.SegmentBytes}
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
		err = j.cfg.FS.SyncDir(j.cfg.Dir)
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
			copy(step, encodeHeader(s.entry, s.size))
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

// shut seals the open segment and closes the files. structure is held, and nothing is written any more.
func (j *Journal) shut() error {
	var err error
	j.mu.Lock()
	segments, last := j.segments, j.open()
	if last != nil && j.failure == nil {
		last.sealed = true
	}
	j.mu.Unlock()
	if last != nil {
		if !j.failed() {
			err = j.writeManifest(segments)
		}
		err = errors.Join(err, last.file.Close())
	}
	j.spareMu.Lock()
	defer j.spareMu.Unlock()
	if j.spare != nil {
		err = errors.Join(err, j.spare.file.Close(), j.cfg.FS.Remove(j.path(j.spare.number)))
		j.spare = nil
	}
	return errors.Join(err, j.manifest.file.Close())
}
