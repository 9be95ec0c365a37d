package settle

import (
	"slices"
	"time"

	"tranche/models"
)

const (
	maxPieces = 64              // that a batch is taken apart into
	apartFor  = 5 * time.Second // as long as the database lets a client that has stopped keep its locks
)

// stuck is the submissions of one queue that met a lock: the row of a user, or of a redemption, is locked by a client that may have
// stopped. The ledger gives up after a lock wait, and can't say whose row it was.
//
// A batch that met a lock runs again at once, in pieces. A piece that meets it again is set apart, party by party. A party that is alone
// with the lock is refused, and its next submissions are set apart for a while. Submissions that are set apart run when nothing else is to do, or
// apartFor after the last lock. The settler's mu guards it.
type stuck struct {
	pieces [][]*submission
	apart  []*submission
	until  time.Time // apartFor after the last lock
}

// party is what a submission may have to wait for a lock on: the counters of its user, or if nobody counts, its redemption.
type party struct{ offerID, name string }

func partyOf(sub *submission, offer *models.Offer) party {
	if offer.LimitsUsers() && sub.Entry.UserID != "" {
		return party{offer.ID, sub.Entry.UserID}
	}
	return party{offer.ID, string(sub.Entry.Redemption[:])}
}

// parties groups the submissions of a batch.
func (b *batch) parties() (parties [][]*submission) {
	index := map[party]int{}
	for _, sub := range b.items {
		p := partyOf(sub, b.offer)
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
func (st *stuck) claim(b *batch, idle bool) bool {
	b.isPiece = len(st.pieces) > 0
	switch {
	case b.isPiece:
		b.claim(st.pieces[0]...)
		st.pieces = st.pieces[1:]
	case len(st.apart) > 0 && (idle || !b.now.Before(st.until)):
		st.claimParty(b)
	default:
		return false
	}
	return true
}

// claimParty claims the oldest party of those set apart.
func (st *stuck) claimParty(b *batch) {
	oldest := partyOf(st.apart[0], b.offer)
	var rest []*submission
	for _, sub := range st.apart {
		if partyOf(sub, b.offer) == oldest && !b.full(sub) {
			b.claim(sub)
		} else {
			rest = append(rest, sub)
		}
	}
	st.apart = rest
}

// divide takes a batch apart that met a lock. It gives false when what is left of it should wait.
func (q *queue) divide(b *batch, busy error) bool {
	parties := b.parties()
	q.settler.mu.Lock()
	now := q.settler.now()
	q.stuck.until = now.Add(apartFor)
	if len(parties) == 1 {
		q.settler.lock(partyOf(b.items[0], b.offer), now)
		q.settler.mu.Unlock()
		return q.refuse(b.items, busy)
	}
	defer q.settler.mu.Unlock()
	release(b.items)
	if b.isPiece {
		q.stuck.apart = append(q.stuck.apart, b.items...)
		return true
	}
	for some := range slices.Chunk(parties, (len(parties)+maxPieces-1)/maxPieces) {
		q.stuck.pieces = append(q.stuck.pieces, slices.Concat(some...))
	}
	return true
}

// lock remembers that a party was alone with a lock, and forgets those of long ago. mu is held.
func (s *Settler) lock(p party, now time.Time) {
	for other, until := range s.locked {
		if !now.Before(until) {
			delete(s.locked, other)
		}
	}
	s.locked[p] = now.Add(apartFor)
}

// lockedUntil is until when a submission is to run apart; zero: its party was not alone with a lock of late. mu is held.
func (s *Settler) lockedUntil(sub *submission, offer *models.Offer, now time.Time) time.Time {
	if len(s.locked) == 0 {
		return time.Time{}
	}
	if until := s.locked[partyOf(sub, offer)]; now.Before(until) {
		return until
	}
	return time.Time{}
}
