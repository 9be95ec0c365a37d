package node

import (
	"context"
	"errors"
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
	losses   losses
	recovery *allocator.Recovery

	newRecovery func() *allocator.Recovery
}

// maxPayload is far above what a redemption with all its texts at their longest takes as JSON.
const maxPayload = 64 << 10

// open makes the parts on a folder that is locked and is from then on theirs to close, also after an error. It doesn't touch
// the database, and starts nothing. now needs a monotonic reading.
func (b *settlingParts) open(dir *datadir.Dir, database Database, log zerolog.Logger, now func() time.Time, registry *prometheus.Registry) (err error) {
	b.log, b.dir = log, dir
	b.health = health.NewLedger(now, func() bool { return b.store.Available() })
	config := database.storeConfig(dir.Database())
	b.losses = make(losses, 1)
	config.Logger, config.Registerer, config.Health, config.Lost = log, registry, b.health, b.losses.notice
	b.store, err = store.Open(config)
	if err != nil {
		return err
	}
	b.journal, err = journal.Open(journal.Config{
		Dir: dir.Journal(), MaxPayload: maxPayload, Now: now, Logger: log, Metrics: registry,
	})
	if err != nil {
		return fmt.Errorf("data directory %s: %w%s", dir.Path, err, remedy(err))
	}
	b.settler = settle.New(settle.Config{Now: now, Logger: log, Metrics: registry, Connections: b.store.Connections()}, b.store)
	b.newRecovery = func() *allocator.Recovery { return allocator.NewRecovery(b.journal, b.store, b.settler, now) }
	b.recovery = b.newRecovery()
	return nil
}

// remedy says what to do about a journal that can't be opened.
func remedy(err error) string {
	switch {
	case errors.Is(err, journal.ErrCorrupt):
		return ": put the journal back from the disk's copy; `tranche journal verify` says how far it can be read"
	case errors.Is(err, journal.ErrVersion):
		return ": start the version of Tranche that has written it"
	default:
		return ""
	}
}

// settle brings the tables up to date and books all that the journal holds, but for records of offers that the ledger does not have.
// After an error it may be called again, and goes on where it was. keep is called with the ledger's id if the data directory has none yet.
func (b *settlingParts) settle(ctx context.Context, keep func(ledger models.ID) error) (records int, err error) {
	if err := b.store.Migrate(ctx); err != nil {
		return 0, err
	}
	if err := b.recognise(ctx, keep); err != nil {
		return 0, err
	}
	records, err = b.recovery.Run(ctx)
	if err == nil {
		b.reportKept(b.recovery)
	}
	return records, err
}

func (b *settlingParts) reportKept(recovery *allocator.Recovery) {
	for offer, kept := range recovery.Kept() {
		b.log.Error().Str("offer_id", offer).Int("records", kept).
			Msg("the database does not have this offer: what was acknowledged of it stays in the journal, for a start after the offer is back")
	}
}

// errOtherLedger: the data directory belongs to another ledger than the database, and its journal is not for this one.
var errOtherLedger = errors.New("the journal is of another ledger")

// recognise compares the ledger's id with the one that the data directory keeps.
func (b *settlingParts) recognise(ctx context.Context, keep func(models.ID) error) error {
	id, err := b.store.LedgerID(ctx)
	if err != nil {
		return err
	}
	kept, err := b.dir.LedgerID()
	switch {
	case err != nil:
		return err
	case kept.IsZero():
		return keep(id)
	case kept != id:
		return fmt.Errorf("%w: data directory %s belongs to ledger %s, and the database is ledger %s; name the database of the first, or an empty data directory",
			errOtherLedger, b.dir.Path, kept, id)
	default:
		return nil
	}
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

// leasesAtOnce bounds one read of earlier leases.
const leasesAtOnce = 200

// takeOver closes what earlier processes on this data directory had leased, so that the units can be leased again. Their redemptions are
// settled by now. Another process may live on a copy of the directory, so what the leases had left is exposed until they end.
func (b *settlingParts) takeOver(ctx context.Context, epoch int64) (closed int, err error) {
	for {
		leases, err := b.store.LeasesOfNode(ctx, b.dir.NodeID, epoch, leasesAtOnce)
		if err != nil || len(leases) == 0 {
			return closed, err
		}
		n, err := b.takeOverThese(ctx, leases)
		closed += n
		if err != nil {
			return closed, err
		}
	}
}

func (b *settlingParts) takeOverThese(ctx context.Context, leases []models.Lease) (closed int, err error) {
	for i := range leases {
		did, err := b.store.TakeOver(ctx, leases[i].OfferID, leases[i].ID)
		if err != nil {
			return closed, err
		}
		if did {
			closed++
		}
	}
	return closed, nil
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
