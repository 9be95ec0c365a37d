package refund

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tranche/internal/run"
	"tranche/models"
)

// Holds is where a Sweeper finds what has run out.
type Holds interface {
	ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error)
}

// Health tells a Sweeper whether shops could confirm; see health.Ledger.
type Health interface {
	// Looked notes what became of a question that was asked at a time.
	Looked(asked time.Time, err error)
	// Recovered reports whether the ledger serves, and shops had a chance to confirm since it last did not.
	Recovered() bool
}

// Sweeper gives the units of holds back that nobody has confirmed in time. Every node runs one, and any may be first.
//
// A hold is expired a moment after its end by the database's clock, so that a confirmation sent in time is not late on its way. After
// the ledger did not serve, and at the start, shops that could not confirm meanwhile have their chance first, as [Health] says.
type Sweeper struct {
	cfg     SweeperConfig
	holds   Holds
	health  Health
	offers  Offers
	desk    *Desk
	expired prometheus.Counter

	trouble run.Trouble // of the goroutine that runs
}

// SweeperConfig is what a Sweeper is told from outside.
type SweeperConfig struct {
	NodeID  models.ID
	Now     func() time.Time // with a monotonic reading
	Logger  zerolog.Logger
	Metrics prometheus.Registerer
}

// NewSweeper makes a Sweeper that books through a Desk.
func NewSweeper(cfg SweeperConfig, holds Holds, health Health, offers Offers, desk *Desk) *Sweeper {
	s := &Sweeper{
		cfg: cfg, holds: holds, health: health, offers: offers, desk: desk,
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_holds_expired_total", Help: "Holds past their end that this node has given back.",
		}),
	}
	cfg.Metrics.MustRegister(s.expired)
	return s
}

const (
	sweepEvery   = 500 * time.Millisecond
	sweepTimeout = 5 * time.Second
	// grace is how far past its end a hold is expired.
	grace = time.Second
	// A look reads more holds than are expired at once, and takes any of them: nodes that look at the same moment seldom take the same.
	sweepReads  = 1000
	sweepAtOnce = 100
)

// Run sweeps until ctx ends. Then nothing of it is under way any more but what the settler has in a batch.
func (s *Sweeper) Run(ctx context.Context) {
	run.Every(ctx, sweepEvery, func(ctx context.Context) {
		for s.sweep(ctx) {
		}
	})
}

// sweep expires some holds. It reports whether there are more, and they are worth going on with at once.
func (s *Sweeper) sweep(ctx context.Context) (more bool) {
	now := s.cfg.Now()
	expired, err := s.holds.ExpiredHolds(ctx, sweepReads)
	s.health.Looked(now, err) // an outage is reported by the store
	if err != nil || !s.health.Recovered() {
		return false
	}
	due := ripe(&expired)
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	more = len(due) > sweepAtOnce
	began := s.cfg.Now()
	err = s.expireAll(ctx, due[:min(sweepAtOnce, len(due))], expired.Now)
	s.health.Looked(began, err)
	s.report(err)
	return err == nil && more
}

// ripe gives the holds whose grace is over. They are ordered by their ends.
func ripe(expired *models.ExpiredHolds) []models.Hold {
	for i := range expired.Holds {
		if expired.Now.Sub(expired.Holds[i].ExpiresAt) < grace {
			return expired.Holds[:i]
		}
	}
	return expired.Holds
}

// expireAll books side by side, so that the settler makes few transactions of it.
func (s *Sweeper) expireAll(ctx context.Context, due []models.Hold, now models.Micros) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	var group errgroup.Group
	for _, h := range due {
		group.Go(func() error { return s.expire(ctx, &h, now) })
	}
	return group.Wait()
}

func (s *Sweeper) expire(ctx context.Context, h *models.Hold, now models.Micros) error {
	offer, err := s.offers.Offer(ctx, h.OfferID)
	if err != nil {
		return err
	}
	verdict, err := s.desk.Book(ctx, offer, models.Entry{
		OfferID: h.OfferID, ID: models.NewID(), Redemption: h.Redemption, Kind: models.KindExpire, NodeID: s.cfg.NodeID, CreatedAt: now,
	})
	switch {
	case errors.Is(err, models.ErrHoldResolved): // while this node was about to
		return nil
	case err == nil && !verdict.Replayed:
		s.expired.Inc()
	}
	return err
}

// report logs once that holds can't be expired, until it works again. That the database is away, or this node goes, is said elsewhere.
func (s *Sweeper) report(err error) {
	for _, elsewhere := range []error{models.ErrLedgerUnavailable, models.ErrOutcomeUnknown, models.ErrDraining} {
		if errors.Is(err, elsewhere) {
			return
		}
	}
	if s.trouble.Begins(err) {
		s.cfg.Logger.Warn().Err(err).Msg("holds not expired yet, trying on")
	}
}
