package run

import (
	"runtime/metrics"
	"sync"
	"time"
)

// Contention tells whether this process has more to do than its processors can. It is safe for concurrent use.
//
// The Go runtime keeps a histogram of how long goroutines that could run waited for their turn. A look at it takes microseconds.
type Contention struct {
	now func() time.Time

	mu     sync.Mutex
	sample []metrics.Sample
	last   []uint64 // the histogram's counts when it was last looked at
	looked time.Time
	busy   bool
}

const (
	// lookEvery is for how long an answer is good, and over how long at least the next one goes.
	lookEvery = 40 * time.Millisecond
	// forgetAfter is how long nobody may have asked: what was before says nothing about now.
	forgetAfter = time.Second
	// longWait is what one of ten goroutines waits for at least, where processors are short. On machines with time to spare it was well
	// below a quarter of a millisecond, and above one where all are busy, slow machines and fast ones.
	longWait = 300 * time.Microsecond
	// leastSeen is how many waits are too few to tell anything; the runtime notes one of eight.
	leastSeen = 10
)

// NewContention makes one that goes by a clock with a monotonic reading.
func NewContention(now func() time.Time) *Contention {
	return &Contention{now: now, sample: []metrics.Sample{{Name: "/sched/latencies:seconds"}}}
}

// Busy reports whether goroutines had to wait for a processor lately.
func (c *Contention) Busy() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if since := now.Sub(c.looked); since >= lookEvery {
		c.looked = now
		metrics.Read(c.sample)
		if c.sample[0].Value.Kind() == metrics.KindFloat64Histogram { // else this runtime does not tell
			c.busy = c.look(c.sample[0].Value.Float64Histogram()) && since < forgetAfter
		}
	}
	return c.busy
}

// look judges what has come to the histogram since it was last looked at.
func (c *Contention) look(h *metrics.Float64Histogram) bool {
	var all, long uint64
	for i, count := range h.Counts {
		if i < len(c.last) {
			count -= c.last[i]
		}
		all += count
		if h.Buckets[i] >= longWait.Seconds() {
			long += count
		}
	}
	c.last = append(c.last[:0], h.Counts...)
	return all >= leastSeen && long*10 >= all
}
