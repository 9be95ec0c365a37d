package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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
func (h *holding) prefetch(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.granting.Load() || h.retired || now.Before(h.short.until) {
		return
	}
	h.ahead = h.ensureGrant()
}

// ensureGrant sees to it that a goroutine asks for leases of this offer. It gives false when the node drains. mu is held.
func (h *holding) ensureGrant() bool {
	if h.granting.Load() {
		return true
	}
	if !h.keeper.start() {
		return false
	}
	h.granting.Store(true)
	go func() {
		defer h.keeper.running.Done()
		h.grantWhileNeeded(h.keeper.stop)
	}()
	return true
}

// grantWhileNeeded asks again until nobody waits. Whatever goes wrong in it, those who wait hear of it and the next request
// starts it anew.
func (h *holding) grantWhileNeeded(ctx context.Context) {
	defer func() {
		if r := recover(); r != nil {
			h.keeper.cfg.Logger.Error().Interface("panic", r).Str("offer_id", h.offerID).Msg("grant panicked")
			h.stopGranting(fmt.Errorf("%w: a grant panicked", models.ErrLedgerUnavailable))
		}
	}()
	for h.needed() {
		err := h.lookAndGrant(ctx)
		if ctx.Err() == nil {
			h.report(&h.troubles.grant, err, "grant failed")
		}
		if err != nil {
			h.keeper.metrics.grants.failed.Inc()
			h.stopGranting(err)
			return
		}
	}
}

// lookAndGrant asks for leases, unless the books say that there is nothing to be had.
func (h *holding) lookAndGrant(ctx context.Context) error {
	if h.looksFirst() {
		if worth, err := h.look(ctx); !worth || err != nil {
			return err
		}
	}
	return h.grantOnce(ctx)
}

// needed reports whether to ask once more; else granting is over.
func (h *holding) needed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	needed := len(h.waiting) > 0 || h.ahead
	h.granting.Store(needed)
	return needed
}

// stopGranting fails all who wait, unless there is something for them after all.
func (h *holding) stopGranting(err error) {
	switch {
	case h.keeper.stop.Err() != nil:
		err = models.ErrDraining
	case errors.Is(err, models.ErrOutcomeUnknown): // of the grant; nothing of those who wait is on its way
		err = fmt.Errorf("%w: the reply to a grant is missing", models.ErrLedgerUnavailable)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.granting.Store(false)
	h.ahead = false
	h.serve(nil, h.keeper.cfg.Now())
	for _, w := range h.waiting {
		w.outcome <- served{err: err}
	}
	h.waiting = nil
}

// grantOnce asks for leases once, serves those who wait from them, and opens the rest to everybody.
func (h *holding) grantOnce(ctx context.Context) error {
	sent := h.keeper.cfg.Now()
	req := h.request(sent)
	grant, err := h.keeper.ledger.Grant(ctx, req.GrantRequest)
	if err == nil && req.again && grant.Lease == nil {
		// It may have been granted at first and reclaimed since: then nothing was ever spent from it.
		err = h.keeper.ledger.Acquit(ctx, h.offerID, []models.ID{req.LeaseID})
	}
	if err != nil {
		h.failed(req, err)
		return err
	}
	h.keeper.offers.Learn(grant.Offer)
	h.receive(&grant, req, sent)
	return nil
}

// request says what to ask for: enough for those who wait now, and for the time to come. A request whose outcome is unknown is
// repeated first, with its id: its lease may be there already, and nobody else will ever find it.
func (h *holding) request(now time.Time) *request {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead = false
	h.demand.measure(now, h.spent())
	if h.unsure == nil {
		h.unsure = h.newRequest(now)
	} else {
		h.unsure.again = true
	}
	req := h.unsure
	req.tail = false
	req.appetite = Appetite{}
	for _, w := range h.waiting {
		w.asked = !req.again
		req.appetite.Waiting = append(req.appetite.Waiting, w.units)
	}
	rate, draining := h.demand.rate, h.keeper.stop.Err() != nil
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

func (h *holding) newRequest(now time.Time) *request {
	return &request{sent: now, GrantRequest: models.GrantRequest{
		OfferID: h.offerID, NodeID: h.keeper.cfg.NodeID, Epoch: h.keeper.Epoch(), LeaseID: models.NewID(),
	}}
}

// failed forgets a request that was certainly not granted. Of one that is repeated, a failure says nothing.
func (h *holding) failed(req *request, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !req.again && !errors.Is(err, models.ErrOutcomeUnknown) {
		h.unsure = nil
	}
}

// receive takes in what was granted.
func (h *holding) receive(grant *models.Grant, req *request, sent time.Time) {
	now := h.keeper.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unsure = nil
	h.recall = max(h.recall, grant.Offer.Recall)
	fresh := h.block(grant, req.sent)
	h.demand.took(now.Sub(sent))
	h.serve(fresh, now)
	total := int64(0)
	if fresh != nil {
		total = grant.Lease.Granted
		h.add(fresh, req.sent)
	}
	h.keeper.metrics.granted(total)
	h.callBack(h.recall)
	if status := grant.Offer.StatusAt(grant.Now); status != models.StatusActive && total == 0 {
		h.turnAway(&models.NotActiveError{Status: status, StartsAt: grant.Offer.StartsAt, EndsAt: grant.Offer.EndsAt})
	}
	unserved := slices.ContainsFunc(h.waiting, func(w *waiter) bool { return w.asked })
	poor := total == 0 || grant.Offer.Unallocated() <= 0
	h.short = shortage{known: poor || unserved}
	h.tail.Store(req.tail)
	h.lowWater.Store(0)
	if !poor && !req.tail { // in the tail nothing is fetched ahead, since others may be waiting for those units
		h.lowWater.Store(RefillBelow(total, h.demand.ahead()))
	}
}

// block makes the counters of what was granted: nil, if nothing was. mu is held.
func (h *holding) block(grant *models.Grant, sent time.Time) *Block {
	l := grant.Lease
	if l == nil {
		return nil
	}
	b := NewBlock(l, sent.Add(l.TTL()-Margin(l.TTL())))
	if b.Recall < h.recall { // it was granted a while ago, and only the reply was missing
		b.Seal()
	}
	return b
}

// serve hands units to those who wait, first come first, from the fresh block, if there is one, or any other. mu is held.
func (h *holding) serve(fresh *Block, now time.Time) {
	still := h.waiting[:0:0]
	for _, w := range h.waiting {
		if fresh != nil && fresh.Spend(w.units, now) {
			w.outcome <- served{block: fresh}
		} else if b := h.spendAny(w.units, now); b != nil {
			w.outcome <- served{block: b}
		} else {
			still = append(still, w)
		}
	}
	h.waiting = still
}

// turnAway tells those whose units were asked for why they were not granted; whoever came later is asked for next. mu is held.
func (h *holding) turnAway(err error) {
	still := h.waiting[:0:0]
	for _, w := range h.waiting {
		if w.asked {
			w.outcome <- served{err: err}
		} else {
			still = append(still, w)
		}
	}
	h.waiting = still
}
