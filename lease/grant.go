package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// request is a grant on its way.
type request struct {
	models.GrantRequest
	sent     time.Time // the first time: its lease may count from there
	again    bool      // it was sent before, and whether it was granted then is not known
	appetite Appetite
	tail     bool // the budget runs out
}

// prefetch asks for the next block ahead of need.
func (ol *offerLeases) prefetch(now time.Time) {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if ol.granting.Load() || ol.retired || now.Before(ol.short.until) {
		return
	}
	ol.ahead = ol.ensureGrant()
}

// ensureGrant sees to it that a goroutine asks for leases of this offer. It gives false when the node drains. mu is held.
func (ol *offerLeases) ensureGrant() bool {
	if ol.granting.Load() {
		return true
	}
	if !ol.keeper.start() {
		return false
	}
	ol.granting.Store(true)
	go func() {
		defer ol.keeper.running.Done()
		ol.grantWhileNeeded(ol.keeper.stop)
	}()
	return true
}

// grantWhileNeeded asks again until nobody waits. If anything goes wrong in it, the waiting requests hear of it and the next request
// starts it anew.
func (ol *offerLeases) grantWhileNeeded(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil {
			ol.keeper.cfg.Logger.Error().Interface("panic", r).Str("offer_id", ol.offerID).Msg("grant panicked")
			ol.stopGranting(fmt.Errorf("%w: a grant panicked", models.ErrLedgerUnavailable))
		}
	}()
	for ol.needed() {
		err := ol.lookAndGrant(ctx)
		if ctx.Err() == nil {
			ol.report(&ol.troubles.grant, err, "grant failed")
		}
		if err != nil {
			ol.keeper.metrics.grants.failed.Inc()
			ol.stopGranting(err)
			return
		}
	}
}

const (
	// vainPause is before a grant when the two leases before it could not be spent from. It doubles up to maxVainPause, whatever the
	// reason is: such leases cost transactions on the offer's row, and nobody has their units until they are returned.
	vainPause    = 25 * time.Millisecond
	maxVainPause = 2 * time.Second
)

// isInVain reports whether grants have become useless, and says so once in the log.
func (ol *offerLeases) isInVain() bool {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	var err error
	if ol.inVain > 1 {
		err = errInVain
	}
	ol.report(&ol.troubles.inVain, err, "grants bring nothing to spend")
	return err != nil
}

var errInVain = errors.New("leases are recalled or over when they come")

// lookAndGrant asks for leases, unless the books say that there is nothing to be had.
func (ol *offerLeases) lookAndGrant(ctx context.Context) error {
	looked := ol.looksFirst()
	if looked {
		if worth, err := ol.look(ctx); !worth || err != nil {
			return err
		}
	}
	if ol.isInVain() {
		ol.rest.Wait(ctx)
	}
	came, err := ol.grantOnce(ctx)
	if looked && err == nil && !came { // others were faster, or the books are not what they seem
		run.Pause(ctx, lookEvery)
	}
	return err
}

// needed reports whether to ask once more; else granting is over.
func (ol *offerLeases) needed() bool {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	needed := len(ol.waiting) > 0 || ol.ahead
	ol.granting.Store(needed)
	return needed
}

// stopGranting fails all who wait, unless there is something for them after all.
func (ol *offerLeases) stopGranting(err error) {
	switch {
	case ol.keeper.stop.Err() != nil:
		err = models.ErrDraining
	case errors.Is(err, models.ErrOutcomeUnknown): // of the grant; nothing of those who wait is on its way
		err = fmt.Errorf("%w: the reply to a grant is missing", models.ErrLedgerUnavailable)
	}
	ol.mu.Lock()
	defer ol.mu.Unlock()
	ol.granting.Store(false)
	ol.ahead = false
	ol.serve(nil, ol.keeper.cfg.Now())
	for _, w := range ol.waiting {
		w.outcome <- served{err: err}
	}
	ol.waiting = nil
}

// grantOnce asks for a lease once, serves those who wait from it, and opens the rest to everybody. It reports whether one came.
func (ol *offerLeases) grantOnce(ctx context.Context) (came bool, err error) {
	sent := ol.keeper.cfg.Now()
	req := ol.request(sent)
	grant, err := ol.keeper.ledger.Grant(ctx, req.GrantRequest)
	if err == nil && req.again && grant.Lease == nil {
		// It may have been granted at first and reclaimed since: then nothing was ever spent from it.
		err = ol.keeper.ledger.Acquit(ctx, ol.offerID, []models.ID{req.LeaseID})
	}
	if err != nil {
		ol.failed(req, err)
		return false, err
	}
	ol.keeper.offers.LearnLocked(grant.Offer, sent)
	ol.receive(&grant, req, sent)
	ol.report(&ol.troubles.close, ol.closed(ctx, grant.Returned), "leases not returned") // maintenance tries again
	return grant.Lease != nil, nil
}

