package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tranche/internal/run"
	"tranche/models"
)

// ErrShort: neither this node's blocks nor the budget have the units that were asked for.
var ErrShort = errors.New("not enough units to lease")

// Ledger is what a Keeper needs of the database. Each call has its own time-out.
type Ledger interface {
	Grant(ctx context.Context, req models.GrantRequest) (models.Grant, error)
	Renew(ctx context.Context, nodeID models.ID, epoch int64, offerID string, ids []models.ID) ([]models.ID, error)
	CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (models.Lease, bool, error)
}

// Config of a Keeper.
type Config struct {
	NodeID  models.ID
	Lanes   int              // leases per grant, at the most: how many batches of one offer settle at once
	Now     func() time.Time // with a monotonic reading
	Logger  zerolog.Logger
	Metrics prometheus.Registerer
	// Learned is told of each offer that a grant has read.
	Learned func(models.Offer)
}

// Keeper owns the leases of a node. It is safe for concurrent use.
//
// Begin makes it usable, Run keeps its leases alive, Drain ends it.
type Keeper struct {
	cfg     Config
	ledger  Ledger
	metrics *metrics

	epoch    atomic.Int64 // 0: not begun
	draining atomic.Bool
	holdings sync.Map       // offer id → *holding
	grants   sync.WaitGroup // the goroutines that wait for a grant
	stop     context.Context
	cancel   context.CancelFunc
}

// NewKeeper makes a Keeper that holds nothing.
func NewKeeper(cfg Config, ledger Ledger) *Keeper {
	k := &Keeper{cfg: cfg, ledger: ledger, metrics: newMetrics(cfg.Metrics)}
	k.stop, k.cancel = context.WithCancel(context.Background())
	return k
}

// Begin sets the epoch that leases are asked for with. Before it, every Spend is refused as ErrLedgerUnavailable.
func (k *Keeper) Begin(epoch int64) { k.epoch.Store(epoch) }

// Epoch is the one that Begin set; 0 before.
func (k *Keeper) Epoch() int64 { return k.epoch.Load() }

// Spend takes n units of an offer out of one of this node's blocks, and gives that block; the caller owes it a Settled or an
// Unspend of n. Where no block has them it waits for a grant, at most until ctx ends.
//
// Errors: ErrShort, models.ErrOfferNotActive (by the database's clock), models.ErrLedgerUnavailable, models.ErrDraining, or
// whatever the grant failed with. After an error nothing is taken.
func (k *Keeper) Spend(ctx context.Context, offer *models.Offer, n int64, now time.Time) (*Block, error) {
	switch {
	case k.draining.Load():
		return nil, models.ErrDraining
	case k.epoch.Load() == 0:
		return nil, models.ErrLedgerUnavailable
	}
	for {
		h := k.holding(offer.ID)
		if block := h.spend(n, now); block != nil {
			return block, nil
		}
		if block, err := h.wait(ctx, offer, n); !errors.Is(err, errRetired) {
			return block, err
		}
	}
}

// Reconsider forgets that the budget was short: the offer's books were seen to have units again.
func (k *Keeper) Reconsider(offerID string) {
	if v, ok := k.holdings.Load(offerID); ok {
		h := v.(*holding)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.short = shortage{}
	}
}

// Holds reports whether the node has any lease.
func (k *Keeper) Holds() (holds bool) {
	k.holdings.Range(func(_, v any) bool {
		holds = v.(*holding).count() > 0
		return !holds
	})
	return holds
}

// Adopt takes over a block that was not granted from the budget: a refund pool.
func (k *Keeper) Adopt(b *Block) {
	for !k.holding(b.OfferID).adopt(b, k.cfg.Now()) {
	}
}

// Pool gives the refund pool of an offer that is open now, or nil.
func (k *Keeper) Pool(offerID string) *Block {
	v, ok := k.holdings.Load(offerID)
	if !ok {
		return nil
	}
	for _, b := range *v.(*holding).open.Load() {
		if b.Kind == models.KindRefundPool && !b.Sealed() && !b.ExpiredAt(k.cfg.Now()) {
			return b
		}
	}
	return nil
}

func (k *Keeper) holding(offerID string) *holding {
	if v, ok := k.holdings.Load(offerID); ok {
		return v.(*holding)
	}
	v, _ := k.holdings.LoadOrStore(offerID, newHolding(k, offerID))
	return v.(*holding)
}

const (
	// maintainEvery is how often leases are looked at. The shortest time to live renews at a third of 5 s.
	maintainEvery = 200 * time.Millisecond
	// maintainAtOnce is how many offers' leases are renewed and closed side by side.
	maintainAtOnce = 8
)

// Run renews and returns leases until ctx ends. It is to run until after Drain.
func (k *Keeper) Run(ctx context.Context) {
	run.Every(ctx, maintainEvery, k.maintain)
}

// maintain looks at every lease once.
func (k *Keeper) maintain(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(maintainAtOnce)
	var leases int
	k.holdings.Range(func(_, v any) bool {
		h := v.(*holding)
		held := h.count()
		leases += held
		if held == 0 {
			h.retire(k.cfg.Now())
			return true
		}
		group.Go(func() error { h.maintain(ctx); return nil })
		return true
	})
	_ = group.Wait() // holdings report their own errors
	k.metrics.held.Set(float64(leases))
}

// Drain refuses all further spending, waits until what was spent is settled, and returns every lease. It gives the number of
// leases that it had to leave to the reapers because ctx ended first.
func (k *Keeper) Drain(ctx context.Context) (left int) {
	k.draining.Store(true)
	k.cancel()
	k.grants.Wait()
	backoff := run.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	for {
		left = 0
		k.holdings.Range(func(_, v any) bool {
			h := v.(*holding)
			h.sealAll()
			h.closeQuiet(ctx)
			left += h.count()
			return true
		})
		if left == 0 || !backoff.Wait(ctx) {
			return left
		}
	}
}
