package journal

import (
	"context"
	"runtime"
	"sync"
)

// Run writes what is submitted, makes segments ahead of need and removes those that are settled, until ctx ends or Close is
// called. Records that wait then are refused with ErrClosed, and so are all later ones: a journal runs once.
func (j *Journal) Run(ctx context.Context) {
	j.running.Lock()
	defer j.running.Unlock()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var maintenance sync.WaitGroup
	maintenance.Go(func() { j.maintain(ctx) })
	defer maintenance.Wait()
	defer cancel()
	defer j.queue.close(ErrClosed)
	for j.await(ctx) {
		j.gather()
		j.writeNext()
	}
}

// gather lets other goroutines run first, as long as they add records to the group. An fsync costs the same for one record as for
// many, so a larger group is worth the short delay.
func (j *Journal) gather() {
	for before, now, rounds := -1, 0, 0; now != before && rounds < gatherRounds; rounds++ {
		runtime.Gosched()
		before, now = now, j.queue.gathered()
	}
}

// gatherRounds bounds the delay: on busy processors a round may take a millisecond.
const gatherRounds = 8

// await waits for something to write; false: it is time to stop.
func (j *Journal) await(ctx context.Context) bool {
	for !j.stopping(ctx) {
		if j.queue.waits() {
			return true
		}
		select {
		case <-ctx.Done():
		case <-j.stop:
		case <-j.queue.wake:
		}
	}
	return false
}

func (j *Journal) stopping(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return true
	case <-j.stop:
		return true
	default:
		return false
	}
}

// writeNext writes a group, if there is one, and tells those who wait for it.
func (j *Journal) writeNext() bool {
	g := j.queue.take()
	if g == nil {
		return false
	}
	first, err := j.write(g)
	j.queue.resolve(g, first, err)
	return true
}

// write makes a group durable, and gives the sequence of its first record. It belongs to the writer.
func (j *Journal) write(g *group) (first uint64, err error) {
	j.mu.Lock()
	failure, s := j.failure, j.open()
	j.mu.Unlock()
	if failure != nil {
		return 0, failure
	}
	if s == nil || s.end+int64(len(g.buf)) > s.size {
		if s, err = j.rotate(); err != nil {
			return 0, err
		}
	}
	first = s.last + 1
	stampRecords(g.buf, s.salt(), first)
	if err := j.store(s, g.buf); err != nil {
		return 0, wrap(ErrUnknown, j.fail(err))
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	s.grow(g.count, int64(len(g.buf)))
	j.nextSeq = s.last + 1
	j.unsettled += int64(g.count)
	j.metrics.backlogRecords.Set(float64(j.unsettled))
	j.metrics.records.Add(float64(g.count))
	j.metrics.groups.Inc()
	return first, nil
}

func (j *Journal) store(s *segment, buf []byte) error {
	if _, err := s.file.WriteAt(buf, s.end); err != nil {
		return err
	}
	start := j.cfg.Now()
	err := s.file.Sync()
	j.metrics.syncSeconds.Observe(j.cfg.Now().Sub(start).Seconds())
	if err != nil {
		return err
	}
	return stillNamed(s.file)
}

// stillNamed gives ErrDeleted for a file that has lost its name: what is written to it ends with the process.
func stillNamed(file File) error {
	named, err := file.Named()
	if err == nil && !named {
		err = ErrDeleted
	}
	return err
}

// rotate seals the open segment and opens the one that lies ready. After an error nothing has been written to the latter, and
// unless that is ErrFailed the next group may try again.
func (j *Journal) rotate() (*segment, error) {
	j.structure.Lock()
	defer j.structure.Unlock()
	if err := j.checkBacklog(); err != nil {
		return nil, err
	}
	next, err := j.takeSpare()
	if err != nil {
		return nil, err
	}
	j.mu.Lock()
	next.first, next.last = j.nextSeq, j.nextSeq-1
	full := j.open()
	if full != nil {
		full.sealed = true
	}
	segments := append(append(make([]*segment, 0, len(j.segments)+1), j.segments...), next)
	j.mu.Unlock()
	err = j.writeManifest(segments)
	if full != nil {
		j.closeFile(full)
	}
	if err != nil {
		j.closeFile(next)
		return nil, err
	}
	j.wakeMaintenance() // for the next spare one, and perhaps to remove the full one
	return next, nil
}

// checkBacklog gives ErrFull where another segment would be one too many. structure is held.
func (j *Journal) checkBacklog() error {
	if !j.backlogFull() {
		return nil
	}
	if err := j.removeSettled(); err != nil { // the maintenance loop may not have got round to it
		return err
	}
	if j.backlogFull() {
		return ErrFull
	}
	return nil
}

func (j *Journal) backlogFull() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes+j.cfg.SegmentBytes > j.cfg.MaxBacklogBytes || len(j.segments) == maxSegments
}

// writeManifest makes these the segments that are kept. structure is held.
func (j *Journal) writeManifest(segments []*segment) error {
	j.mu.Lock()
	failure, p := j.failure, j.contents(segments)
	j.mu.Unlock()
	if failure != nil {
		return failure
	}
	if err := j.manifest.write(p); err != nil {
		return j.fail(err)
	}
	j.marked, j.named = p.nextSeq-1, p.nextSegment
	j.mu.Lock()
	defer j.mu.Unlock()
	j.keep(segments)
	return nil
}

func (j *Journal) closeFile(s *segment) {
	if err := s.file.Close(); err != nil { // all that was in it is durable
		j.cfg.Logger.Warn().Err(err).Uint64("segment", s.number).Msg("closing a journal segment")
	}
	s.file = nil
}
