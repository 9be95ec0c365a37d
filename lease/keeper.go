package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/run"
	"tranche/models"
)

// ErrShort says that neither this node's blocks nor the budget have the units that were asked for.
var ErrShort = errors.New("not enough units to lease")

// Ledger is what a Keeper needs of the database. Each call has its own time-out.
type Ledger interface {
	Grant(ctx context.Context, req models.GrantRequest) (models.Grant, error)
	Renew(ctx context.Context, nodeID models.ID, epoch int64, offerID string, ids []models.ID) ([]models.ID, models.Offer, error)
	ReturnLeases(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error)
	Acquit(ctx context.Context, offerID string, leaseIDs []models.ID) error
	Balance(ctx context.Context, offerID string) (models.Balance, error)
	Recall(ctx context.Context, offerID string, from int64) (models.Offer, error)
}

// Config of a Keeper and of a Reaper, which uses no NodeID.
type Config struct {
	NodeID  models.ID
	Now     func() time.Time // with a monotonic reading
	Logger  zerolog.Logger
	Metrics prometheus.Registerer
}

// Offers is what the node knows of the offers; see catalogue.Catalogue.
type Offers interface {
	// Learn takes in an offer that came with a pool, or with a renewal, before that is spent from, and gives it as the node knows it then.
	// LearnLocked is the same for one that was read under its row's lock.
	Learn(o models.Offer, sent time.Time) *models.Offer
	LearnLocked(o models.Offer, sent time.Time) *models.Offer
	// Newer gives an offer as the node knows it by now.
	Newer(o *models.Offer) *models.Offer
	// Subscribe has hear called with each offer that is news to the node. back: the ledger has lost commits, and what the node knew of
	// the offer with them.
	Subscribe(hear func(o *models.Offer, back bool))
}

// Keeper owns the leases of a node. It is safe for concurrent use.
//
// Begin makes it usable, Run keeps its leases alive, Drain ends it.
type Keeper struct {
	cfg     Config
	ledger  Ledger
	offers  Offers
	metrics *metrics

	epoch  atomic.Int64 // 0: not begun
	leases sync.Map     // offer id → *offerLeases

	mu       sync.Mutex      // a goroutine starts either before Drain, which waits for it, or not at all
	draining atomic.Bool     // changes under mu
	running  sync.WaitGroup  // the goroutines that ask for leases, and those that return recalled ones
	stop     context.Context // ends when draining begins
	cancel   context.CancelFunc

	renewals, closings run.Turns // of offers, in maintenance; see Run
}

// NewKeeper makes a Keeper that holds nothing, and hears of recalls from offers.
func NewKeeper(cfg Config, ledger Ledger, offers Offers) *Keeper {
	k := &Keeper{
		cfg: cfg, ledger: ledger, offers: offers, metrics: newMetrics(cfg.Metrics),
		renewals: run.NewTurns(renewAtOnce), closings: run.NewTurns(closeAtOnce),
	}
	k.stop, k.cancel = context.WithCancel(context.Background())
	offers.Subscribe(k.hear)
	return k
}

// Begin sets the epoch that leases are asked for with. Before it, every Spend is refused as ErrLedgerUnavailable.
func (k *Keeper) Begin(epoch int64) { k.epoch.Store(epoch) }

// Epoch is the one that Begin set; 0 before.
func (k *Keeper) Epoch() int64 { return k.epoch.Load() }

// Spend takes n units of an offer out of one of this node's blocks, and gives that block; the caller owes it a Settled or an
// Unspend of n. Where no block has them it waits for a grant, at most until ctx ends.
//
// Errors: ErrShort, models.ErrOfferNotActive (by the database's clock), models.ErrTotalsExceeded, models.ErrLedgerUnavailable, models.ErrDraining, or
// whatever the grant failed with. After an error nothing is taken.
func (k *Keeper) Spend(ctx context.Context, offer *models.Offer, n int64, now time.Time) (*Block, error) {
	switch {
	case k.draining.Load():
		return nil, models.ErrDraining
	case k.epoch.Load() == 0:
		return nil, models.ErrLedgerUnavailable
	}
	for {
		ol := k.leasesOf(offer.ID)
		if block := ol.spend(n, now); block != nil {
			return block, nil
		}
		if block, err := ol.wait(ctx, offer, n); !errors.Is(err, errRetired) {
			return block, err
		}
	}
}

// Reconsider forgets that the budget was short: the offer's books were seen to have units again.
func (k *Keeper) Reconsider(offerID string) {
	if v, ok := k.leases.Load(offerID); ok {
		ol := v.(*offerLeases)
		ol.mu.Lock()
		defer ol.mu.Unlock()
		ol.short.until = time.Time{}
	}
}

// hear takes in an offer as it is by now: leases that are recalled are sealed before hear returns, and go back as soon as nothing of
// them is pending. If the ledger has lost commits, all are: it may not have them, or not as they are here.
func (k *Keeper) hear(offer *models.Offer, back bool) {
	v, ok := k.leases.Load(offer.ID)
	if !ok {
		return
	}
	ol := v.(*offerLeases)
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if back {
		ol.recall = offer.Recall
		ol.giveUp(func(*ownLease) bool { return true })
	}
	ol.callBack(offer.Recall)
}

