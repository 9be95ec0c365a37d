package allocator

import (
	"context"
	"sync"
	"time"

	"tranche/models"
)

// Balances is where the books of an offer are read.
type Balances interface {
	Balance(ctx context.Context, offerID string) (models.Balance, error)
}

// balanceFor is how long a balance may serve to say why a request was refused: as long as one sync.
const balanceFor = syncEvery

// balances shares one read of an offer's books among all who are refused at about the same time.
type balances struct {
	source Balances
	now    func() time.Time

	mu   sync.Mutex
	last map[string]*sharedBalance
}

type sharedBalance struct {
	at      time.Time     // when the read began
	done    chan struct{} // closed when it ended
	balance models.Balance
	err     error
}

// get gives a balance whose reading began at notBefore or later.
func (b *balances) get(ctx context.Context, offerID string, notBefore time.Time) (models.Balance, error) {
	b.mu.Lock()
	now := b.now()
	s, ok := b.last[offerID]
	if !ok || s.at.Before(notBefore) {
		b.forget(now)
		s = &sharedBalance{at: now, done: make(chan struct{})}
		b.last[offerID] = s
		go func() {
			// The source has a deadline of its own.
			s.balance, s.err = b.source.Balance(context.Background(), offerID)
			close(s.done)
		}()
	}
	b.mu.Unlock()
	select {
	case <-s.done:
		return s.balance, s.err
	case <-ctx.Done():
		return models.Balance{}, models.ErrLedgerUnavailable
	}
}

// forget drops what is too old to be used. mu is held.
func (b *balances) forget(now time.Time) {
	for id, s := range b.last {
		if now.Sub(s.at) > balanceFor {
			delete(b.last, id)
		}
	}
	if b.last == nil {
		b.last = map[string]*sharedBalance{}
	}
}
