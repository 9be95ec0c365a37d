package settle

import (
	"context"
	"errors"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

const (
	maxPieces = 64              // that a batch is taken apart into
	apartFor  = 5 * time.Second // as long as the database lets a client that has stopped keep its locks
	// askEvery is how often the ledger is asked whether those apart are still locked, and askWithin how long it has for that.
	askEvery  = 100 * time.Millisecond
	askWithin = 500 * time.Millisecond
	// lockedFor is how long a party that was locked is taken for locked before it is looked at again.
	lockedFor = time.Minute
)

// stuck is the submissions of one queue that met a lock: the row of a user, or of a redemption, is locked by a client that may have
// stopped. The settler's mu guards it.
//
// After a lock wait the ledger is asked whose rows are locked. Those are set apart, the others run again at once. Each askEvery the ledger
// is asked again, and those that are free go back into the queue; those whose time ends are refused. Entries of a locked party that come
// meanwhile are set apart at once, on any queue.
//
// A ledger that can't tell makes the batch run again in pieces. A piece that meets the lock again is set apart, party by party. A party
// that is alone with the lock is refused. Those apart run when nothing else is to do, or apartFor after the last lock.
type stuck struct {
	pieces [][]*submission
	apart  []*submission
	next   time.Time // when those apart are looked at, or where the ledger can't tell, run
}

// party is what a submission may have to wait for a lock on: the counters of its user, or if nobody counts, its redemption.
type party struct{ offerID, name string }

func partyOf(e *models.Entry, offer *models.Offer) party {
	if offer.LimitsUsers() && e.UserID != "" {
		return party{offer.ID, e.UserID}
	}
	return party{offer.ID, string(e.Redemption[:])}
}

// add sets a submission apart.
func (st *stuck) add(sub *submission) {
	sub.metLock.Store(true)
	st.apart = append(st.apart, sub)
}

// parties groups the submissions of a batch.
func (b *batch) parties() (parties [][]*submission) {
	index := map[party]int{}
	for _, sub := range b.items {
		p := partyOf(&sub.Entry, b.offer)
		i, known := index[p]
		if !known {
			i = len(parties)
			index[p] = i
			parties = append(parties, nil)
		}
		parties[i] = append(parties[i], sub)
	}
	return parties
}

// claim claims what is to run before all that came in. It gives false if there is nothing. idle: nothing came in.
func (st *stuck) claim(b *batch, idle, blind bool) bool {
	b.isPiece = len(st.pieces) > 0
	switch {
	case b.isPiece:
		b.claim(st.pieces[0]...)
		st.pieces = st.pieces[1:]
	case blind && len(st.apart) > 0 && (idle || !b.now.Before(st.next)):
		st.claimParty(b)
	default:
		return false
	}
	return true
}

// claimParty claims the oldest party of those set apart.
func (st *stuck) claimParty(b *batch) {
	oldest := partyOf(&st.apart[0].Entry, b.offer)
	var rest []*submission
	for _, sub := range st.apart {
		if partyOf(&sub.Entry, b.offer) == oldest && !b.full(sub) {
			b.claim(sub)
		} else {
			rest = append(rest, sub)
		}
	}
	st.apart = rest
}

// divide takes a batch apart that met a lock. It gives false when what is left of it should wait.
func (q *queue) divide(b *batch, busy error) bool {
	locked, free, _ := q.tellApart(b.offer, b.items)
	if len(locked) > 0 {
		q.settler.logger.Warn().Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).Int("locked", len(locked)).
			Int("others", len(free)).Msg("another client keeps rows locked; the entries that need them wait, the others go on")
		release(b.items)
		q.setApart(locked)
		q.putInFront(free)
		return true
	}
	parties := b.parties()
	if len(parties) == 1 {
		q.lockBlindly(b)
		return q.refuse(b.items, busy)
	}
	release(b.items)
	if b.isPiece {
		q.setApart(b.items)
		return true
	}
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	for some := range slices.Chunk(parties, (len(parties)+maxPieces-1)/maxPieces) {
		q.stuck.pieces = append(q.stuck.pieces, slices.Concat(some...))
	}
	return true
}

// tellApart asks the ledger which submissions are locked, and remembers their parties. After an error none is known to be.
func (q *queue) tellApart(offer *models.Offer, subs []*submission) (locked, free []*submission, err error) {
	if q.settler.blind.Load() {
		return nil, subs, errors.ErrUnsupported
	}
	wanted := make([]models.Wanted, len(subs))
	for i, sub := range subs {
		wanted[i] = models.Wanted{Entry: sub.Entry}
	}
	ctx, cancel := context.WithTimeout(q.settler.stop, askWithin)
	defer cancel()
	is, err := q.settler.ledger.Locked(ctx, models.Batch{Offer: offer, LeaseID: q.block.LeaseID, Wanted: wanted})
	if err != nil {
		q.settler.blind.Store(errors.Is(err, errors.ErrUnsupported))
		return nil, subs, err
	}
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	until := q.settler.now().Add(lockedFor)
	for i, sub := range subs {
		if is[i] {
			locked = append(locked, sub)
			q.settler.lock(partyOf(&sub.Entry, offer), until)
		} else {
			free = append(free, sub)
		}
	}
	return locked, free, nil
}