// request says what to ask for: enough for those who wait now, and for the time to come. A request whose outcome is unknown is
// repeated first, with its id: its lease may be there already, and nobody else will ever find it.
func (ol *offerLeases) request(now time.Time) *request {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	ol.ahead = false
	ol.demand.measure(now, ol.spent())
	if ol.unsure == nil {
		ol.unsure = ol.newRequest(now)
	} else {
		ol.unsure.again = true
	}
	req := ol.unsure
	req.tail = false
	req.appetite = Appetite{}
	for _, w := range ol.waiting {
		w.asked = !req.again
		req.appetite.Waiting = append(req.appetite.Waiting, w.units)
	}
	rate, draining := ol.demand.rate, ol.keeper.stop.Err() != nil
	req.Size = func(offer *models.Offer, unallocated, activeNodes int64) int64 {
		if draining { // it wants to know what it has, and no more
			return 0
		}
		req.appetite.Want = Want(offer.Adaptive, rate, offer.LeaseSize)
		req.tail = Share(unallocated, activeNodes) < req.appetite.Want
		return Size(unallocated, activeNodes, req.appetite)
	}
	return req
}

func (ol *offerLeases) newRequest(now time.Time) *request {
	returns := ol.returns
	ol.returns = nil
	return &request{sent: now, GrantRequest: models.GrantRequest{
		OfferID: ol.offerID, NodeID: ol.keeper.cfg.NodeID, Epoch: ol.keeper.Epoch(), LeaseID: models.NewID(), Returns: returns,
	}}
}

// failed forgets a request that was certainly not granted. Of one that is repeated, a failure says nothing.
func (ol *offerLeases) failed(req *request, err error) {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if !req.again && !errors.Is(err, models.ErrOutcomeUnknown) {
		ol.unsure = nil
	}
}

// receive takes in what was granted.
func (ol *offerLeases) receive(grant *models.Grant, req *request, sent time.Time) {
	now := ol.keeper.cfg.Now()
	ol.mu.Lock()
	defer ol.mu.Unlock()
	ol.unsure = nil
	ol.heed(&grant.Offer)
	fresh := ol.block(grant, req.sent)
	switch {
	case fresh == nil:
	case fresh.Sealed(), fresh.ExpiredAt(now):
		ol.inVain++
	default:
		ol.inVain, ol.rest = 0, run.Backoff{Min: vainPause, Max: maxVainPause}
	}
	ol.demand.took(now.Sub(sent))
	ol.serve(fresh, now)
	total := int64(0)
	if fresh != nil {
		total = grant.Lease.Granted
		ol.add(fresh, req.sent)
	}
	ol.keeper.metrics.granted(total)
	ol.callBack(ol.recall)
	if total == 0 {
		ol.turnAwayIf(whyNoLease(grant))
	}
	unserved := slices.ContainsFunc(ol.waiting, func(w *waiter) bool { return w.asked })
	poor := total == 0 || grant.Offer.Unallocated() <= 0
	ol.short = shortage{known: poor || unserved}
	ol.tail.Store(req.tail)
	ol.lowWater.Store(0)
	if !poor && !req.tail { // in the tail nothing is fetched ahead, since others may be waiting for those units
		ol.lowWater.Store(RefillBelow(total, ol.demand.ahead()))
	}
}

// block makes the counters of what was granted: nil, if nothing was. mu is held.
func (ol *offerLeases) block(grant *models.Grant, sent time.Time) *Block {
	l := grant.Lease
	if l == nil {
		return nil
	}
	b := NewBlock(l, sent.Add(l.TTL()-Margin(l.TTL())))
	if b.Recall != ol.recall { // it was granted a while ago, and only the reply was missing; or the ledger has lost it since
		b.Seal()
	}
	return b
}

// serve hands units to those who wait, first come first, from the fresh block, if there is one, or any other. mu is held.
func (ol *offerLeases) serve(fresh *Block, now time.Time) {
	still := ol.waiting[:0:0]
	for _, w := range ol.waiting {
		if fresh != nil && fresh.Spend(w.units, now) {
			w.outcome <- served{block: fresh}
		} else if b := ol.spendAny(w.units, now); b != nil {
			w.outcome <- served{block: b}
		} else {
			still = append(still, w)
		}
	}
	ol.waiting = still
}

// whyNoLease says why an offer gives no lease, whatever is left of its budget; nil where that is not why.
func whyNoLease(grant *models.Grant) error {
	switch status := grant.Offer.StatusAt(grant.Now); {
	case status != models.StatusActive:
		return &models.NotActiveError{Status: status, StartsAt: grant.Offer.StartsAt, EndsAt: grant.Offer.EndsAt}
	case grant.Offer.TotalsExceeded():
		return models.ErrTotalsExceeded
	default:
		return nil
	}
}

// turnAwayIf tells those whose units were asked for why they were not granted, if there is a reason; whoever came later is asked for next.
// mu is held.
func (ol *offerLeases) turnAwayIf(err error) {
	if err == nil {
		return
	}
	still := ol.waiting[:0:0]
	for _, w := range ol.waiting {
		if w.asked {
			w.outcome <- served{err: err}
		} else {
			still = append(still, w)
		}
	}
	ol.waiting = still
}
