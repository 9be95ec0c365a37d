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

// Ledger is what a Settler needs of the database.
type Ledger interface {
	Settle(ctx context.Context, batch models.Batch) ([]models.Verdict, error)
}

// Limits of a batch and of a queue.
const (
	maxBatchEntries = 500
	maxBatchBytes   = 512 << 10 // well below the smallest packet limit in use
	maxQueued       = 16384     // per lease
)

// Settler runs the queues. It is safe for concurrent use.
type Settler struct {
	ledger  Ledger
	now     func() time.Time
	logger  zerolog.Logger
	metrics *metrics

	running sync.WaitGroup
	stop    context.Context // ends the wait between attempts at a batch of unknown outcome
	cancel  context.CancelFunc
}

// New makes a Settler; now needs a monotonic reading.
func New(ledger Ledger, now func() time.Time, logger zerolog.Logger, reg prometheus.Registerer) *Settler {
	s := &Settler{ledger: ledger, now: now, logger: logger, metrics: newMetrics(reg)}
	s.stop, s.cancel = context.WithCancel(context.Background())
	return s
}

// Stop waits for the batches under way, at most until ctx ends; then it gives up those whose outcome is still unknown.
// Nothing may be submitted any more.
func (s *Settler) Stop(ctx context.Context) {
	idle := make(chan struct{})
	go func() { s.running.Wait(); close(idle) }()
	select {
	case <-idle:
	case <-ctx.Done():
	}
	s.cancel()
	<-idle
}

// Settle books one wanted entry on block's lease and waits for the verdict; for a redeem entry, the block owes its units.
//
// The error is nil, a verdict's (see models.Verdict), or says that there is none: models.ErrLeaseClosed (try another lease),
// ErrLedgerUnavailable, ErrBusy or ErrOverloaded (nothing was booked), or ErrOutcomeUnknown. When ctx ends, the answer is one
// of the latter at once, and what is still under way is finished without its requester.
func (s *Settler) Settle(ctx context.Context, block *lease.Block, offer *models.Offer, entry models.Entry) (models.Verdict, error) {
	it := &item{entry: entry, done: make(chan models.Verdict, 1)}
	it.deadline, _ = ctx.Deadline()
	if err := s.submit(block, offer, it); err != nil {
		it.giveBack(block)
		return models.Verdict{}, err
	}
	select {
	case v := <-it.done:
		return v, v.Err
	case <-ctx.Done():
	}
	if it.state.CompareAndSwap(queued, withdrawn) {
		return models.Verdict{}, models.ErrLedgerUnavailable
	}
	select {
	case v := <-it.done: // it came at the same moment
		return v, v.Err
	default:
		return models.Verdict{}, models.ErrOutcomeUnknown
	}
}

// submit puts an item into its lease's queue and sees to it that the queue runs.
func (s *Settler) submit(block *lease.Block, offer *models.Offer, it *item) error {
	v := block.Lane.Load()
	if v == nil {
		block.Lane.CompareAndSwap(nil, &queue{settler: s, block: block})
		v = block.Lane.Load()
	}
	return v.(*queue).add(offer, it)
}

// item is a wanted entry with its requester.
type item struct {
	entry    models.Entry
	deadline time.Time // zero: none
	state    atomic.Int32
	done     chan models.Verdict // buffered: whoever decides never waits
}

// The states of an item. Only a queued one can be withdrawn.
const (
	queued int32 = iota
	attempted
	withdrawn
)

// spent is what the block of the item's lease has pending for it.
func (it *item) spent() int64 {
	if it.entry.Kind == models.KindRedeem {
		return it.entry.Units
	}
	return 0
}

func (it *item) giveBack(block *lease.Block) {
	if n := it.spent(); n > 0 {
		block.Unspend(n)
	}
}

// late reports whether the item's time is over.
func (it *item) late(now time.Time) bool { return !it.deadline.IsZero() && now.After(it.deadline) }

// bytes is about how much of a packet the item takes.
func (it *item) bytes() int {
	n := 256 + len(it.entry.OfferID) + len(it.entry.UserID) + len(it.entry.IdempotencyKey)
	for _, s := range []*string{it.entry.OrderID, it.entry.Reason, it.entry.Metadata} {
		if s != nil {
			n += len(*s)
		}
	}
	return n
}

// resolve gives an item its verdict and its units their place.
func (it *item) resolve(block *lease.Block, v models.Verdict) {
	switch n := it.spent(); {
	case n > 0 && v.Err == nil && !v.Replayed:
		block.Settled(n)
	case n > 0:
		block.Unspend(n)
	case v.Err == nil && !v.Replayed && v.Entry.RestoresBudget:
		block.Refund(v.Entry.Units)
	}
	it.done <- v
}
