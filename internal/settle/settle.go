package settle

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/lease"
	"tranche/models"
)

// Ledger is what a Settler needs of the database. Nothing is committed after ctx's deadline.
type Ledger interface {
	Settle(ctx context.Context, batch models.Batch) ([]models.Verdict, error)
	SettleCart(ctx context.Context, cart models.Cart, items []models.Batch) ([]models.Verdict, error)
}

// Settler runs the queues, and carts beside them. It is safe for concurrent use.
type Settler struct {
	ledger  Ledger
	now     func() time.Time
	busy    func() bool // nil: never
	logger  zerolog.Logger
	metrics *metrics

	owed  atomic.Int64 // entries that were acknowledged and are not booked
	burst burst        // of those that come

	bookings     turns // of batches that nobody waits for, and of those that run once more
	backlogs     turns
	carts        turns
	cartsWaiting atomic.Int64

	mu       sync.Mutex // a queue or cart starts either before Stop, which waits for it, or not at all
	stopping bool
	draining chan struct{}   // closed when stopping
	running  sync.WaitGroup  // the queues and carts that run
	stop     context.Context // ends all attempts, and the pauses between them
	cancel   context.CancelFunc
}

// Config of a Settler.
type Config struct {
	Now     func() time.Time // with a monotonic reading
	Busy    func() bool      // whether requests have to wait for a processor; nil: never
	Logger  zerolog.Logger
	Metrics prometheus.Registerer
}

// New makes a Settler.
func New(cfg Config, ledger Ledger) *Settler {
	s := &Settler{
		ledger: ledger, now: cfg.Now, busy: cfg.Busy, logger: cfg.Logger, metrics: newMetrics(cfg.Metrics),
		bookings: make(turns, bookingsAtOnce), backlogs: make(turns, backlogsAtOnce), carts: make(turns, cartsAtOnce), draining: make(chan struct{}),
	}
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s
}

// Stop waits until all queues are empty, at most until ctx ends; then it gives up what is not decided. What is submitted
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

// start counts one more queue or cart that runs, unless the Settler stops.
func (s *Settler) start() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.running.Add(1)
	}
	return !s.stopping
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
	waits := waiter{decided, make(chan models.Verdict, 1)} // buffered: whoever decides never waits
	it := &item{Posting: &posting, requester: waits}
	it.deadline, _ = ctx.Deadline()
	if err := s.queue(posting.Block).add(it); err != nil {
		it.resolve(models.Verdict{Err: err})
		return models.Verdict{}, err
	}
	select {
	case v := <-waits.verdict:
		return v, v.Err
	case <-ctx.Done():
	}
	if it.state.CompareAndSwap(queued, withdrawn) { // give its units back now: the queue may be busy for a while
		it.resolve(models.Verdict{Err: models.ErrLedgerUnavailable})
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
// The posting must not change any more. It doesn't bound the queue. What is acknowledged is bounded by the journal.
func (s *Settler) Book(posting *lease.Posting, requester models.Requester) {
	s.owed.Add(1)
	s.burst.arrived.Add(1)
	s.queue(posting.Block).append(&item{Posting: posting, acknowledged: true, requester: requester})
}

// Resume makes the queue of a lease that an earlier process was granted, whose last settled batch is known from the database.
func (s *Settler) Resume(block *lease.Block, lastBatch int64) {
	block.Queue.Store(newQueue(s, block, lastBatch))
}

// queue gives the queue of a lease, which lives as long as its block.
func (s *Settler) queue(block *lease.Block) *queue {
	v := block.Queue.Load()
	if v == nil {
		block.Queue.CompareAndSwap(nil, newQueue(s, block, 0))
		v = block.Queue.Load()
	}
	return v.(*queue)
}
