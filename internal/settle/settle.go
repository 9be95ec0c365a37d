package settle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// Ledger is what a Settler needs of the database. Nothing is committed after ctx's deadline.
type Ledger interface {
	Settle(ctx context.Context, batch models.Batch) ([]models.Verdict, error)
	// Locked says which entries of a batch others keep from being booked, without a wait; errors.ErrUnsupported: it can't tell.
	Locked(ctx context.Context, batch models.Batch) ([]bool, error)
	SettleCart(ctx context.Context, cart models.Cart, items []models.Batch) ([]models.Verdict, error)
}

const (
	// unattendedAtOnce is how many transactions run at once, at most, that nobody waits for, or that repeat one of unknown outcome. They
	// take a quarter of the connections: a batch of requests, a grant and a look-up must always find one.
	unattendedAtOnce = 8
	// cartsAtOnce is how many carts run at once, at most, on half of the connections. Each does less with its connection than a batch.
	cartsAtOnce = 16
	// maxOwed bounds the acknowledged entries that are not in the ledger yet. A node takes about 1 kB of memory for each.
	maxOwed = 1 << 18
)

// Settler runs the queues, and carts beside them. It is safe for concurrent use.
type Settler struct {
	ledger  Ledger
	now     func() time.Time
	logger  zerolog.Logger
	metrics *metrics

	owed         atomic.Int64 // acknowledged entries that are not in the ledger yet
	unattended   run.Turns
	carts        run.Turns
	cartsWaiting atomic.Int64

	mu       sync.Mutex // a queue or cart starts either before Stop, which waits for it, or not at all
	stopping bool
	queues   map[*lease.Block]*queue // those that have entries. mu guards their entries, too
	locked   map[party]time.Time     // parties whose rows are locked, and until when they are taken for it
	sweepAt  int                     // how many of them there are when those of long ago are forgotten
	blind    atomic.Bool             // the ledger can't tell what is locked

	draining chan struct{}   // closed when stopping
	running  sync.WaitGroup  // the queues and carts that run
	stop     context.Context // ends all attempts, and the pauses between them
	cancel   context.CancelFunc
}

// Config of a Settler.
type Config struct {
	Now     func() time.Time // with a monotonic reading
	Logger  zerolog.Logger
	Metrics prometheus.Registerer
	// Connections is how many calls of the ledger can run at once; 0: as many as there are.
	Connections int
}

// New makes a Settler.
func New(cfg Config, ledger Ledger) *Settler {
	s := &Settler{
		ledger: ledger, now: cfg.Now, logger: cfg.Logger, metrics: newMetrics(cfg.Metrics),
		unattended: run.NewTurns(atOnce(unattendedAtOnce, cfg.Connections, 4)), carts: run.NewTurns(atOnce(cartsAtOnce, cfg.Connections, 2)),
		queues: map[*lease.Block]*queue{}, locked: map[party]time.Time{}, draining: make(chan struct{}),
	}
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s
}

// atOnce gives a part of the connections, but one at least.
func atOnce(most, connections, part int) int {
	if connections == 0 {
		return most
	}
	return min(most, max(1, connections/part))
}

// Stop waits until all queues are empty, at most until ctx ends; then it gives up what is not decided. A posting that is submitted
// meanwhile is refused as models.ErrDraining, unless its queue is still running. It may be called more than once.
func (s *Settler) Stop(ctx context.Context) {
	s.mu.Lock()
	if !s.stopping {
		s.stopping = true
		close(s.draining)
	}
	s.mu.Unlock()
	defer context.AfterFunc(ctx, s.cancel)()
	s.running.Wait()
	s.cancel()
}

// Settle books one wanted entry and waits for the verdict; for a redeem or hold entry, the block owes its units.
//
// The error is nil, a verdict's (see models.Verdict), or says that there is none: models.ErrLeaseClosed (try another lease),
// ErrLedgerUnavailable, ErrBusy, ErrOverloaded or ErrDraining (nothing was booked), or ErrOutcomeUnknown. When ctx ends, the answer
// is ErrLedgerUnavailable or ErrOutcomeUnknown at once, and what is still under way is finished without its requester.
//
// decided, unless it is nil, is called once, as soon as nothing of the entry is on its way any more: before Settle returns, or after
// an ErrOutcomeUnknown when its batch comes to an end, or the Settler stops. It is called from any goroutine, and must not wait.
func (s *Settler) Settle(ctx context.Context, posting lease.Posting, decided func()) (models.Verdict, error) {
	waits := waiter{decided, make(chan models.Verdict, 1)} // buffered, so that Decided never waits
	sub := &submission{Posting: &posting, requester: waits}
	sub.deadline, _ = ctx.Deadline()
	if err := s.submit(sub); err != nil {
		sub.resolve(models.Verdict{Err: err})
		return models.Verdict{}, err
	}
	select {
	case v := <-waits.verdict:
		return v, v.Err
	case <-ctx.Done():
	}
	if sub.state.CompareAndSwap(queued, withdrawn) { // give its units back now: the queue may be busy for a while
		sub.resolve(models.Verdict{Err: sub.undecided()})
	}
	select {
	case v := <-waits.verdict: // perhaps it came at the same moment
		return v, v.Err
	default:
		return models.Verdict{}, models.ErrOutcomeUnknown
	}
}

// waiter is a requester that waits for the verdict.
type waiter struct {
	decided func() // nil: nobody wants to know
	verdict chan models.Verdict
}

// Decided implements models.Requester.
func (w waiter) Decided(v models.Verdict) {
	if w.decided != nil {
		w.decided()
	}
	w.verdict <- v
}

// Book books a redeem or hold entry that was acknowledged from the journal. It never gives up: through outages, and after the lease was
// closed, when the entry becomes a late one. The requester, which has had its answer, hears the verdict; not when the Settler stops first.
//
// The posting must not change any more. Book refuses nothing: ask Overloaded before an entry is acknowledged.
func (s *Settler) Book(posting *lease.Posting, requester models.Requester) {
	s.owed.Add(1)
	_ = s.submit(&submission{Posting: posting, acknowledged: true, requester: requester}) // while the Settler stops, the journal keeps it
}

// Overloaded reports whether the node owes the ledger so many entries that it must not acknowledge more.
func (s *Settler) Overloaded() bool { return s.owed.Load() >= maxOwed }

// untilKnown repeats a transaction of unknown outcome, with pauses, until an attempt tells what became of it: it commits, or fails with
// an error that tells. Each attempt takes its turn. ErrOutcomeUnknown: the Settler stopped first.
func (s *Settler) untilKnown(attempt func(context.Context) ([]models.Verdict, error), tells func(error) bool) ([]models.Verdict, error) {
	for backoff := newBackoff(); backoff.Wait(s.stop) && s.unattended.Take(s.stop); {
		s.metrics.repeated.Inc()
		verdicts, err := attempt(s.stop)
		s.unattended.End()
		if err == nil || tells(err) {
			return verdicts, err
		}
	}
	return nil, models.ErrOutcomeUnknown
}

// within is the context of a first attempt: it ends at the deadline, if there is one, or when the Settler gives up.
func (s *Settler) within(deadline time.Time) (context.Context, context.CancelFunc) {
	if deadline.IsZero() {
		return context.WithCancel(s.stop)
	}
	return context.WithDeadline(s.stop, deadline)
}

// newBackoff is short at first, because most commits without a reply are found by the next attempt.
func newBackoff() run.Backoff { return run.Backoff{Min: 20 * time.Millisecond, Max: time.Second} }
