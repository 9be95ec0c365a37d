package journal

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Config of a Journal.
type Config struct {
	Dir string // of its own, locked by the caller
	FS  FS     // nil: the real one

	SegmentBytes int64 // the largest; 0: 64 MiB
	MaxPayload   int   // 0: 16 KiB
	// MaxBacklogBytes bounds the segments that are kept; one more that is empty may lie ready beside them. 0: 4 GiB
	MaxBacklogBytes int64

	Now     func() time.Time
	Logger  zerolog.Logger
	Metrics prometheus.Registerer // nil: none
}

const (
	defaultSegmentBytes = 64 << 20
	defaultMaxPayload   = 16 << 10
	defaultMaxBacklog   = 4 << 30
)

func (c *Config) complete() error {
	if c.FS == nil {
		c.FS = osFS{}
	}
	if c.SegmentBytes == 0 {
		c.SegmentBytes = defaultSegmentBytes
	}
	if c.MaxPayload == 0 {
		c.MaxPayload = defaultMaxPayload
	}
	if c.MaxBacklogBytes == 0 {
		c.MaxBacklogBytes = defaultMaxBacklog
	}
	switch {
	case c.Dir == "" || c.Now == nil:
		return errors.New("journal: a directory and a clock are required")
	case c.MaxPayload < 0 || c.MaxPayload > maxRecordPayload:
		return fmt.Errorf("journal: the largest payload must be between 1 and %d bytes, not %d", maxRecordPayload, c.MaxPayload)
	case c.SegmentBytes < segmentHeader+int64(recordSize(c.MaxPayload)) || c.SegmentBytes > math.MaxUint32:
		return fmt.Errorf("journal: segments of %d bytes can't hold payloads of %d", c.SegmentBytes, c.MaxPayload)
	case c.MaxBacklogBytes < 2*c.SegmentBytes:
		return fmt.Errorf("journal: the backlog's bound must be at least two segments of %d bytes, not %d", c.SegmentBytes, c.MaxBacklogBytes)
	}
	return nil
}

// Journal is an open journal. It is safe for concurrent use.
//
// Open, Replay, then Run; Close at last. Only while Run is running is anything written.
type Journal struct {
	cfg         Config
	queue       *queue
	metrics     *metrics
	stop        chan struct{} // closed by Close
	stopped     sync.Once
	running     sync.Mutex    // held by Run, and by Close after it
	maintenance chan struct{} // wakes the maintenance loop

	// structure is held while the set of segments or the manifest changes; it guards manifest, unreferenced, and all of the files'
	// coming and going. Taken before mu.
	structure    sync.Mutex
	folder       Dir
	manifest     *manifest
	marked       uint64   // the last sequence that it knows to be durable
	named        uint64   // higher than the number of every segment that it has ever named
	unreferenced []string // files that nothing refers to and that could not be removed
	closed       bool

	// The segment that lies ready, and the size of the one to be made after it. Its lock is held while one is being made, which takes a while; taken after structure.
	spareMu sync.Mutex
	spare   *segment
	size    int64
	retryAt time.Time // after a failure for lack of space
	lacking error     // that failure

	mu          sync.Mutex
	segments    []*segment // by number; the last one may be open
	nextSeq     uint64
	nextSegment uint64
	unsettled   int64
	bytes       int64
	failure     error
	noSpace     error
}

// Append writes a record, and gives its sequence when it is durable. Records that are waiting at the same time share a write and
// an fsync.
//
// Errors: ErrUnknown means that the record may be in the journal, or may get there yet: ctx ended, or the write failed. A caller that has
// to know in the end calls Submit. After any other error the record is not in the journal: ErrTooLarge, ErrOverloaded, ErrFull,
// ErrNoSpace, ErrFailed, ErrClosed, or that of a ctx that had ended before.
func (j *Journal) Append(ctx context.Context, kind byte, payload []byte) (uint64, error) {
	if ctx.Err() != nil {
		return 0, context.Cause(ctx)
	}
	t, err := j.Submit(kind, payload)
	if err != nil {
		return 0, err
	}
	return t.Wait(ctx)
}

// Submit hands a record over to be written, and does not wait. The payload can be reused on return. After an error nothing will
// be written.
func (j *Journal) Submit(kind byte, payload []byte) (Ticket, error) {
	if len(payload) > j.cfg.MaxPayload {
		return Ticket{}, fmt.Errorf("%w: %d bytes, at most %d", ErrTooLarge, len(payload), j.cfg.MaxPayload)
	}
	return j.queue.add(kind, payload)
}

// Settled says that these records are not needed any more, in any order; more than once, or for a record that is not kept, is
// harmless. A segment is removed when all of its records are settled and no more can be written to it.
//
// This is kept in memory only. After a restart every record of the segments that are left is replayed, so what the caller does
// to settle a record must do nothing the second time.
func (j *Journal) Settled(seqs ...uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	done := false
	for _, seq := range seqs {
		if s := j.segmentOf(seq); s != nil && s.settle(seq) {
			j.unsettled--
			done = done || s.done()
		}
	}
	j.metrics.backlogRecords.Set(float64(j.unsettled))
	if done {
		j.wakeMaintenance()
	}
}

// Err says why nothing is acknowledged: nil, ErrNoSpace, which passes, or ErrFailed, which does not.
func (j *Journal) Err() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.failure != nil {
		return j.failure
	}
	return j.noSpace
}

// Backlog gives the number of records that are not settled, and the bytes of the segments that are kept.
func (j *Journal) Backlog() (records, bytes int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.unsettled, j.bytes
}

// Replay calls visit with each record that was durable when Replay was called and has not been removed since, settled or not, in order.
// The payload is valid during the call. An error of visit ends it. Append and Settled may be called meanwhile.
func (j *Journal) Replay(visit func(seq uint64, kind byte, payload []byte) error) error {
	j.mu.Lock()
	kept := slices.Clone(j.segments)
	extents := make([]extent, len(kept))
	for i, s := range kept {
		extents[i] = s.extent
		extents[i].sealed = true // for this reader: the open one may grow meanwhile
	}
	j.mu.Unlock()
	for i, s := range kept {
		if err := j.replay(s, extents[i], visit); err != nil {
			return err
		}
	}
	return nil
}

func (j *Journal) replay(s *segment, upTo extent, visit func(uint64, byte, []byte) error) error {
	file, err := j.openKept(s)
	if err != nil || file == nil {
		return err
	}
	defer file.Close()
	size, err := file.Size()
	if err != nil {
		return err
	}
	r := segmentReader{cursor: newCursor(file, size), path: j.path(s.number), extent: upTo}
	_, err = r.read(func(_ string, _ int64, rec record) error { return visit(rec.seq, rec.kind, rec.payload) })
	return err
}

// openKept gives nil for a segment that has been removed.
func (j *Journal) openKept(s *segment) (File, error) {
	j.structure.Lock() // nothing is removed meanwhile; an open file can be read to its end even then
	defer j.structure.Unlock()
	if s.removed {
		return nil, nil
	}
	return j.cfg.FS.OpenRead(j.path(s.number))
}

// Close ends Run, waits for it, and lets the manifest say how far the journal is durable, so that damage to any record will be
// found. Records that are not written yet are refused with ErrClosed. It is idempotent.
func (j *Journal) Close() error {
	j.stopped.Do(func() { close(j.stop) })
	j.running.Lock()
	defer j.running.Unlock()
	j.queue.close(ErrClosed)
	j.structure.Lock()
	defer j.structure.Unlock()
	if j.closed {
		return nil
	}
	j.closed = true
	return j.shut()
}
