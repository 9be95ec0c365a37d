package settle

import (
	"sync"
	"sync/atomic"
	"time"

	"tranche/models"
)

// Nobody waits for what was acknowledged already. How long that may wait for its transaction:
const (
	// gatherFor, for others to share it with.
	gatherFor = 50 * time.Millisecond
	// yieldFor, while requests come in a burst and have to wait for a processor. What lasts longer is no burst, and has to be kept up with.
	yieldFor = 10 * time.Second
	// calmFor is how long there must have been no burst before the next one is another one.
	calmFor = time.Second
	// maxYielding bounds the entries of a node that wait so, and with them its memory: about 1.5 kB each, with what garbage collection lets lie.
	maxYielding = 1 << 18
	// manyArrivals is how many entries in gatherFor make a burst.
	manyArrivals = 50
)

// next gives the next batch when it is time for it, or nil when nothing is left.
func (q *queue) next() *batch {
	q.gather()
	for q.yields() && q.wait(gatherFor) {
	}
	hasTurn := q.takeTurn()
	b := q.take()
	switch {
	case b != nil:
		b.hasTurn = hasTurn
	case hasTurn:
		q.settler.bookings.end()
	}
	return b
}

// takeTurn waits for a turn while nobody waits for an answer. After a burst there may be hundreds of queues with a long backlog each.
func (q *queue) takeTurn() bool {
	for q.isUnattended() {
		select {
		case q.settler.bookings <- struct{}{}:
			return true
		case <-q.hurry:
		case <-q.settler.stop.Done():
			return false
		}
	}
	return false
}

// isUnattended reports whether nobody waits for what is next.
func (q *queue) isUnattended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.unattended()
}

// gather waits for others that may share a batch, where nobody waits for its answer.
func (q *queue) gather() {
	for end := q.settler.now().Add(gatherFor); q.mayGather(); {
		if left := end.Sub(q.settler.now()); left <= 0 || !q.wait(left) {
			return
		}
	}
}

// yields reports whether the processors are better left to those who wait for an answer.
func (q *queue) yields() bool { return q.mayYield() && q.settler.shouldYield() }

// mayYield reports whether nobody can miss soon what is in the queue: not where refunds come to a pool, or requests in another mode than
// fast.
func (q *queue) mayYield() bool {
	if q.block.Kind != models.KindBlock || q.block.Mode != models.ModeFast {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.patient(maxYielding) && len(q.wanted)+len(q.apart) == 0
}

// mayGather reports whether nobody waits for a batch, and there is room for others in it.
func (q *queue) mayGather() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.patient(maxBatchEntries)
}

// patient reports whether all that came in was acknowledged already, and is less than enough. mu is held.
func (q *queue) patient(enough int) bool {
	return q.unattended() && len(q.wanted)+len(q.items) < enough && !q.block.IsHurried()
}

// unattended reports whether all that came in was acknowledged already. mu is held.
func (q *queue) unattended() bool {
	return len(q.wanted)+len(q.items) > 0 && q.waiting == 0 && len(q.pieces) == 0
}

// shouldYield reports whether requests come in a burst and need the processors.
func (s *Settler) shouldYield() bool {
	return s.busy != nil && s.owed.Load() < maxYielding && s.burst.lasts(s.now(), s.busy())
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

// A burst is when many entries come to a node that were acknowledged, and its processors are busy. It is safe for concurrent use.
type burst struct {
	arrived atomic.Int64 // entries, ever

	mu     sync.Mutex
	looked time.Time
	before int64 // arrived then
	on     bool
	since  time.Time     // when the latest one was first seen
	calm   time.Duration // since it was last seen, as far as looks could tell
}

// lasts reports whether there is a burst, and has not been for long. It looks at most once in gatherFor.
func (b *burst) lasts(now time.Time, busy bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	passed := now.Sub(b.looked)
	if passed >= gatherFor {
		arrived := b.arrived.Load()
		many := float64(arrived-b.before) >= manyArrivals*(float64(passed)/float64(gatherFor))
		b.looked, b.before = now, arrived
		b.look(now, passed, many, busy)
	}
	return b.on && now.Sub(b.since) < yieldFor
}

// look judges the time that has passed since the last one. Where that is long, because a transaction took long, nobody knows whether the
// processors were busy all the time; but if many came, it was not calm.
func (b *burst) look(now time.Time, passed time.Duration, many, busy bool) {
	switch b.on = many && busy; {
	case many && passed > 4*gatherFor:
		b.calm = 0
	case !b.on:
		b.calm += passed
	}
	if b.on {
		if b.since.IsZero() || b.calm >= calmFor {
			b.since = now
		}
		b.calm = 0
	}
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
