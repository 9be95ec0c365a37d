package settle

import (
	"sync"
	"sync/atomic"
	"time"
)

// Nobody waits for what was acknowledged already. How long that may wait for its transaction:
const (
	// gatherFor, for others to share it with.
	gatherFor = 50 * time.Millisecond
	// yieldFor, while requests come in a burst and have to wait for a processor.
	yieldFor = 10 * time.Second
	// maxYielding bounds the entries of a node that wait so, and with them its memory: about 90 MB.
	maxYielding = 1 << 17
	// burst is the entries in gatherFor from which on it is one.
	burst = 50
)

// next gives the next batch when it is time for it, or nil when nothing is left.
func (q *queue) next() *batch {
	q.gather()
	for q.yields() && q.wait(gatherFor) {
	}
	return q.take()
}

// gather waits for others that may share a batch, where nobody waits for its answer.
func (q *queue) gather() {
	for end := q.settler.now().Add(gatherFor); q.patient(maxBatchEntries); {
		if left := end.Sub(q.settler.now()); left <= 0 || !q.wait(left) {
			return
		}
	}
}

// yields reports whether the processors are better left to those who wait for an answer.
func (q *queue) yields() bool {
	s := q.settler
	return s.busy != nil && q.patient(maxYielding) && s.arrivals.inBurst(s.now()) && s.owed.Load() < maxYielding && s.busy()
}

// patient reports whether all that is in the queue was acknowledged already, not too long ago, and is less than enough.
func (q *queue) patient(enough int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch n := len(q.items); {
	case n == 0 || n >= enough || q.asked || len(q.pieces) > 0 || q.block.IsUrgent():
		return false
	default:
		return q.settler.now().Sub(q.items[0].since) < yieldFor
	}
}

// arrivals tells whether entries that were acknowledged come to the node in a burst. It is safe for concurrent use.
type arrivals struct {
	count atomic.Int64 // ever

	mu     sync.Mutex
	looked time.Time
	before int64 // the count then
	many   bool
}

// inBurst reports whether many came in the latest gatherFor. The first time in a while it can't tell, and then it may be one.
func (a *arrivals) inBurst(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if passed := now.Sub(a.looked); passed >= gatherFor {
		count := a.count.Load()
		a.many = passed > 4*gatherFor || float64(count-a.before) >= burst*(float64(passed)/float64(gatherFor))
		a.looked, a.before = now, count
	}
	return a.many
}

// wait pauses for a while, or until there is a reason to look again. It gives false when the Settler stops.
func (q *queue) wait(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-q.hurry:
	case <-timer.C:
	case <-q.settler.draining:
		return false
	}
	return true
}

// Pace is about how many transactions a second a node settles the entries of one offer in, when rate of them come in, over so many
// lanes, and a commit takes commit. acknowledged: they gather first.
//
// An entry opens a batch if it finds a lane with nothing pending, and shares one if there is none: as calls find lines free or busy.
// So the part that shares is Erlang's.
func Pace(rate float64, lanes int, acknowledged bool, commit time.Duration) float64 {
	window := commit
	if acknowledged {
		window += gatherFor
	}
	load, sharing := rate*window.Seconds(), 1.0
	for lane := range lanes {
		sharing = load * sharing / (float64(lane+1) + load*sharing)
	}
	return max(rate*(1-sharing), rate/maxBatchEntries)
}

// Delay is the longest that an entry is pending while settling keeps up: it gathers, waits for the batch before its own, and for that.
func Delay(acknowledged bool, commit time.Duration) time.Duration {
	if acknowledged {
		return gatherFor + 2*commit
	}
	return 2 * commit
}