// lockBlindly remembers the only party of a batch that met a lock, where the ledger can't tell.
func (q *queue) lockBlindly(b *batch) {
	if q.settler.blind.Load() {
		q.settler.mu.Lock()
		defer q.settler.mu.Unlock()
		q.stuck.next = b.now.Add(apartFor)
		q.settler.lock(partyOf(&b.items[0].Entry, b.offer), q.settler.now().Add(apartFor))
	}
}

// setApart keeps submissions that are locked until the next look.
func (q *queue) setApart(subs []*submission) {
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	for _, sub := range subs {
		q.stuck.add(sub)
	}
	wait := askEvery
	if q.settler.blind.Load() {
		wait = apartFor
	}
	q.stuck.next = q.settler.now().Add(wait)
}

// look looks at those apart when it is time. Those that are free go back, in front; those whose time ends are refused.
func (q *queue) look() {
	apart, offer, now := q.takeApart()
	if len(apart) == 0 {
		return
	}
	waits := apart[:0]
	for _, sub := range apart {
		switch {
		case sub.late(now) && sub.state.CompareAndSwap(queued, withdrawn):
			sub.resolve(models.Verdict{Err: sub.undecided()})
		case sub.state.Load() == queued:
			waits = append(waits, sub)
		}
	}
	locked, free, err := q.tellApart(offer, waits)
	if err != nil {
		locked, free = waits, nil
	}
	if len(locked) > 0 {
		q.setApart(locked)
	}
	q.settler.mu.Lock()
	for _, sub := range free {
		delete(q.settler.locked, partyOf(&sub.Entry, offer))
	}
	q.settler.mu.Unlock()
	q.putInFront(free)
}

// takeApart takes those that are apart when it is time to look at them.
func (q *queue) takeApart() (apart []*submission, offer *models.Offer, now time.Time) {
	q.settler.mu.Lock()
	defer q.settler.mu.Unlock()
	now = q.settler.now()
	if !q.settler.blind.Load() && !now.Before(q.stuck.next) {
		apart, q.stuck.apart = q.stuck.apart, nil
	}
	return apart, q.offer, now
}

// awaitLook waits until it is time to look at those apart, or something comes in. It gives false when nothing is apart, or the Settler
// stops.
func (q *queue) awaitLook() bool {
	q.settler.mu.Lock()
	apart, wait := len(q.stuck.apart) > 0, q.stuck.next.Sub(q.settler.now())
	q.settler.mu.Unlock()
	if !apart {
		return false
	}
	ctx, cancel := context.WithTimeout(q.settler.stop, max(wait, 0))
	defer cancel()
	select {
	case <-q.wake:
	case <-ctx.Done():
	}
	return q.settler.stop.Err() == nil
}

// lock remembers until when a party is taken for locked, and forgets those of long ago. mu is held.
func (s *Settler) lock(p party, until time.Time) {
	if now := s.now(); len(s.locked) >= s.sweepAt {
		for other, until := range s.locked {
			if !now.Before(until) {
				delete(s.locked, other)
			}
		}
		s.sweepAt = max(minSweep, 2*len(s.locked))
	}
	s.locked[p] = until
}

// awaitLocks waits while rows that a cart needs are known to be locked, so that carts of a user who is stuck take no turn. It gives false
// when ctx ended first.
func (s *Settler) awaitLocks(ctx context.Context, items []lease.Posting) bool {
	for s.knowsLocked(items) && s.areLocked(ctx, items) {
		if !run.Pause(ctx, askEvery) {
			return false
		}
	}
	return true
}

// knowsLocked reports whether any item's party was locked of late.
func (s *Settler) knowsLocked(items []lease.Posting) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	return slices.ContainsFunc(items, func(it lease.Posting) bool { return now.Before(s.locked[partyOf(&it.Entry, it.Offer)]) })
}

// areLocked asks the ledger whether the rows of a cart are locked, and remembers it.
func (s *Settler) areLocked(ctx context.Context, items []lease.Posting) (some bool) {
	if s.blind.Load() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askWithin)
	defer cancel()
	for _, it := range items {
		locked, err := s.ledger.Locked(ctx, models.Batch{Offer: it.Offer, LeaseID: it.Block.LeaseID, Wanted: []models.Wanted{{Entry: it.Entry}}})
		if err != nil {
			return some
		}
		s.mu.Lock()
		if locked[0] {
			s.lock(partyOf(&it.Entry, it.Offer), s.now().Add(lockedFor))
		} else {
			delete(s.locked, partyOf(&it.Entry, it.Offer))
		}
		s.mu.Unlock()
		some = some || locked[0]
	}
	return some
}

// minSweep is how many locked parties are remembered before those of long ago are looked for.
const minSweep = 1000

// lockedUntil is until when a submission is to run apart; zero: its party was not locked of late. mu is held.
func (s *Settler) lockedUntil(sub *submission, offer *models.Offer, now time.Time) time.Time {
	if len(s.locked) == 0 {
		return time.Time{}
	}
	if until := s.locked[partyOf(&sub.Entry, offer)]; now.Before(until) {
		return until
	}
	return time.Time{}
}
