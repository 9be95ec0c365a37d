package lease

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// offerLeases is what the node has of one offer.
//
// open is read by every request without a lock and replaced, never changed, under mu; granting is read like that, too, and changed
// under mu. All else below mu is guarded by it. Calls to the database run without it.
type offerLeases struct {
	keeper  *Keeper
	offerID string

	open     atomic.Pointer[[]*Block] // may be spent from: the pool first, then blocks as they were granted
	lowWater atomic.Int64             // with less than this left, the next block is asked for
	granting atomic.Bool              // a goroutine is asking for leases
	tail     atomic.Bool              // the budget runs out, as far as the last grant could tell

	renewing atomic.Bool // a goroutine renews leases, or waits for its turn
	closing  atomic.Bool // the same for returning them
	troubles struct{ grant, inVain, renew, close run.Trouble }

	mu      sync.Mutex
	leases  []*ownLease // everything that is not closed yet
	gone    int64       // units spent from leases that are closed
	unsure  *request    // a grant that is on its way, or whose reply is missing
	returns []models.ID // leases that go back with the next grant
	waiting []*waiter   // who found nothing to spend, first come first
	ahead   bool        // a grant was started to prefetch
	retired bool        // it was empty and has left the keeper: look the offer up again
	recall  int64       // the offer's number, as far as the node has heard: leases with a lower one go back
	inVain  int         // leases in a row that could not be spent from when they came
	rest    run.Backoff // before the next grant, while they are in vain. It belongs to the goroutine that asks
	short   shortage
	demand  demand
}

// ownLease is a block with what its renewal needs to know.
type ownLease struct {
	*Block
	renewed   time.Time // when the request for the lease, or its last renewal, was sent
	leftAt    int64     // Left, then: a lease that was not spent from since is not renewed
	grantedAt int64     // units granted, then: a pool that grew is in use too
	lost      bool      // somebody else has closed it
	recalled  bool      // it is being returned, because the offer's leases were called back
}

// waiter is a request that waits for a grant.
type waiter struct {
	offer   *models.Offer
	units   int64
	asked   bool        // its units are in the request on its way
	until   time.Time   // from the first look that found too little: when it has waited long enough for units to come back
	outcome chan served // buffered: whoever serves never waits
}

type served struct {
	block *Block
	err   error
}

func newOfferLeases(k *Keeper, offerID string) *offerLeases {
	ol := &offerLeases{keeper: k, offerID: offerID, rest: run.Backoff{Min: vainPause, Max: maxVainPause}}
	ol.open.Store(new([]*Block))
	return ol
}

// spend takes units from the first open block that has them: refund pools come first, and older blocks before younger ones. To spread the
// load over several would make batches smaller.
func (ol *offerLeases) spend(n int64, now time.Time) *Block {
	var from *Block
	var left int64
	for _, b := range *ol.open.Load() {
		left += b.Left()
		if from == nil && b.Spend(n, now) {
			from = b
		}
	}
	if from != nil && left-n < ol.lowWater.Load() && !ol.granting.Load() {
		ol.prefetch(now)
	}
	return from
}

// wait queues for a grant.
func (ol *offerLeases) wait(ctx context.Context, offer *models.Offer, n int64) (*Block, error) {
	w := &waiter{offer: offer, units: n, outcome: make(chan served, 1)}
	if block, done, err := ol.enqueue(w); done {
		return block, err
	}
	select {
	case s := <-w.outcome:
		return s.block, s.err
	case <-ctx.Done():
		ol.abandon(w)
		return nil, models.ErrLedgerUnavailable
	}
}

// maxWaiting bounds the queue: beyond it requests are turned away at once.
const maxWaiting = 16384

// enqueue adds a waiter and sees to it that a grant is under way. It looks for units once more first, for a grant may have
// come in since the caller looked.
func (ol *offerLeases) enqueue(w *waiter) (block *Block, done bool, err error) {
	now := ol.keeper.cfg.Now()
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if len(ol.waiting) == 0 { // else those are first
		if b := ol.spendAny(w.units, now); b != nil {
			return b, true, nil
		}
	}
	switch {
	case ol.retired:
		return nil, true, errRetired
	case ol.keeper.draining.Load():
		return nil, true, models.ErrDraining
	case now.Before(ol.short.until) && w.units > max(ol.short.enough, ol.leftHere(now)):
		return nil, true, ErrShort
	case len(ol.waiting) >= maxWaiting:
		return nil, true, models.ErrOverloaded
	case !ol.ensureGrant():
		return nil, true, models.ErrDraining
	}
	ol.waiting = append(ol.waiting, w)
	return nil, false, nil
}

// spendAny takes n units from whichever block has them.
func (ol *offerLeases) spendAny(n int64, now time.Time) *Block {
	for _, b := range *ol.open.Load() {
		if b.Spend(n, now) {
			return b
		}
	}
	return nil
}

// abandon takes a waiter out of the queue. One that has been served meanwhile gives its units back.
func (ol *offerLeases) abandon(w *waiter) {
	ol.mu.Lock()
	ol.waiting = slices.DeleteFunc(ol.waiting, func(o *waiter) bool { return o == w })
	ol.mu.Unlock()
	select {
	case s := <-w.outcome:
		if s.block != nil {
			s.block.Unspend(w.units)
		}
	default:
	}
}

// errRetired: they have left the keeper between being looked up and being used.
var errRetired = errors.New("the leases of the offer have left the keeper")

// add takes in a block. mu is held.
func (ol *offerLeases) add(b *Block, asked time.Time) {
	ol.leases = append(ol.leases, &ownLease{Block: b, renewed: asked, leftAt: b.Left(), grantedAt: b.granted.Load()})
	ol.publish()
}

// publish makes the blocks that can be spent from visible to requests. mu is held.
func (ol *offerLeases) publish() {
	open := make([]*Block, 0, len(ol.leases))
	for _, l := range ol.leases {
		if l.Sealed() {
			continue
		}
		if l.Kind == models.KindRefundPool {
			open = slices.Insert(open, 0, l.Block)
		} else {
			open = append(open, l.Block)
		}
	}
	ol.open.Store(&open)
}

func (ol *offerLeases) count() int {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	return len(ol.leases)
}

// spent is what was ever spent here, in units. mu is held.
func (ol *offerLeases) spent() int64 {
	units := ol.gone
	for _, l := range ol.leases {
		units += l.Spent()
	}
	return units
}

// sealAll ends spending from all leases, and gives them.
func (ol *offerLeases) sealAll() []*ownLease {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	for _, l := range ol.leases {
		l.Seal()
	}
	ol.publish()
	return slices.Clone(ol.leases)
}

// adopt is add for a block that comes from outside, with its offer. It gives false when the offer's leases have retired.
func (ol *offerLeases) adopt(b *Block, asked time.Time, offer *models.Offer) bool {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if ol.retired {
		return false
	}
	ol.add(b, asked)
	ol.heed(offer)
	return true
}
