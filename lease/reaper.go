package lease

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tranche/internal/run"
	"tranche/models"
)

// Estate is what a Reaper needs of the database.
type Estate interface {
	ExpiringLeases(ctx context.Context, limit int) (models.ExpiringLeases, error)
	CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (models.Lease, bool, error)
	AcquitDue(ctx context.Context, limit int) (acquitted int, err error)
}

// Health tells a Reaper whether owners could renew; see health.Ledger.
type Health interface {
	// Looked notes what became of a question that was asked at a time.
	Looked(asked time.Time, err error)
	// InVain notes that the ledger did not take a write.
	InVain()
	// Serves reports whether the ledger answers and takes writes.
	Serves() bool
	// Recovered reports whether it serves, and owners had a chance to renew since it last did not.
	Recovered() bool
}

// Reaper takes back the leases of owners that fell silent: dead, cut off, or stopped. Every node runs one, and any may be first.
//
// A lease is reclaimed when two clocks agree that its owner had its chance: by the database's clock it is [Grace] past its end,
// and by the monotonic clock of this node its end has stood still for half its time to live, *while the database served*.
// So neither an outage, nor a start, nor a step of the database's clock makes healthy nodes lose what they hold: after each, they
// have that long to renew, and the chance that [Health] gives them if a lease was watched before it. An outage doesn't reset what was
// watched, so leases do not live for ever either.
//
// It also acquits the leases that a later epoch of their node has taken over, once they have ended.
type Reaper struct {
	cfg     Config
	estate  Estate
	health  Health
	reaped  prometheus.Counter
	watched map[watchKey]watch
	last    time.Time // when the last look began that was answered, or ended in vain
	acquit  time.Time // when the next look for leases to acquit is due
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

// NewReaper makes a Reaper that watches nothing yet.
func NewReaper(cfg Config, estate Estate, health Health) *Reaper {
	r := &Reaper{
		cfg: cfg, estate: estate, health: health, watched: map[watchKey]watch{},
		reaped: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_reclaimed_total", Help: "Leases of silent owners that this node has reclaimed.",
		}),
	}
	cfg.Metrics.MustRegister(r.reaped)
	return r
}

const (
	reapEvery = 500 * time.Millisecond
	// longestPause is between two looks, with the jitter of run.Every.
	longestPause = reapEvery + reapEvery/10
	// maxStood is the most that one look adds to what was watched. When the look before is longer ago, this process was stopped and could
	// not watch, or the database was slow.
	maxStood = 4 * reapEvery
	// reapAtOnce bounds one look. Oldest come first, so more than that are a matter of more looks.
	reapAtOnce = 2000
	// acquitEvery is how often leases are looked for that are to be acquitted: there are some only after a start.
	acquitEvery = 2 * time.Second
)

// Run reaps until ctx ends.
func (r *Reaper) Run(ctx context.Context) { run.Every(ctx, reapEvery, r.reap) }

// reap looks once.
func (r *Reaper) reap(ctx context.Context) {
	now := r.cfg.Now()
	expiring, err := r.estate.ExpiringLeases(ctx, reapAtOnce)
	r.health.Looked(now, err) // an error is reported elsewhere
	if err != nil || !r.health.Serves() {
		r.last = r.cfg.Now() // until now nothing was watched
		return
	}
	if !now.Before(r.acquit) {
		r.acquit = now.Add(acquitEvery)
		_, _ = r.estate.AcquitDue(ctx, reapAtOnce) // what fails is tried again, and the store reports an outage
	}
	ripe := r.ripe(&expiring, r.elapsed(now))
	for i := range ripe {
		if !r.health.Recovered() {
			return
		}
		if err := r.reclaim(ctx, &ripe[i]); errors.Is(err, models.ErrLedgerUnavailable) {
			r.health.InVain()
			r.last = r.cfg.Now()
			return
		}
	}
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
	log := r.cfg.Logger.With().Str("offer_id", l.OfferID).Stringer("lease_id", l.ID).Stringer("node_id", l.NodeID).Logger()
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
