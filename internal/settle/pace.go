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
	// yieldFor, while requests come in a burst and have to wait for a processor. What lasts longer is no burst, and has to be kept up with.
	yieldFor = 10 * time.Second
	// calmFor is how long there must have been no burst before the next one is another one.
	calmFor = time.Second
	// maxYielding bounds the entries of a node that wait so, and with them its memory: they take about 1 kB each.
	maxYielding = 1 << 17
	// manyArrivals is how many entries in gatherFor make a burst.
	manyArrivals = 50
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
func (q *queue) yields() bool { return q.patient(maxYielding) && q.settler.yields() }

func (s *Settler) yields() bool {
	now := s.now()
	return s.burst.isOn(now) && s.busy != nil && s.busy() && s.burst.isNew(now) && s.owed.Load() < maxYielding
}

// patient reports whether all that is in the queue was acknowledged already, and is less than enough.
func (q *queue) patient(enough int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := len(q.items)
	return n > 0 && n < enough && !q.asked && len(q.pieces) == 0 && !q.block.IsUrgent()
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

// A burst is when many entries come to a node that were acknowledged. It is safe for concurrent use.
type burst struct {
	arrived atomic.Int64 // entries, ever

	mu     sync.Mutex
	looked time.Time
	before int64 // arrived then
	many   bool
	since  time.Time // when the latest one began to be felt
	felt   time.Time // when it was felt last
}

// isOn reports whether many came in the latest gatherFor. The first time in a while it can't tell, and then it may be so.
func (b *burst) isOn(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.looked); passed >= gatherFor {
		arrived := b.arrived.Load()
		b.many = passed > 4*gatherFor || float64(arrived-b.before) >= manyArrivals*(float64(passed)/float64(gatherFor))
		b.looked, b.before = now, arrived
	}
	return b.many
}

// isNew notes that the burst is felt, and reports whether that has not been so for long.
func (b *burst) isNew(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Sub(b.felt) > calmFor {
		b.since = now
	}
	b.felt = now
	return now.Sub(b.since) < yieldFor
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
