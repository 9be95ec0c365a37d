package settle

import (
	"errors"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

const (
	// maxQueued is how many entries of one lease may be waited for at once.
	maxQueued = 16384
	// gatherFor is how long entries that nobody waits for gather, so that more of them share a transaction.
	gatherFor = 50 * time.Millisecond
)

// queue is the submissions on one lease. It is there, and its goroutine runs, while there are any.
type queue struct {
	settler *Settler
	block   *lease.Block
	backoff run.Backoff   // between attempts that decide nothing. This and trouble belong to the goroutine
	trouble run.Trouble   // of booking what was acknowledged
	wake    chan struct{} // has something when gathering may be over

	// The settler's mu guards what follows.
	offer    *models.Offer // the newest that a requester knew
	requests []*submission // somebody waits for them. Like owed, in order of arrival
	owed     []*submission // they were acknowledged
	stuck    stuck
}

// submit puts a submission into the queue of its lease.
func (s *Settler) submit(sub *submission) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	q, runs := s.queues[sub.Block]
	switch {
	case !runs && s.stopping:
		return models.ErrDraining
	case spent(&sub.Entry) == 0 && sub.Block.Sealed(): // what gives units back must not find its pool closed; there will be another
		return models.ErrLeaseClosed
	case !runs:
		q = &queue{settler: s, block: sub.Block, backoff: newBackoff(), wake: make(chan struct{}, 1)}
		s.queues[sub.Block] = q
		s.running.Go(q.run)
	case !sub.acknowledged && len(q.requests)+len(q.stuck.apart) >= maxQueued:
		return models.ErrOverloaded
	}
	q.add(sub)
	return nil
}

// add appends a submission. The settler's mu is held.
func (q *queue) add(sub *submission) {
	if q.offer == nil || q.offer.Version <= sub.Offer.Version {
		q.offer = sub.Offer
	}
	if sub.acknowledged {
		q.owed = append(q.owed, sub)
	} else {
		q.requests = append(q.requests, sub)
	}
	if !sub.acknowledged || len(q.owed) == maxBatchEntries {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
}

// run settles batch after batch until nothing is left, or the Settler stops.
func (q *queue) run() {
	for b := q.next(); b != nil; b = q.next() {
		well := q.process(b)
		if well {
			q.backoff = newBackoff()
			q.trouble.Begins(nil)
		}
		if q.settler.stop.Err() != nil || !well && !q.backoff.Wait(q.settler.stop) {
			break
		}
	}
	if q.settler.stop.Err() != nil {
		q.end()
	}
}

// next gives the next batch when it is time for it, or nil when nothing is left.
func (q *queue) next() *batch {
	for {
		q.look()
		q.gather()
		hasTurn := q.takeTurn()
		b := q.take()
		switch {
		case b != nil:
			b.hasTurn = hasTurn
			return b
		case hasTurn:
			q.settler.unattended.End()
		}
		if !q.awaitLook() {
			return nil
		}
	}
}

// gather waits for more entries that may share a batch, until it is full or somebody waits.
func (q *queue) gather() {
	var over <-chan time.Time
	for owed := q.unattended(); owed > 0 && owed < maxBatchEntries; owed = q.unattended() {
		if over == nil {
			over = time.After(gatherFor)
		}
		select {
		case <-q.wake:
		case <-over:
			return
		case <-q.settler.draining:
			return
		}
	}
}

// takeTurn waits for a turn while nobody waits for an answer. It reports whether it has taken one.
func (q *queue) takeTurn() bool {
	for q.unattended() > 0 && q.settler.stop.Err() == nil {
		if q.settler.unattended.TakeUnless(q.settler.stop, q.wake) {
			return true
		}
	}
	return false
}

// unattended is how many entries are owed, if nobody waits for an entry of the next batch; else 0.
func (q *queue) unattended() int {
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	if len(q.requests) > 0 || len(q.stuck.pieces) > 0 {
		return 0
	}
	return len(q.owed)
}

// take claims the next batch. It gives nil when nothing is left: then the queue is gone.
func (q *queue) take() *batch {
	b := q.claim()
	for _, sub := range b.late {
		sub.resolve(models.Verdict{Err: sub.undecided()})
	}
	if len(b.items) == 0 {
		return nil
	}
	return b
}

// claim makes up the next batch: a piece of one that met a lock, a party that was set apart, or what came in, requests first. It is empty
// while all there is waits apart.
func (q *queue) claim() *batch {
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	b := &batch{offer: q.offer, now: q.settler.now()}
	for len(b.items) == 0 {
		idle := len(q.requests)+len(q.owed) == 0
		switch {
		case q.stuck.claim(b, idle, q.settler.blind.Load()):
		case !idle:
			q.requests = q.claimFrom(q.requests, b)
			q.owed = q.claimFrom(q.owed, b)
		case len(q.stuck.apart) > 0:
			return b
		default:
			delete(q.settler.queues, q.block)
			return b
		}
	}
	return b
}

// claimFrom claims submissions, but for those of locked parties, which it sets apart. It gives what there was no room for.
func (q *queue) claimFrom(subs []*submission, b *batch) (rest []*submission) {
	for i, sub := range subs {
		if b.full(sub) {
			clear(subs[:i]) // a long backlog behind them must not keep them in memory
			return subs[i:]
		}
		if until := q.settler.lockedUntil(sub, q.offer, b.now); !until.IsZero() {
			q.stuck.add(sub)
			if q.settler.blind.Load() && until.After(q.stuck.next) {
				q.stuck.next = until
			}
		} else {
			b.claim(sub)
		}
	}
	return nil
}

// requeue puts submissions back in front: nothing was decided about them.
func (q *queue) requeue(subs []*submission) {
	release(subs)
	q.putInFront(subs)
}

// putInFront puts submissions that are queued in front of the others.
func (q *queue) putInFront(subs []*submission) {
	if len(subs) == 0 { // as nearly always, and behind may be a long backlog
		return
	}
	var requests, owed []*submission
	for _, sub := range subs {
		if sub.acknowledged {
			owed = append(owed, sub)
		} else {
			requests = append(requests, sub)
		}
	}
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	q.requests, q.owed = append(requests, q.requests...), append(owed, q.owed...)
}

// end refuses everything in the queue: the Settler stops. Acknowledged entries stay in the journal.
func (q *queue) end() {
	q.settler.mu.Lock()
	left := slices.Concat(append(q.stuck.pieces, q.requests, q.stuck.apart)...)
	delete(q.settler.queues, q.block)
	q.settler.mu.Unlock()
	for _, sub := range left {
		if !sub.acknowledged && sub.state.CompareAndSwap(queued, withdrawn) {
			sub.resolve(models.Verdict{Err: models.ErrDraining})
		}
	}
}

// report logs once that acknowledged entries can't be booked. An outage is for the store to report.
func (q *queue) report(err error, owed int) {
	if !errors.Is(err, models.ErrLedgerUnavailable) && q.trouble.Begins(err) {
		q.settler.logger.Warn().Err(err).Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).
			Int("entries", owed).Msg("acknowledged entries not booked yet, trying on")
	}
}
