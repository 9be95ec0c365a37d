package lease

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/run"
	"tranche/models"
)

// Estate is what a Reaper needs of the database. Looks must fail while it takes no writes, though it may answer: then no owner can renew.
type Estate interface {
	ExpiringLeases(ctx context.Context, limit int) (models.ExpiringLeases, error)
	CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (models.Lease, bool, error)
}

// Reaper takes back the leases of owners that fell silent: dead, cut off, or stopped. Every node runs one, and any may be first.
//
// A lease is reclaimed when two clocks agree that its owner had its chance: by the database's clock it is [Grace] past its end,
// and by the monotonic clock of this node its end has stood still for half its time to live, *while the database served*.
// So neither an outage, nor a start, nor a step of the database's clock makes healthy nodes lose what they hold: after each, they
// have that long to renew, and two seconds if a lease was watched before it. An outage doesn't reset what was watched, so leases do not
// live for ever either.
type Reaper struct {
	estate  Estate
	now     func() time.Time
	logger  zerolog.Logger
	reaped  prometheus.Counter
	watched map[watchKey]watch
	last    time.Time // when the last look began that was answered, or ended in vain
	vain    time.Time // when something was last in vain
}

type watchKey struct {
	offerID string
	leaseID models.ID
}

// watch is how long a lease's end has stood still.
type watch struct {
	expiresAt models.Micros
	stood     time.Duration
}

// NewReaper makes a Reaper; now needs a monotonic reading.
func NewReaper(estate Estate, now func() time.Time, logger zerolog.Logger, reg prometheus.Registerer) *Reaper {
	r := &Reaper{
		estate: estate, now: now, logger: logger, watched: map[watchKey]watch{},
		reaped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_reclaimed_total", Help: "Leases of silent owners that this node has reclaimed.",
		}),
	}
	reg.MustRegister(r.reaped)
	return r
}

const (
	reapEvery = 500 * time.Millisecond
	// longestPause is between two looks, with the jitter of run.Every.
	longestPause = reapEvery + reapEvery/10
	// maxStood is the most that one look adds to what was watched. When the look before is longer ago, this process was stopped and could
	// not watch, or the database was slow.
	maxStood = 4 * reapEvery
	// chance is how long nothing is reclaimed after the database did not serve: owners ask for renewals five times a second.
	chance = 2 * time.Second
	// reapAtOnce bounds one look. Oldest come first, so more than that are a matter of more looks.
	reapAtOnce = 2000
)

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) { run.Every(ctx, reapEvery, r.reap) }

// reap looks once.
func (r *Reaper) reap(ctx context.Context) {
	now := r.now()
	expiring, err := r.estate.ExpiringLeases(ctx, reapAtOnce)
	if err != nil { // it is reported elsewhere
		r.inVain()
		return
	}
	ripe := r.ripe(&expiring, r.elapsed(now))
	if now.Sub(r.vain) < chance {
		return
	}
	for i := range ripe {
		if err := r.reclaim(ctx, &ripe[i]); errors.Is(err, models.ErrLedgerUnavailable) {
			r.inVain()
			return
		}
	}
}

// inVain notes that the database did not serve. Until now nothing was watched.
func (r *Reaper) inVain() {
	r.vain = r.now()
	r.last = r.vain
}

// elapsed is the time since the last look, as far as it was watched.
func (r *Reaper) elapsed(now time.Time) time.Duration {
	d := min(now.Sub(r.last), maxStood)
	r.last = now
	return d
}

// ripe brings what is watched up to date and gives the leases to reclaim.
func (r *Reaper) ripe(expiring *models.ExpiringLeases, elapsed time.Duration) (ripe []models.Lease) {
	watched := make(map[watchKey]watch, len(expiring.Leases))
	for _, l := range expiring.Leases {
		key := watchKey{l.OfferID, l.ID}
		w, known := r.watched[key]
		if known && w.expiresAt == l.ExpiresAt {
			w.stood += elapsed
		} else {
			w = watch{expiresAt: l.ExpiresAt}
		}
		watched[key] = w
		if w.stood >= l.TTL()/2 && expiring.Now.Sub(l.ExpiresAt) >= Grace(l.TTL()) {
			ripe = append(ripe, l)
		}
	}
	r.watched = watched
	return ripe
}

func (r *Reaper) reclaim(ctx context.Context, l *models.Lease) error {
	log := r.logger.With().Str("offer_id", l.OfferID).Stringer("lease_id", l.ID).Stringer("node_id", l.NodeID).Logger()
	closed, did, err := r.estate.CloseLease(ctx, l.OfferID, l.ID, models.LeaseReclaimed, &l.ExpiresAt)
	switch {
	case err != nil:
		log.Warn().Err(err).Msg("lease not reclaimed")
	case did:
		r.reaped.Inc()
		log.Info().Int64("granted", closed.Granted).Int64("spent", closed.Spent).Msg("lease reclaimed")
	}
	return err
}
