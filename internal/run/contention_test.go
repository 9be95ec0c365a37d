package run

import (
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestContentionGoesByWhatCameLately(t *testing.T) {
	c := NewContention(time.Now)
	h := &metrics.Float64Histogram{Buckets: []float64{0, 0.0001, 0.001, 1}, Counts: []uint64{0, 0, 0}}
	for _, step := range []struct {
		counts []uint64
		busy   bool
		why    string
	}{
		{[]uint64{0, 0, 9}, false, "too few to tell"},
		{[]uint64{90, 9, 9}, false, "none of these waited long"},
		{[]uint64{180, 9, 19}, true, "one of ten did"},
		{[]uint64{290, 9, 21}, false, "two of a hundred did"},
	} {
		h.Counts = step.counts
		if got := c.look(h); got != step.busy {
			t.Errorf("%v: busy %v, though %s", step.counts, got, step.why)
		}
	}
}

// More goroutines than processors, all of which have something to do, wait for each other.
func TestContentionSeesCrowds(t *testing.T) {
	now := time.Now()
	c := NewContention(func() time.Time { return now })
	var stop atomic.Bool
	var crowd sync.WaitGroup
	for range 16 * runtime.GOMAXPROCS(0) {
		crowd.Go(func() {
			for !stop.Load() {
				for start := time.Now(); time.Since(start) < 100*time.Microsecond; {
				}
				runtime.Gosched()
			}
		})
	}
	defer crowd.Wait()
	defer stop.Store(true)
	crowded := func() { // until there is enough to see
		for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
			runtime.Gosched()
		}
	}
	for i := 0; ; i++ {
		crowded()
		now = now.Add(lookEvery)
		if c.Busy() {
			break
		}
		if i == 100 {
			t.Fatal("nobody seems to wait for a processor")
		}
	}
	crowded()
	now = now.Add(forgetAfter)
	if c.Busy() {
		t.Error("what was before nobody asked for a while is told as if it were now")
	}
}
