package allocator

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"tranche/internal/catalogue"
	"tranche/models"
)

// Balances is where the books of an offer are read.
type Balances interface {
	Balance(ctx context.Context, offerID string) (models.Balance, error)
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)
}

// balanceFor is how long a balance may serve to say why a request was refused: as long as one sync.
const balanceFor = catalogue.SyncEvery

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
	holders []models.Holder
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
	leases = slices.DeleteFunc(leases, func(l models.ListedLease) bool { return l.Outstanding() == 0 })
	for _, l := range leases {
		if at := l.ExpiresAt; s.release == nil || at < *s.release {
			s.release = &at
		}
	}
	s.holders = holders(leases)
}

// holders adds leases up by their owners, most units first.
func holders(leases []models.ListedLease) []models.Holder {
	byNode := map[models.ID]models.Holder{}
	for _, l := range leases {
		h := byNode[l.NodeID]
		byNode[l.NodeID] = models.Holder{NodeID: l.NodeID, Units: h.Units + l.Outstanding(), Until: max(h.Until, l.ExpiresAt)}
	}
	return slices.SortedFunc(maps.Values(byNode), func(a, b models.Holder) int {
		return cmp.Or(cmp.Compare(b.Units, a.Units), bytes.Compare(a.NodeID[:], b.NodeID[:]))
	})
}

// get gives a balance whose reading began after an instant, or begins now, with who has what is outstanding, and when units may come back.
func (b *balances) get(ctx context.Context, offerID string, after time.Time) (*sharedBalance, error) {
	b.mu.Lock()
	now := b.now()
	s, ok := b.last[offerID]
	if !ok || !s.at.After(after) {
		b.forget(now)
		s = &sharedBalance{at: now, done: make(chan struct{})}
		b.last[offerID] = s
		b.reads.Go(func() { b.read(s, offerID) })
	}
	b.mu.Unlock()
	select {
	case <-s.done:
		return s, s.err
	case <-ctx.Done():
		return nil, models.ErrLedgerUnavailable
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
