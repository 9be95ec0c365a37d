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

// holding is what the node has of one offer.
//
// open is read by every request without a lock and replaced, never changed, under mu; granting is read like that, too, and changed
// under mu. All else below mu is guarded by it. Whatever talks to the database does so without it.
type holding struct {
	keeper  *Keeper
	offerID string

	open     atomic.Pointer[[]*Block] // may be spent from: the pool first, then blocks as they were granted
	lowWater atomic.Int64             // with less than this left, the next block is asked for
	granting atomic.Bool              // a goroutine is asking for leases
	tail     atomic.Bool              // the budget runs out, as far as the last grant could tell

	renewing atomic.Bool // a goroutine renews leases, or waits for its turn
	closing  atomic.Bool // the same for returning them
	troubles struct{ grant, renew, close run.Trouble }

	mu      sync.Mutex
	held    []*heldLease // everything that is not closed yet
	gone    int64        // units spent from what was held before
	unsure  *request     // a grant that is on its way, or whose reply is missing
	waiting []*waiter    // who found nothing to spend, first come first
	ahead   bool         // a grant was started to prefetch
	retired bool         // it was empty and has left the keeper: look the offer up again
	recall  int64        // the highest number that the node has heard: leases with a lower one go back
	short   shortage
	demand  demand
}

// heldLease is a block with what its renewal needs to know.
type heldLease struct {
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

func newHolding(k *Keeper, offerID string) *holding {
	h := &holding{keeper: k, offerID: offerID}
	h.open.Store(new([]*Block))
	return h
}

// spend takes units from the first open block that has them: refund pools come first, and older blocks before younger ones. To spread the
// load over several would make batches smaller.
func (h *holding) spend(n int64, now time.Time) *Block {
	var from *Block
	var left int64
	for _, b := range *h.open.Load() {
		left += b.Left()
		if from == nil && b.Spend(n, now) {
			from = b
		}
	}
	if from != nil && left-n < h.lowWater.Load() && !h.granting.Load() {
		h.prefetch(now)
	}
	return from
}

// wait queues for a grant.
func (h *holding) wait(ctx context.Context, offer *models.Offer, n int64) (*Block, error) {
	w := &waiter{offer: offer, units: n, outcome: make(chan served, 1)}
	if block, done, err := h.enqueue(w); done {
		return block, err
	}
	select {
	case s := <-w.outcome:
		return s.block, s.err
	case <-ctx.Done():
		h.abandon(w)
		return nil, models.ErrLedgerUnavailable
	}
}

// maxWaiting bounds the queue: beyond it requests are turned away at once.
const maxWaiting = 16384

// enqueue adds a waiter and sees to it that a grant is under way. It looks for units once more first, for a grant may have
// come in since the caller looked.
func (h *holding) enqueue(w *waiter) (block *Block, done bool, err error) {
	now := h.keeper.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.waiting) == 0 { // else those are first
		if b := h.spendAny(w.units, now); b != nil {
			return b, true, nil
		}
	}
	switch {
	case h.retired:
		return nil, true, errRetired
	case h.keeper.draining.Load():
		return nil, true, models.ErrDraining
	case now.Before(h.short.until) && w.units > h.short.enough:
		return nil, true, ErrShort
	case len(h.waiting) >= maxWaiting:
		return nil, true, models.ErrOverloaded
	case !h.ensureGrant():
		return nil, true, models.ErrDraining
	}
	h.waiting = append(h.waiting, w)
	return nil, false, nil
}

// spendAny takes n units from whichever block has them.
func (h *holding) spendAny(n int64, now time.Time) *Block {
	for _, b := range *h.open.Load() {
		if b.Spend(n, now) {
			return b
		}
	}
	return nil
}

// abandon takes a waiter out of the queue. One that has been served meanwhile gives its units back.
func (h *holding) abandon(w *waiter) {
	h.mu.Lock()
	h.waiting = slices.DeleteFunc(h.waiting, func(o *waiter) bool { return o == w })
	h.mu.Unlock()
	select {
	case s := <-w.outcome:
		if s.block != nil {
			s.block.Unspend(w.units)
		}
	default:
	}
}

// errRetired: the holding has left the keeper between being looked up and being used.
var errRetired = errors.New("holding retired")

// add starts to hold a block. mu is held.
func (h *holding) add(b *Block, asked time.Time) {
	h.held = append(h.held, &heldLease{Block: b, renewed: asked, leftAt: b.Left(), grantedAt: b.granted.Load()})
	h.publish()
}

// isOpen reports whether requests have to look at a block. While a burst is settled later, there are many fast ones that are used up; they
// come back when units do, which is rare: nothing refuses what they were spent for.
func (l *heldLease) isOpen() bool {
	usedUp := l.Kind == models.KindBlock && l.Mode == models.ModeFast && l.Left() == 0
	return !l.Sealed() && !usedUp
}

// publish makes the blocks that can be spent from visible to requests. mu is held.
func (h *holding) publish() {
	open := make([]*Block, 0, len(h.held))
	for _, l := range h.held {
		if !l.isOpen() {
			continue
		}
		if l.Kind == models.KindRefundPool {
			open = slices.Insert(open, 0, l.Block)
		} else {
			open = append(open, l.Block)
		}
	}
	h.open.Store(&open)
}

func (h *holding) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.held)
}

// spent is what was ever spent here, in units. mu is held.
func (h *holding) spent() int64 {
	units := h.gone
	for _, l := range h.held {
		units += l.Spent()
	}
	return units
}

// sealAll ends spending from everything that is held now, and gives it.
func (h *holding) sealAll() []*heldLease {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		l.Seal()
	}
	h.publish()
	return slices.Clone(h.held)
}

// adopt is add for a block that comes from outside, with the offer's number as the node knows it. It gives false when the holding has
// retired.
func (h *holding) adopt(b *Block, asked time.Time, number int64) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.retired {
		return false
	}
	h.add(b, asked)
	h.callBack(number)
	return true
}
