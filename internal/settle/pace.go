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
	// yieldFor, while requests come in a burst and have to wait for a processor. What lasts longer is settled meanwhile, batch after batch.
	yieldFor = 10 * time.Second
	// maxYielding bounds the entries of a node that wait so, and with them its memory: about 1 kB each, with what garbage collection lets lie.
	maxYielding = 1 << 19
	// manyArrivals is how many entries in gatherFor make a burst.
	manyArrivals = 50
	// busyFor is how long processors count as short after they were seen to be: when settling yields, they are so less often.
	busyFor = 2 * time.Second
	// calmFor is how long there must have been no burst before the next one is another one.
	calmFor = time.Second
)

// next gives the next batch when it is time for it, or nil when nothing is left.
func (q *queue) next() *batch {
	q.gather()
	for q.yields() && q.wait(gatherFor) {
	}
	turn := q.takeTurn()
	b := q.take()
	if b == nil {
		turn.end()
		return nil
	}
	b.turn = turn
	return b
}

// takeTurn waits for a turn while nobody waits for an answer. It gives which of the turns it has taken, or nil. After a burst there may be
// hundreds of queues with a long backlog each, and while it lasts, they take their turns one by one.
func (q *queue) takeTurn() turns {
	for {
		unattended, patient := q.outlook()
		if !unattended {
			return nil
		}
		of, again := q.settler.bookings, (<-chan time.Time)(nil)
		if patient && q.settler.inBurst() {
			of, again = q.settler.backlogs, time.After(gatherFor)
		}
		select {
		case of <- struct{}{}:
			return of
		case <-again: // it may be over
		case <-q.hurry:
		case <-q.settler.stop.Done():
			return nil
		}
	}
}

// outlook reports whether nobody waits for what is next; and if so, whether that is a whole batch, which may as well wait on.
func (q *queue) outlook() (unattended, patient bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	unattended = q.unattended()
	return unattended, unattended && len(q.wanted) == 0 && len(q.items) >= maxBatchEntries && !q.block.IsHurried()
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
func (q *queue) yields() bool {
	return q.mayYield() && q.settler.inBurst() && q.settler.burst.isNew(q.settler.now())
}

// mayYield reports whether nobody can miss soon what is in the queue: not where refunds come to a pool, or requests in another mode than
// fast.
func (q *queue) mayYield() bool {
	if q.block.Kind != models.KindBlock || q.block.Mode != models.ModeFast {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.patient() && len(q.wanted)+len(q.apart) == 0
}

// mayGather reports whether nobody waits for a batch, and there is room for others in it.
func (q *queue) mayGather() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.patient() && len(q.wanted)+len(q.items) < maxBatchEntries
}

// patient reports whether all that came in was acknowledged already, and nobody waits for the lease. mu is held.
func (q *queue) patient() bool { return q.unattended() && !q.block.IsHurried() }

// unattended reports whether all that came in was acknowledged already. mu is held.
func (q *queue) unattended() bool {
	return len(q.wanted)+len(q.items) > 0 && q.waiting == 0 && len(q.pieces) == 0
}

// inBurst reports whether requests come in a burst and need the processors more than what the node owes by now.
func (s *Settler) inBurst() bool {
	return s.busy != nil && s.owed.Load() < maxYielding && s.burst.isOn(s.now(), s.busy)
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

// A burst is when many entries come to a node that were acknowledged, and its processors are short. It is safe for concurrent use.
type burst struct {
	arrived atomic.Int64 // entries, ever

	mu     sync.Mutex
	looked time.Time
	before int64     // arrived then
	busy   time.Time // when processors were last seen to be short
	on     bool
	since  time.Time     // when the latest one began
	calm   time.Duration // since it was last seen, as far as looks could tell
}

// isOn reports whether there is a burst. It looks at most once in gatherFor.
func (b *burst) isOn(now time.Time, busy func() bool) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if passed := now.Sub(b.looked); passed >= gatherFor {
		arrived := b.arrived.Load()
		many := float64(arrived-b.before) >= manyArrivals*(float64(passed)/float64(gatherFor))
		b.looked, b.before = now, arrived
		b.look(now, passed, many, busy())
	}
	return b.on
}

// isNew reports whether the latest burst began less than yieldFor ago.
func (b *burst) isNew(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return now.Sub(b.since) < yieldFor
}

// look judges the time that has passed since the last one. Where that is long, because a transaction took long, nobody knows whether the
// processors were short all the time; but if many came, it was not calm.
func (b *burst) look(now time.Time, passed time.Duration, many, busy bool) {
	if busy {
		b.busy = now
	}
	b.on = many && now.Sub(b.busy) < busyFor
	switch {
	case b.on && (b.since.IsZero() || b.calm >= calmFor):
		b.since, b.calm = now, 0
	case b.on, many && passed > 4*gatherFor:
		b.calm = 0
	default:
		b.calm += passed
	}
}

// Pace is about how many transactions a second a node settles the entries of one offer in, when rate of them come in, and a commit
// takes commit. acknowledged: they gather first. An entry opens a batch if it finds nothing pending, and shares one if not.
func Pace(rate float64, acknowledged bool, commit time.Duration) float64 {
	window := commit
	if acknowledged {
		window += gatherFor
	}
	return max(rate/(1+rate*window.Seconds()), rate/maxBatchEntries)
}

// Delay is the longest that an entry is pending while settling keeps up: it gathers, waits for the batch before its own, and for that.
func Delay(acknowledged bool, commit time.Duration) time.Duration {
	if acknowledged {
		return gatherFor + 2*commit
	}
	return 2 * commit
}
