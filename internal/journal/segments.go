package journal

import (
	"path/filepath"
	"sort"
)

// segment is one that the manifest names, or the one that lies ready. Its extent, settled and unsettled are guarded by Journal.mu;
// file and removed by Journal.structure. The writer alone changes the extent of the open one, so it may read that without a lock,
// and it alone replaces the open segment, so nobody closes the file under it.
type segment struct {
	extent
	size      int64 // of the file
	file      File  // nil unless it is the open one or lies ready
	removed   bool
	settled   []uint64 // a bit for each record
	unsettled int64
}

// grow adds records to the end.
func (s *segment) grow(count int, bytes int64) {
	s.last += uint64(count)
	s.end += bytes
	s.unsettled += int64(count)
	for int64(len(s.settled))*64 < s.records() {
		s.settled = append(s.settled, 0)
	}
}

// settle reports whether this was the first time.
func (s *segment) settle(seq uint64) bool {
	i := seq - s.first
	bit := uint64(1) << (i % 64)
	if s.settled[i/64]&bit != 0 {
		return false
	}
	s.settled[i/64] |= bit
	s.unsettled--
	return true
}

// done reports whether the segment can go.
func (s *segment) done() bool { return s.sealed && s.unsettled == 0 }

func (j *Journal) path(number uint64) string {
	return filepath.Join(j.cfg.Dir, segmentName(number))
}

// segmentOf finds the segment that keeps a record. mu is held.
func (j *Journal) segmentOf(seq uint64) *segment {
	i := sort.Search(len(j.segments), func(i int) bool { return j.segments[i].last >= seq })
	if i == len(j.segments) || seq < j.segments[i].first {
		return nil
	}
	return j.segments[i]
}

// open gives the segment that is appended to, or nil. mu is held, or the caller is the only one who changes it.
func (j *Journal) open() *segment {
	if n := len(j.segments); n > 0 && !j.segments[n-1].sealed {
		return j.segments[n-1]
	}
	return nil
}

// contents is what the manifest is to say about these segments. structure and mu are held.
func (j *Journal) contents(segments []*segment) contents {
	p := contents{nextSeq: j.nextSeq, nextSegment: j.named}
	for _, s := range segments {
		p.extents = append(p.extents, s.extent)
		p.nextSegment = max(p.nextSegment, s.number+1)
	}
	return p
}

// keep makes these the segments that are kept. mu is held.
func (j *Journal) keep(segments []*segment) {
	j.segments, j.bytes = segments, 0
	for _, s := range segments {
		j.bytes += s.size
	}
	j.metrics.backlogBytes.Set(float64(j.bytes))
	j.metrics.backlogRecords.Set(float64(j.unsettled))
}

// fail ends all writing. It gives the error that says so.
func (j *Journal) fail(err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failure == nil {
		j.failure = wrap(ErrFailed, err)
		j.metrics.state.Set(stateFailed)
		j.cfg.Logger.Error().Err(err).Msg("the journal failed; nothing is acknowledged until a restart")
	}
	return j.failure
}

// setNoSpace says whether appends are refused for lack of space; nil: they are not.
func (j *Journal) setNoSpace(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.failure != nil:
	case err != nil && j.noSpace == nil:
		j.metrics.state.Set(stateNoSpace)
		j.cfg.Logger.Error().Err(err).Msg("no space for another journal segment; nothing is acknowledged until there is")
	case err == nil && j.noSpace != nil:
		j.metrics.state.Set(stateOK)
		j.cfg.Logger.Info().Msg("the journal has space again")
	}
	j.noSpace = err
}
