package node

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/datadir"
	"tranche/internal/health"
	"tranche/internal/journal"
	"tranche/internal/run"
	"tranche/internal/settle"
	"tranche/internal/store"
	"tranche/models"
)

// settlingParts settle what a data directory owes: its journal, and the way from there into the database. A node has them, and so has
// [SettleJournal].
type settlingParts struct {
	log      zerolog.Logger
	dir      *datadir.Dir
	store    *store.Store
	health   *health.Ledger
	journal  *journal.Journal
	settler  *settle.Settler
	recovery *allocator.Recovery
}

// maxPayload is far above what a redemption with all its texts at their longest takes as JSON.
const maxPayload = 64 << 10

// open makes the parts on a folder that is locked and is from then on theirs to close, also after an error. It doesn't touch
// the database, and starts nothing. now needs a monotonic reading.
func (b *settlingParts) open(dir *datadir.Dir, database Database, log zerolog.Logger, now func() time.Time, registry *prometheus.Registry) (err error) {
	b.log, b.dir = log, dir
	b.health = health.NewLedger(now, func() bool { return b.store.Available() })
	config := database.storeConfig(dir.Database())
	config.Logger, config.Registerer, config.Health = log, registry, b.health
	b.store, err = store.Open(config)
	if err != nil {
		return err
	}
	b.journal, err = journal.Open(journal.Config{
		Dir: dir.Journal(), MaxPayload: maxPayload, Now: now, Logger: log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("data directory %s: %w", dir.Path, err)
	}
	b.settler = settle.New(settle.Config{Now: now, Logger: log, Metrics: registry, Connections: b.store.Connections()}, b.store)
	b.recovery = allocator.NewRecovery(b.journal, b.store, b.settler, now)
	return nil
}

// settle brings the tables up to date and books all that the journal holds. After an error it may be called again, and goes on
// where it was.
func (b *settlingParts) settle(ctx context.Context) (records int, err error) {
	if err := b.store.Migrate(ctx); err != nil {
		return 0, err
	}
	return b.recovery.Run(ctx)
}

// leasesAtOnce bounds one read of earlier leases.
const leasesAtOnce = 200

// returnEarlier gives back what earlier processes on this data directory held: they are gone, for this one has the lock. Their
// acknowledged redemptions are settled by now, so leases that were reclaimed from them expose nothing any more.
func (b *settlingParts) returnEarlier(ctx context.Context, epoch int64) (returned int, err error) {
	for {
		leases, err := b.store.LeasesOfNode(ctx, b.dir.NodeID, epoch, leasesAtOnce)
		if err != nil || len(leases) == 0 {
			return returned, err
		}
		for _, l := range leases {
			if err := b.giveUp(ctx, &l); err != nil {
				return returned, err
			}
			returned++
		}
	}
}

func (b *settlingParts) giveUp(ctx context.Context, l *models.Lease) error {
	closed, did, err := b.store.CloseLease(ctx, l.OfferID, l.ID, models.LeaseReturned, nil)
	if err != nil || did || closed.Exposed == 0 {
		return err
	}
	return b.store.Acquit(ctx, l.OfferID, []models.ID{l.ID})
}

// persist attempts something until it succeeds. It gives the error of the last attempt when ctx has ended, or when that error is not
// one that may pass. Each new error is logged once.
func persist(ctx context.Context, log zerolog.Logger, attempt func() error, mayPass func(error) bool) error {
	backoff := run.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	var reported string
	for {
		err := attempt()
		if err == nil || ctx.Err() != nil || !mayPass(err) {
			return err
		}
		if err.Error() != reported {
			reported = err.Error()
			log.Warn().Err(err).Msg("waiting, and trying again")
		}
		if !backoff.Wait(ctx) {
			return err
		}
	}
}

// close ends the journal's Run, and gives up what open has opened. Errors are of no use any more: what was acknowledged is durable.
func (b *settlingParts) close() {
	if b.journal != nil {
		if err := b.journal.Close(); err != nil {
			b.log.Warn().Err(err).Msg("closing the journal")
		}
	}
	if b.store != nil {
		_ = b.store.Close()
	}
	if b.dir != nil {
		_ = b.dir.Close()
	}
}
