package allocator

import (
	"bytes"
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"tranche/internal/catalogue"
	"tranche/models"
)

// Balances is where the books of an offer are read.
type Balances interface {
	Balance(ctx context.Context, offerID string) (models.Balance, error)
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)
}

// balanceFor is how long a balance may serve to say why a request is refused: as long as one sync.
const balanceFor = catalogue.SyncEvery

// balances shares one read of an offer's books among all requests that are refused at about the same time.
type balances struct {
	source Balances
	now    func() time.Time
	reads  singleflight.Group // by offer id

	mu   sync.Mutex
	last map[string]*books // of each offer the latest read, also one that failed
}

// books are an offer's balance, the nodes that hold what is outstanding, and when units may come back.
type books struct {
	began   time.Time // when they were asked for
	balance models.Balance
	holders []models.Holder
	release *models.Micros // when the first hold ends, or the first lease that has units
	err     error
}

// get gives books whose reading began after an instant, or begins now.
func (b *balances) get(ctx context.Context, offerID string, after time.Time) (*books, error) {
	if last := b.latest(offerID); last != nil && last.began.After(after) {
		return last, last.err
	}
	for {
		began := false // by this request, else by another one
		read := b.reads.DoChan(offerID, func() (any, error) {
			began = true
			return b.read(offerID), nil
		})
		select {
		case r := <-read:
			if got := r.Val.(*books); began || got.began.After(after) {
				return got, got.err
			}
		case <-ctx.Done():
			return nil, models.ErrLedgerUnavailable
		}
	}
}

// read asks the ledger, and keeps the answer. It goes on when its requester hangs up, for others may wait for it, too; the source has
// a deadline of its own.
func (b *balances) read(offerID string) *books {
	got := b.ask(context.Background(), offerID)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.last == nil {
		b.last = map[string]*books{}
	}
	maps.DeleteFunc(b.last, func(_ string, old *books) bool { return got.began.Sub(old.began) > balanceFor })
	b.last[offerID] = got
	return got
}

func (b *balances) ask(ctx context.Context, offerID string) *books {
	got := &books{began: b.now()}
	got.balance, got.err = b.source.Balance(ctx, offerID)
	got.release = got.balance.NextHoldEnds
	if got.err != nil || got.balance.Outstanding == 0 {
		return got
	}
	leases, err := b.source.ActiveLeases(ctx, offerID)
	if err != nil {
		return got // without them the balance is still right
	}
	leases = slices.DeleteFunc(leases, func(l models.ListedLease) bool { return l.Outstanding() == 0 })
	for _, l := range leases {
		if at := l.ExpiresAt; got.release == nil || at < *got.release {
			got.release = &at
		}
	}
	got.holders = holders(leases)
	return got
}

func (b *balances) latest(offerID string) *books {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.last[offerID]
}

// holders adds leases up by their owners, most units first.
func holders(leases []models.ListedLease) []models.Holder {
	byNode := map[models.ID]models.Holder{}
	for _, l := range leases {
		h := byNode[l.NodeID]
		byNode[l.NodeID] = models.Holder{NodeID: l.NodeID, NodeName: l.NodeName, Units: h.Units + l.Outstanding(), Until: max(h.Until, l.ExpiresAt)}
	}
	return slices.SortedFunc(maps.Values(byNode), func(a, b models.Holder) int {
		return cmp.Or(cmp.Compare(b.Units, a.Units), bytes.Compare(a.NodeID[:], b.NodeID[:]))
	})
}
