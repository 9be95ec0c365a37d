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
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)
}

// balanceFor is how long a balance may serve to say why a request was refused: as long as one sync.
const balanceFor = syncEvery

// balances shares one read of an offer's books among all who are refused at about the same time.
type balances struct {
	source Balances
	now    func() time.Time
	reads  sync.WaitGroup

	mu   sync.Mutex
	last map[string]*sharedBalance
}

type sharedBalance struct {
	at      time.Time     // when the read began
	done    chan struct{} // closed when it ended
	balance models.Balance
	release *models.Micros // when the first hold ends, or the first lease that has units
	err     error
}

// read fills s. The source has a deadline of its own.
func (b *balances) read(s *sharedBalance, offerID string) {
	defer close(s.done)
	s.balance, s.err = b.source.Balance(context.Background(), offerID)
	s.release = s.balance.NextHoldEnds
	if s.err != nil || s.balance.Outstanding == 0 {
		return
	}
	leases, err := b.source.ActiveLeases(context.Background(), offerID)
	if err != nil {
		return // it is only known less well
	}
	for _, l := range leases {
		if at := l.ExpiresAt; l.Outstanding() > 0 && (s.release == nil || at < *s.release) {
			s.release = &at
		}
	}
}

// get gives a balance whose reading began at notBefore or later, and when units may come back.
func (b *balances) get(ctx context.Context, offerID string, notBefore time.Time) (balance models.Balance, release *models.Micros, err error) {
	b.mu.Lock()
	now := b.now()
	s, ok := b.last[offerID]
	if !ok || s.at.Before(notBefore) {
		b.forget(now)
		s = &sharedBalance{at: now, done: make(chan struct{})}
		b.last[offerID] = s
		b.reads.Go(func() { b.read(s, offerID) })
	}
	b.mu.Unlock()
	select {
	case <-s.done:
		return s.balance, s.release, s.err
	case <-ctx.Done():
		return models.Balance{}, nil, models.ErrLedgerUnavailable
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
