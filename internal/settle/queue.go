package settle

import (
	"slices"
	"sync"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// Limits of a queue.
const (
	maxQueued = 16384           // entries that are not acknowledged, per lease
	maxPieces = 64              // that a batch is taken apart into
	apartFor  = 5 * time.Second // as long as the database lets a client that has stopped hold its locks
)

// queue is the wanted entries of one lease. Its goroutine runs while there are any.
type queue struct {
	settler  *Settler
	block    *lease.Block
	settled  int64       // the number of the last batch. This and backoff belong to the goroutine that runs
	backoff  run.Backoff // between attempts that decide nothing
	troubled bool        // the last such attempt was logged

	hurry chan struct{} // has something when gathering may be over

	mu      sync.Mutex
	offer   *models.Offer // the newest that a requester knew
	pieces  [][]*item     // of batches that met a lock, to be run first
	wanted  []*item       // of whom somebody waits for an answer, or will soon
	items   []*item       // all others. Both are in order of arrival
	apart   []*item       // of parties that were alone with a lock, or shared a piece with one; run when there is nothing else
	locked  map[string]bool
	until   time.Time // when locked and apart end
	waiting int       // of wanted, those that are not acknowledged
	running bool
}

func newQueue(s *Settler, block *lease.Block, settled int64) *queue {
	return &queue{settler: s, block: block, settled: settled, backoff: newBackoff(), hurry: make(chan struct{}, 1), locked: map[string]bool{}}
}

// newBackoff is short at first, because most commits without a reply are found by the next attempt.
func newBackoff() run.Backoff { return run.Backoff{Min: 20 * time.Millisecond, Max: time.Second} }

// add appends an item unless the queue is full.
func (q *queue) add(it *item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.waiting+len(q.apart) >= maxQueued:
		return models.ErrOverloaded
	case spent(&it.Entry) == 0 && q.block.Sealed(): // what gives units back must not find its pool closed; there will be another
		return models.ErrLeaseClosed
	}
	return q.push(it)
}

// append adds an item that is not refused.
func (q *queue) append(it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_ = q.push(it) // while the Settler stops, the journal keeps it
}

// push adds an item and sees to it that the queue runs. mu is held.
func (q *queue) push(it *item) error {
	if !q.running {
		if !q.settler.start() {
			return models.ErrDraining
		}
		q.running = true
		go q.run()
	}
	if q.offer == nil || q.offer.Version <= it.Offer.Version {
		q.offer = it.Offer
	}
	if it.isWanted() {
		q.wanted = append(q.wanted, it)
	} else {
		q.items = append(q.items, it)
	}
	q.count(it, 1)
	if !it.acknowledged || len(q.items) == maxBatchEntries {
		select {
		case q.hurry <- struct{}{}:
		default:
		}
	}
	return nil
}

// run settles batch after batch until nothing is left, or the Settler stops.
func (q *queue) run() {
	defer q.settler.running.Done()
	for b := q.next(); b != nil; b = q.next() {
		well := q.settle(b)
		if well {
			q.backoff, q.troubled = newBackoff(), false
		}
		if q.settler.stop.Err() != nil || !well && !q.backoff.Wait(q.settler.stop) {
			q.end()
			return
		}
	}
}

// end refuses everything in the queue: the Settler stops. What was acknowledged stays in the journal.
func (q *queue) end() {
	q.mu.Lock()
	left := slices.Concat(append(q.pieces, q.wanted, q.items, q.apart)...)
	q.pieces, q.wanted, q.items, q.apart, q.waiting, q.running = nil, nil, nil, nil, 0, false
	q.mu.Unlock()
	for _, it := range left {
		if !it.acknowledged && it.state.CompareAndSwap(queued, withdrawn) {
			it.resolve(models.Verdict{Err: models.ErrDraining})
		}
	}
}

// take claims the next batch. It gives nil when nothing is left, and the goroutine is to end.
func (q *queue) take() *batch {
	b := q.claim()
	for _, it := range b.late {
		it.resolve(models.Verdict{Err: models.ErrLedgerUnavailable})
	}
	if len(b.items) == 0 {
		return nil
	}
	return b
}

// claim makes up the next batch: a piece of one that met a lock, or of what came in, or a party that was set apart.
func (q *queue) claim() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	b := &batch{offer: q.offer, now: q.settler.now()}
	q.rejoin(b.now)
	for len(b.items) == 0 && q.running {
		switch b.isPiece = len(q.pieces) > 0; {
		case b.isPiece:
			b.claim(q.pieces[0])
			q.pieces = q.pieces[1:]
		case len(q.wanted)+len(q.items) > 0:
			q.wanted = q.claimItems(b, q.wanted)
			q.items = q.claimItems(b, q.items)
		case len(q.apart) > 0:
			q.apart = q.claimParty(b)
		default:
			q.wanted, q.items, q.running = nil, nil, false
		}
	}
	return b
}

// claimItems claims items, but for parties that are locked, which it sets apart. It gives what there was no room for.
func (q *queue) claimItems(b *batch, items []*item) (rest []*item) {
	for i, it := range items {
		if b.full(it) {
			clear(items[:i]) // the backlog behind them must not keep them in memory
			return items[i:]
		}
		q.count(it, -1)
		switch {
		case len(q.locked) > 0 && q.locked[it.party(q.offer)]:
			q.apart = append(q.apart, it)
		default:
			b.claim([]*item{it})
		}
	}
	return nil
}

// claimParty claims the oldest party of those set apart. It gives the others.
func (q *queue) claimParty(b *batch) (rest []*item) {
	party := q.apart[0].party(q.offer)
	for _, it := range q.apart {
		if it.party(q.offer) == party && !b.full(it) {
			b.claim([]*item{it})
		} else {
			rest = append(rest, it)
		}
	}
	return rest
}

// rejoin ends what was set apart when its time has come.
func (q *queue) rejoin(now time.Time) {
	if now.Before(q.until) {
		return
	}
	q.putBack(q.apart)
	q.apart = nil
	clear(q.locked)
}

// requeue puts items back in front: nothing was decided about them.
func (q *queue) requeue(items []*item) {
	release(items)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.putBack(items)
}

// putBack puts items in front. mu is held.
func (q *queue) putBack(items []*item) {
	if len(items) == 0 { // as nearly always, and behind may be a long backlog
		return
	}
	var wanted, others []*item
	for _, it := range items {
		if it.isWanted() {
			wanted = append(wanted, it)
		} else {
			others = append(others, it)
		}
		q.count(it, 1)
	}
	q.wanted, q.items = append(wanted, q.wanted...), append(others, q.items...)
}

// count notes that an item has come to wanted or items, or with -1 that it has left them. mu is held.
func (q *queue) count(it *item, n int) {
	if !it.acknowledged {
		q.waiting += n
	}
}

// divide takes a batch apart that met a lock. It gives false when what is left of it should wait.
func (q *queue) divide(b *batch, busy error) bool {
	parties := b.parties()
	if len(parties) == 1 {
		q.lock(b.items[0].party(b.offer))
		return q.refuse(b.items, busy)
	}
	release(b.items)
	q.mu.Lock()
	defer q.mu.Unlock()
	if b.isPiece {
		q.apart = append(q.apart, b.items...)
		q.until = q.settler.now().Add(apartFor)
		return true
	}
	for some := range slices.Chunk(parties, (len(parties)+maxPieces-1)/maxPieces) {
		q.pieces = append(q.pieces, slices.Concat(some...))
	}
	return true
}

// lock remembers that a party was alone with a lock.
func (q *queue) lock(party string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.locked[party] = true
	q.until = q.settler.now().Add(apartFor)
}
