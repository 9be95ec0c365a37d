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

// Holds is where a Sweeper finds what has run out. Looks must fail while the database takes no writes: then no shop can confirm.
type Holds interface {
	ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error)
}

// Sweeper gives the units of holds back that nobody has confirmed in time. Every node runs one, and any may be first.
//
// A hold is expired a moment after its end by the database's clock, so that a confirmation sent in time is not late on its way. And after
// the database was silent, or at the start, holds are left alone for as long as that took, up to a few seconds: shops that could not
// confirm meanwhile have their chance first. An outage adds no more than its own length, so holds do not live for ever either.
type Sweeper struct {
	nodeID  models.ID
	holds   Holds
	offers  Offers
	desk    *Desk
	now     func() time.Time
	logger  zerolog.Logger
	expired prometheus.Counter

	// Of the goroutine that runs:
	answered time.Time // when the database last answered
	resume   time.Time // until then holds are left alone
	trouble  run.Trouble
}

// NewSweeper makes a Sweeper that books through a Desk; now needs a monotonic reading.
func NewSweeper(nodeID models.ID, holds Holds, offers Offers, desk *Desk, now func() time.Time, logger zerolog.Logger, reg prometheus.Registerer) *Sweeper {
	s := &Sweeper{
		nodeID: nodeID, holds: holds, offers: offers, desk: desk, now: now, logger: logger,
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_holds_expired_total", Help: "Holds past their end that this node has given back.",
		}),
	}
	reg.MustRegister(s.expired)
	return s
}

const (
	sweepEvery   = 500 * time.Millisecond
	sweepTimeout = 5 * time.Second
	// silence is how long ago the last answer may be before the database counts as having been away; or this process was stopped.
	silence = 4 * sweepEvery
	// chance is the most that holds are left alone for after a silence.
	chance = 5 * time.Second
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
	now := s.now()
	expired, err := s.holds.ExpiredHolds(ctx, sweepReads)
	if err != nil || !s.mayExpire(now) {
		return false // an outage is reported by the store
	}
	due := ripe(&expired)
	rand.Shuffle(len(due), func(i, j int) { due[i], due[j] = due[j], due[i] })
	more = len(due) > sweepAtOnce
	err = s.expireAll(ctx, due[:min(sweepAtOnce, len(due))], expired.Now)
	s.report(err)
	if err == nil {
		s.answered = s.now() // for all the time that it took
	}
	return err == nil && more
}

// mayExpire takes note that the database has answered a question asked at now, and says whether holds have been given their chance.
func (s *Sweeper) mayExpire(now time.Time) bool {
	if away := now.Sub(s.answered); away > silence {
		s.resume = now.Add(min(away, chance))
	}
	s.answered = now
	return !now.Before(s.resume)
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
		OfferID: h.OfferID, ID: models.NewID(), Redemption: h.Redemption, Kind: models.KindExpire, NodeID: s.nodeID, CreatedAt: now,
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
		s.logger.Warn().Err(err).Msg("holds not expired yet, trying on")
	}
}
