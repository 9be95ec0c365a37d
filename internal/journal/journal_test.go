package journal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// running is a journal on the real file system with its Run.
type running struct {
	*Journal
	end func()
}

func run(t testing.TB, cfg Config) *running {
	t.Helper()
	cfg.Now, cfg.Logger = time.Now, zerolog.Nop()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() { j.Run(context.Background()) })
	r := &running{Journal: j, end: func() {
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		group.Wait()
	}}
	t.Cleanup(r.end)
	return r
}

// Many append at once, some give up waiting, others settle, and it is all there after a restart; several times.
func TestConcurrentAppendersOverRestarts(t *testing.T) {
	cfg := Config{Dir: filepath.Join(t.TempDir(), "journal"), SegmentBytes: 8 << 10, MaxPayload: 256}
	var mu sync.Mutex
	acked, settled := map[uint64]string{}, map[uint64]bool{}
	var last uint64
	for round := range 3 {
		j := run(t, cfg)
		for seq, payload := range replayed(t, j.Journal) {
			if was, ok := acked[seq]; ok && was != payload {
				t.Fatalf("%d was %q and is %q", seq, was, payload)
			}
			acked[seq] = payload
			last = max(last, seq)
		}
		var unknown atomic.Int64
		var group sync.WaitGroup
		for worker := range 16 {
			group.Go(func() {
				for i := range 100 {
					payload := fmt.Sprintf("%d/%d/%d", round, worker, i)
					ctx, cancel := context.WithCancel(t.Context())
					if i%10 == 0 {
						go cancel()
					}
					seq, err := j.Append(ctx, 1, []byte(payload))
					cancel()
					switch {
					case errors.Is(err, ErrUnknown):
						unknown.Add(1)
						continue
					case errors.Is(err, context.Canceled):
						continue
					case err != nil:
						t.Error(err)
						return
					}
					mu.Lock()
					if was, ok := acked[seq]; ok || seq <= last {
						t.Errorf("%d given to %q and %q, after %d", seq, was, payload, last)
					}
					acked[seq] = payload
					if i%3 == 0 {
						settled[seq] = true
					}
					mu.Unlock()
					if i%3 == 0 {
						j.Settled(seq)
					}
				}
			})
		}
		group.Wait()
		j.end()
		again := run(t, cfg)
		got := replayed(t, again.Journal)
		for seq, payload := range acked {
			if got[seq] != payload && !(settled[seq] && got[seq] == "") {
				t.Errorf("%d: %q instead of %q", seq, got[seq], payload)
			}
		}
		again.end()
	}
	j := run(t, cfg)
	j.Settled(slices.Collect(maps.Keys(replayed(t, j.Journal)))...)
	if err := j.removeAndMark(); err != nil {
		t.Fatal(err)
	}
	if records, bytes := j.Backlog(); records != 0 || bytes != 0 {
		t.Errorf("all settled, and the backlog is %d records, %d bytes", records, bytes)
	}
}

