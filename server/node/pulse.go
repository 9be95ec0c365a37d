package node

import (
	"context"
	"sync/atomic"
	"time"

	"tranche/internal/store"
	"tranche/models"
)

// pulse is the store as those see it who ask all the time: the catalogue, and whoever looks for what is due. It tells whether the ledger
// is away.
//
// That is so from when the breaker was seen open until a read has been answered. The breaker alone would not do for a readiness: it
// half-opens to try. It is so, too, when no heartbeat of this node was committed for as long as the fleet waits for one, whatever else
// is answered.
//
// Who looks for what is due hears that sooner. A database that is locked for a backup, or has become a copy, lets no owner renew its
// leases, and no shop confirm its holds: so nothing is due, as far as heartbeats tell. What was counted before they tell it is at most
// [beatLasts], which is more than the shortest leases have; for those the chance that a [lease.Reaper] leaves after it has to do.
type pulse struct {
	*store.Store
	now  func() time.Time
	lost atomic.Bool
	beat atomic.Pointer[time.Time] // when the latest heartbeat that was committed had begun
}

// beatLasts is for how long a heartbeat says that the database takes writes. The next one may be slow.
const beatLasts = 2 * heartbeatEvery

// RegisterNode is the first heartbeat.
func (p *pulse) RegisterNode(ctx context.Context, id models.ID, name string) (epoch int64, err error) {
	began := p.now()
	if epoch, err = p.Store.RegisterNode(ctx, id, name); err == nil {
		p.beat.Store(&began)
	}
	return epoch, err
}

// Heartbeat notes that the node was seen.
func (p *pulse) Heartbeat(ctx context.Context, id models.ID, epoch int64) error {
	began := p.now()
	err := p.Store.Heartbeat(ctx, id, epoch)
	if err == nil {
		p.beat.Store(&began)
	}
	return err
}

// SyncOffers implements catalogue.Source.
func (p *pulse) SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error) {
	snapshot, err := p.Store.SyncOffers(ctx, window)
	if err == nil {
		p.lost.Store(false)
	} else if !p.Available() {
		p.lost.Store(true)
	}
	return snapshot, err
}

// ExpiringLeases implements lease.Estate.
func (p *pulse) ExpiringLeases(ctx context.Context, limit int) (models.ExpiringLeases, error) {
	if p.silent(beatLasts) {
		return models.ExpiringLeases{}, models.ErrLedgerUnavailable
	}
	return p.Store.ExpiringLeases(ctx, limit)
}

// CloseLease implements lease.Estate.
func (p *pulse) CloseLease(
	ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros,
) (models.Lease, bool, error) {
	if p.silent(beatLasts) {
		return models.Lease{}, false, models.ErrLedgerUnavailable
	}
	return p.Store.CloseLease(ctx, offerID, id, to, ifExpiresAt)
}

// ExpiredHolds implements refund.Holds.
func (p *pulse) ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error) {
	if p.silent(beatLasts) {
		return models.ExpiredHolds{}, models.ErrLedgerUnavailable
	}
	return p.Store.ExpiredHolds(ctx, limit)
}

func (p *pulse) away() bool {
	return p.lost.Load() || !p.Available() || p.silent(models.NodeSilence)
}

// silent reports whether the last heartbeat that was committed had begun longer ago than that.
func (p *pulse) silent(than time.Duration) bool {
	beat := p.beat.Load()
	return beat == nil || p.now().Sub(*beat) > than
}
