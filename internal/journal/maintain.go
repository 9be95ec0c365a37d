package journal

import (
	"context"
	"errors"
	"time"
)

// roundEvery is the pause between two rounds. For so long the manifest may not say yet that the last group is durable.
const roundEvery = time.Second

func (j *Journal) wakeMaintenance() {
	select {
	case j.maintenance <- struct{}{}:
	default:
	}
}

// maintain works once every roundEvery, and when it is woken.
func (j *Journal) maintain(ctx context.Context) {
	tick := time.NewTicker(roundEvery)
	defer tick.Stop()
	for !j.stopping(ctx) {
		j.maintainOnce(ctx)
		select {
		case <-ctx.Done():
		case <-j.stop:
		case <-j.maintenance:
		case <-tick.C:
		}
	}
}

// maintainOnce does what keeps later appends from waiting. Err has a failure that does not pass.
func (j *Journal) maintainOnce(ctx context.Context) {
	if j.failed() {
		return
	}
	_ = j.checkManifest()
	_ = j.removeAndMark()
	_ = j.prepare(ctx)
}

// checkManifest finds out that the folder was deleted where nothing is written. The writer looks at the segment after each group.
func (j *Journal) checkManifest() error {
	j.structure.Lock()
	defer j.structure.Unlock()
	if j.closed {
		return nil
	}
	if err := stillNamed(j.manifest.file); err != nil {
		return j.fail(err)
	}
	return nil
}

func (j *Journal) failed() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failure != nil
}

// removeAndMark removes segments that are settled, and lets the manifest say how far the journal is durable: without that, damage to the
// last group could not be told from a group that was torn.
func (j *Journal) removeAndMark() error {
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
	if len(gone) == 0 && len(j.unreferenced) == 0 {
		return nil
	}
	if len(gone) > 0 {
		if err := j.writeManifest(kept); err != nil {
			return err
		}
	}
	for _, s := range gone {
		s.removed = true
		j.unreferenced = append(j.unreferenced, j.path(s.number))
	}
	return j.removeUnreferenced()
}

// removeUnreferenced removes files that nothing refers to. One that stays is no harm: it is tried again, at the latest by the next Open.
// structure is held.
func (j *Journal) removeUnreferenced() error {
	left := j.unreferenced[:0]
	for _, path := range j.unreferenced {
		if err := j.cfg.FS.Remove(path); err != nil {
			j.cfg.Logger.Warn().Err(err).Msg("removing a journal segment")
			left = append(left, path)
		}
	}
	removed := len(left) < len(j.unreferenced)
	j.unreferenced = left
	if !removed {
		return nil
	}
	if err := j.folder.Sync(); err != nil {
		return j.fail(err)
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
	return errors.Join(err, j.manifest.file.Close(), j.folder.Close())
}