func replayed(t *testing.T, j *Journal) map[uint64]string {
	t.Helper()
	got := map[uint64]string{}
	var before uint64
	err := j.Replay(func(seq uint64, _ byte, payload []byte) error {
		if seq <= before {
			t.Errorf("%d after %d", seq, before)
		}
		got[seq], before = string(payload), seq
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestSettledRemovesExactlyTheWholeSegments(t *testing.T) {
	for seed := range uint64(20) {
		m := newModel(t, seed)
		m.start(0)
		for len(m.j.segments) < 5 {
			m.submit()
			m.write()
		}
		order := slices.Collect(maps.Keys(m.open))
		slices.Sort(order)
		m.rng.Shuffle(len(order), func(i, k int) { order[i], order[k] = order[k], order[i] })
		all := slices.Clone(m.j.segments)
		for _, seq := range order {
			m.j.Settled(seq, seq, 0, m.last+1) // twice, and what is not kept
			m.j.Settled(seq)
			delete(m.open, seq)
			if err := m.j.removeAndMark(); err != nil {
				t.Fatal(err)
			}
			var records, bytes int64
			for i, s := range all {
				left := countIn(m.open, s)
				kept := left > 0 || i == len(all)-1
				if there := m.fs.names[m.j.path(s.number)] != nil; there != kept {
					t.Fatalf("seed %d: %d records of a segment are left, and it is there: %v", seed, left, there)
				}
				if records += left; kept {
					bytes += testSegment
				}
			}
			if r, b := m.j.Backlog(); r != records || b != bytes {
				t.Fatalf("backlog is %d records, %d bytes instead of %d, %d", r, b, records, bytes)
			}
		}
		m.stop()
		m.start(0) // goes on with the sequence, though nothing may be left
		m.stop()
		m.start(0)
		m.submit()
		m.write()
	}
}

func countIn(open map[uint64]bool, s *segment) (n int64) {
	for seq := range open {
		if s.first <= seq && seq <= s.last {
			n++
		}
	}
	return n
}

// observed is a model whose journal has metrics.
func observed(t *testing.T) *model {
	t.Helper()
	m := newModel(t, uint64(rand.Uint32()))
	cfg := m.config()
	cfg.Metrics = prometheus.NewRegistry()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	m.j = j
	return m
}

func valueOf(t testing.TB, metric prometheus.Metric) float64 {
	t.Helper()
	var d dto.Metric
	if err := metric.Write(&d); err != nil {
		t.Fatal(err)
	}
	return d.GetGauge().GetValue() + d.GetCounter().GetValue()
}

func (m *model) state() float64 { return valueOf(m.t, m.j.metrics.state) }

// A full disk: what was acknowledged is there, nothing else is acknowledged, and it goes on by itself when there is room.
func TestAFullDiskStopsAcknowledgingUntilThereIsRoom(t *testing.T) {
	m := observed(t)
	m.fs.capacity = manifestCopies*manifestSlot + 2*testSegment + testSegment/2
	for range 200 {
		m.submit()
		m.write()
		m.j.maintainOnce(context.Background())
		if m.j.Err() != nil {
			break
		}
	}
	if err := m.j.Err(); !errors.Is(err, ErrNoSpace) || m.state() != stateNoSpace {
		t.Fatalf("on a full disk: %v, state %v", err, m.state())
	}
	if len(m.refused) != 1 || m.acked < 5 || m.unknowns > 0 {
		t.Errorf("%d records refused, %d acknowledged", len(m.refused), m.acked)
	}
	m.submit()
	m.write()
	calls := m.fs.calls
	if err := m.j.prepare(context.Background()); !errors.Is(err, ErrNoSpace) || m.fs.calls != calls {
		t.Error("a full disk is asked again without a pause")
	}
	m.fs.capacity = 0
	m.now = m.now.Add(spaceEvery)
	m.j.maintainOnce(context.Background())
	if err := m.j.Err(); err != nil || m.state() != stateOK {
		t.Fatalf("with room again: %v, state %v", err, m.state())
	}
	acked := m.acked
	m.submit()
	m.write()
	if m.acked != acked+1 {
		t.Error("nothing is acknowledged though there is room")
	}
	m.fs.crash()
	m.start(0)
}

// Removing segments must not need space, nor must a start.
func TestAFullDiskIsEmptiedBySettling(t *testing.T) {
	m := observed(t)
	for len(m.j.segments) < 4 {
		m.submit()
		m.write()
	}
	m.fs.capacity = 1
	m.stop()
	m.start(0)
	_, before := m.j.Backlog()
	for seq := range m.open {
		m.j.Settled(seq)
	}
	clear(m.open)
	m.j.maintainOnce(context.Background())
	if _, after := m.j.Backlog(); before == 0 || after != 0 || !errors.Is(m.j.Err(), ErrNoSpace) {
		t.Errorf("the backlog went from %d to %d bytes, %v", before, after, m.j.Err())
	}
}

// Without a file descriptor no segment can be made. That passes, and removing segments takes none.
func TestC3RunningOutOfFilesPasses(t *testing.T) {
	m := observed(t)
	for len(m.j.segments) < 4 {
		m.submit()
		m.write()
	}
	m.fs.noFiles = true
	for seq := range m.open {
		m.j.Settled(seq)
	}
	clear(m.open)
	m.j.maintainOnce(context.Background())
	if _, left := m.j.Backlog(); left > testSegment || errors.Is(m.j.Err(), ErrFailed) {
		t.Fatalf("%d bytes are left after all was settled without a file descriptor: %v", left, m.j.Err())
	}
	m.fs.noFiles = false
	m.now = m.now.Add(spaceEvery)
	m.j.maintainOnce(context.Background())
	acked := m.acked
	m.submit()
	m.write()
	if m.acked != acked+1 {
		t.Errorf("with descriptors again, nothing is acknowledged: %v", m.j.Err())
	}
}

func TestAFullBacklogIsRefusedUntilItIsSettled(t *testing.T) {
	m := observed(t)
	for len(m.refused) == 0 {
		m.submit()
		m.write()
	}
	payload := slices.Collect(maps.Keys(m.refused))[0]
	if _, bytes := m.j.Backlog(); bytes > testBacklog || bytes < testBacklog-testSegment {
		t.Errorf("full at %d bytes of %d", bytes, testBacklog)
	}
	tk, err := m.j.Submit(1, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	m.j.writeNext()
	if _, err := tk.Wait(t.Context()); !errors.Is(err, ErrFull) || errors.Is(err, ErrUnknown) || m.j.Err() != nil {
		t.Errorf("full: %v, and the journal says %v", err, m.j.Err())
	}
	first := m.j.segments[0]
	for seq := first.first; seq <= first.last; seq++ {
		m.j.Settled(seq)
	}
	tk, err = m.j.Submit(1, []byte(payload))
	if err != nil {
		t.Fatal(err)
	}
	m.j.writeNext()
	if seq, err := tk.Wait(t.Context()); err != nil || seq != m.last+1 {
		t.Errorf("after a segment was settled: %d, %v", seq, err)
	}
}

// An fsync that failed is the last one: the next one may succeed, and mean nothing.
func TestAfterAFailedFsyncNothingIsAcknowledged(t *testing.T) {
	m := observed(t)
	m.submit()
	m.write()
	m.fs.failAt = m.fs.calls + 2 // the write, the fsync
	m.submit()
	m.submit()
	m.write()
	if m.unknowns != 2 || m.acked != 1 {
		t.Fatalf("%d of unknown outcome, %d acknowledged", m.unknowns, m.acked)
	}
	if err := m.j.Err(); !errors.Is(err, ErrFailed) || m.state() != stateFailed {
		t.Errorf("%v, state %v", err, m.state())
	}
	calls := m.fs.calls
	m.submit()
	m.write()
	m.j.maintainOnce(context.Background())
	if err := m.j.Close(); err != nil {
		t.Error(err)
	}
	if len(m.refused) != 1 || m.acked != 1 {
		t.Errorf("%d refused, %d acknowledged after a failed fsync", len(m.refused), m.acked)
	}
	if m.fs.calls > calls+3 { // closes of files
		t.Errorf("%d calls after a failed fsync", m.fs.calls-calls)
	}
	m.fs.crash()
	m.start(0)
}

func TestWhoStopsWaitingCanAskAgain(t *testing.T) {
	m := observed(t)
	tk, err := m.j.Submit(1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("hung up")
	cancel(gone)
	if _, err := tk.Wait(ctx); !errors.Is(err, ErrUnknown) || !errors.Is(err, gone) {
		t.Errorf("waited with an ended context: %v", err)
	}
	if _, err := m.j.Append(ctx, 1, []byte("y")); !errors.Is(err, gone) || errors.Is(err, ErrUnknown) {
		t.Errorf("appended with an ended context: %v", err)
	}
	m.j.writeNext()
	if seq, err := tk.Wait(ctx); seq != 1 || err != nil {
		t.Errorf("asked again: %d, %v", seq, err)
	}
	if m.j.writeNext() {
		t.Error("a record was queued that had been refused")
	}
}

func TestWhatIsTooMuchIsRefused(t *testing.T) {
	m := observed(t)
	if _, err := m.j.Submit(1, make([]byte, testPayload+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	var err error
	n := 0
	for ; err == nil && n < 1000; n++ {
		_, err = m.j.Submit(1, make([]byte, testPayload))
	}
	if !errors.Is(err, ErrOverloaded) {
		t.Errorf("%d records in the queue: %v", n, err)
	}
	if err := m.j.Close(); err != nil {
		t.Error(err)
	}
	if err := m.j.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
	if _, err := m.j.Append(t.Context(), 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	for _, cfg := range []Config{
		{},
		{Dir: "x", Now: time.Now, SegmentBytes: 100},
		{Dir: "x", Now: time.Now, MaxPayload: maxRecordPayload + 1},
		{Dir: "x", Now: time.Now, MaxBacklogBytes: 1},
	} {
		if _, err := Open(cfg); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

// Run ends with its context, and what waits is refused, not left waiting.
func TestRunEndsWithItsContext(t *testing.T) {
	m := observed(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tk, err := m.j.Submit(1, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	m.j.Run(ctx)
	if _, err := tk.Wait(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("what waited: %v", err)
	}
	if _, err := m.j.Append(t.Context(), 1, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("what came later: %v", err)
	}
	if err := m.j.Close(); err != nil {
		t.Error(err)
	}
}

// Those who wait together share an fsync.
func TestWaitingRecordsShareAnFsync(t *testing.T) {
	m := observed(t)
	m.submit()
	m.write() // makes the segment
	calls := m.fs.calls
	m.submit()
	m.submit()
	m.submit()
	m.write()
	if got := m.fs.calls - calls; got > 2 && len(m.j.segments) == 1 {
		t.Errorf("%d calls for three records, a write and an fsync are enough", got)
	}
	if n := valueOf(m.t, m.j.metrics.groups); n != 2 {
		t.Errorf("%v groups", n)
	}
	if n := valueOf(m.t, m.j.metrics.backlogRecords); n != 4 {
		t.Errorf("%v records in the backlog", n)
	}
}

// A process reads what it keeps while others append: all that was durable when it began, settled or not, and nothing that is half there.
func TestA3WhatIsKeptCanBeReadWhileItGrows(t *testing.T) {
	j := run(t, Config{Dir: filepath.Join(t.TempDir(), "journal"), SegmentBytes: 8 << 10, MaxPayload: 256})
	stop := make(chan struct{})
	var group sync.WaitGroup
	group.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := j.Append(t.Context(), 1, []byte(fmt.Sprint("beside ", i))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := range 50 {
		payload := fmt.Sprint("mine ", i)
		seq, err := j.Append(t.Context(), 1, []byte(payload))
		if err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			j.Settled(seq)
		}
		if got := replayed(t, j.Journal); got[seq] != payload {
			t.Fatalf("record %d of %d is %q, want %q", seq, len(got), got[seq], payload)
		}
	}
	close(stop)
	group.Wait()
}
