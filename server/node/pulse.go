package node

import (
	"context"
	"sync/atomic"
	"time"

	"tranche/internal/store"
	"tranche/models"
)

// pulse is the store as the catalogue reads it, several times a second. It tells whether the ledger is away: from when the breaker
// was seen open until a read has been answered. The breaker alone would not do for a readiness: it half-opens to try.
type pulse struct {
	*store.Store
	lost atomic.Bool
}

// SyncOffers implements allocator.Offers.
func (p *pulse) SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error) {
	snapshot, err := p.Store.SyncOffers(ctx, window)
	if err == nil {
		p.lost.Store(false)
	} else if !p.Available() {
		p.lost.Store(true)
	}
	return snapshot, err
}

func (p *pulse) away() bool { return p.lost.Load() || !p.Available() }