// Holds reports whether the node has a lease, or has asked for it. It does not spend from any other one.
func (k *Keeper) Holds(offerID string, leaseID models.ID) bool {
	v, ok := k.leases.Load(offerID)
	if !ok {
		return false
	}
	ol := v.(*offerLeases)
	ol.mu.Lock()
	defer ol.mu.Unlock()
	asked := ol.unsure != nil && ol.unsure.LeaseID == leaseID
	return asked || slices.ContainsFunc(ol.leases, func(l *ownLease) bool { return l.LeaseID == leaseID })
}

// HasUnits reports whether the node has any lease that there is something to spend from, not past its deadline.
func (k *Keeper) HasUnits() (has bool) {
	now := k.cfg.Now()
	k.leases.Range(func(_, v any) bool {
		has = slices.ContainsFunc(*v.(*offerLeases).open.Load(), func(b *Block) bool { return b.Left() > 0 && !b.ExpiredAt(now) })
		return !has
	})
	return has
}

// InTail reports whether the budget of an offer that this node has leases of is running out.
func (k *Keeper) InTail() (tail bool) {
	k.leases.Range(func(_, v any) bool {
		ol := v.(*offerLeases)
		tail = ol.tail.Load() && ol.count() > 0 // with nothing to give back, there is no hurry to hear of a recall
		return !tail
	})
	return tail
}

// Adopt takes over a block that was not granted from the budget: a refund pool. offer is as it was after the pool was there, in the answer
// to a request that was sent at an instant.
//
// The node may have heard of a recall since, when it had no lease of the offer. So the place that remembers is made first, and then
// asked for is what the node knows: whatever it hears later, it tells that place.
func (k *Keeper) Adopt(b *Block, offer *models.Offer, sent time.Time) {
	k.offers.Learn(*offer, sent)
	for !k.leasesOf(b.OfferID).adopt(b, sent, offer) {
	}
}

// Pool gives the refund pool of an offer that is open now, or nil.
func (k *Keeper) Pool(offerID string) *Block {
	v, ok := k.leases.Load(offerID)
	if !ok {
		return nil
	}
	for _, b := range *v.(*offerLeases).open.Load() {
		if b.Kind == models.KindRefundPool && !b.Sealed() && !b.ExpiredAt(k.cfg.Now()) {
			return b
		}
	}
	return nil
}

func (k *Keeper) leasesOf(offerID string) *offerLeases {
	if v, ok := k.leases.Load(offerID); ok {
		return v.(*offerLeases)
	}
	v, _ := k.leases.LoadOrStore(offerID, newOfferLeases(k, offerID))
	return v.(*offerLeases)
}

// each calls do for every offer that the node has anything of.
func (k *Keeper) each(do func(ol *offerLeases)) {
	k.leases.Range(func(_, v any) bool {
		do(v.(*offerLeases))
		return true
	})
}

// start counts one more goroutine that asks for leases, or returns recalled ones, unless the node drains.
func (k *Keeper) start() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.draining.Load() {
		return false
	}
	k.running.Add(1)
	return true
}

const (
	// maintainEvery is how often leases are looked at. The shortest time to live renews at a third of 5 s.
	maintainEvery = 200 * time.Millisecond
	// How many offers' leases are renewed and returned side by side.
	renewAtOnce = 8
	closeAtOnce = 8
)

// Run renews and returns leases until ctx ends. It is to run until after Drain.
//
// Looking at a lease costs next to nothing and waits for nobody. A renewal or a return runs in a goroutine of its own, which waits for its
// turn. Renewals and returns have turns apart: a return may wait for a locked row, and a renewal must not wait for returns. So an offer in
// trouble delays no other.
func (k *Keeper) Run(ctx context.Context) {
	var group sync.WaitGroup
	run.Every(ctx, maintainEvery, func(ctx context.Context) { k.maintain(ctx, &group) })
	group.Wait()
}

// maintain looks at every lease once, and starts what is to be done and is not under way already.
func (k *Keeper) maintain(ctx context.Context, group *sync.WaitGroup) {
	now := k.cfg.Now()
	leases := 0
	k.each(func(ol *offerLeases) {
		w := ol.review(now)
		leases += w.leases
		if len(w.renew) > 0 {
			k.inTurn(ctx, group, k.renewals, &ol.renewing, func() { ol.renew(ctx, w.renew) })
		}
		if w.close {
			k.inTurn(ctx, group, k.closings, &ol.closing, func() { _ = ol.closeQuiet(ctx) }) // it has reported its error
		}
		if w.ask {
			ol.prefetch(now)
		}
	})
	k.metrics.leases.Set(float64(leases))
}

// inTurn starts work that waits for its turn, unless it is under way.
func (k *Keeper) inTurn(ctx context.Context, group *sync.WaitGroup, turns run.Turns, underWay *atomic.Bool, work func()) {
	if !underWay.CompareAndSwap(false, true) {
		return
	}
	group.Go(func() {
		defer underWay.Store(false)
		if turns.Take(ctx) {
			defer turns.End()
			work()
		}
	})
}
