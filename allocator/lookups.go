package allocator

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"tranche/internal/ledger"
	"tranche/models"
)

// Histories is where redemptions are looked up.
type Histories interface {
	Histories(ctx context.Context, offerID string, redemptions []models.ID) (map[models.ID][]models.Entry, error)
}

// lookups reads redemptions in batches, one batch per offer at a time. Look-ups that come while a batch is under way make up the next one.
// So the read of a look-up begins after it was asked for, and sees all that was committed by then.
type lookups struct {
	source Histories

	mu     sync.Mutex
	offers map[string]*lookupQueue
}

// lookupQueue has the look-ups of one offer that wait for the next batch.
type lookupQueue struct {
	waiting []*pendingLookup
}

type pendingLookup struct {
	hash models.ID
	gone atomic.Bool   // nobody waits for the answer any more
	done chan lookedUp // buffered
}

type lookedUp struct {
	history []models.Entry
	err     error
}

const (
	// maxLookups is the most that one read asks for.
	maxLookups = 500
	// maxLookupsWaiting bounds an offer's queue; beyond it requests are turned away at once.
	maxLookupsWaiting = 16384
)

// find gives the redemption with this id and its entries; found is false where the ledger has none.
func (l *lookups) find(ctx context.Context, id models.RedemptionID) (history []models.Entry, r models.Redemption, found bool, err error) {
	p := &pendingLookup{hash: id.Hash, done: make(chan lookedUp, 1)}
	if !l.ask(id.OfferID, p) {
		return nil, r, false, models.ErrOverloaded
	}
	select {
	case answer := <-p.done:
		if answer.err != nil || len(answer.history) == 0 {
			return nil, r, false, answer.err
		}
		r, err = ledger.Fold(answer.history)
		return answer.history, r, err == nil, err
	case <-ctx.Done():
		p.gone.Store(true)
		return nil, r, false, models.ErrLedgerUnavailable
	}
}

// request looks up whether a request has succeeded before, and as what. Where another request has its key, as same finds, found is true and
// the error is ErrKeyReused.
func (l *lookups) request(ctx context.Context, e *models.Entry, same func(earlier, e *models.Entry) bool) (r Redeemed, found bool, err error) {
	history, redemption, found, err := l.find(ctx, e.RedemptionID())
	switch {
	case err != nil || !found:
		return Redeemed{}, false, err
	case !same(&history[0], e):
		return Redeemed{}, true, models.ErrKeyReused
	default:
		return Redeemed{Redemption: redemption, Replayed: true}, true, nil
	}
}

// ask queues a look-up, and sees to it that somebody reads. It gives false when too many wait already.
func (l *lookups) ask(offerID string, p *pendingLookup) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, reading := l.offers[offerID]
	if !reading {
		if l.offers == nil {
			l.offers = map[string]*lookupQueue{}
		}
		q = &lookupQueue{}
		l.offers[offerID] = q
		go l.read(offerID, q)
	}
	if len(q.waiting) >= maxLookupsWaiting {
		return false
	}
	q.waiting = append(q.waiting, p)
	return true
}

// read works until nobody waits. The source has a deadline of its own, so this ends.
func (l *lookups) read(offerID string, q *lookupQueue) {
	for {
		batch := l.next(offerID, q)
		if batch == nil {
			return
		}
		hashes := make([]models.ID, len(batch))
		for i, p := range batch {
			hashes[i] = p.hash
		}
		histories, err := l.source.Histories(context.Background(), offerID, hashes)
		for _, p := range batch {
			p.done <- lookedUp{histories[p.hash], err}
		}
	}
}

// next cuts off a batch. Where it can't take all, the newest go first. The oldest will have given up before they are answered, so a queue in
// their order would end up answering nobody.
func (l *lookups) next(offerID string, q *lookupQueue) []*pendingLookup {
	l.mu.Lock()
	defer l.mu.Unlock()
	q.waiting = slices.DeleteFunc(q.waiting, func(p *pendingLookup) bool { return p.gone.Load() })
	if len(q.waiting) == 0 {
		delete(l.offers, offerID)
		return nil
	}
	rest := max(0, len(q.waiting)-maxLookups)
	batch := slices.Clone(q.waiting[rest:])
	q.waiting = q.waiting[:rest]
	return batch
}
