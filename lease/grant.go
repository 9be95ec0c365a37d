package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tranche/models"
)

// request is a grant on its way.
type request struct {
	models.GrantRequest
	sent     time.Time // the first time: its leases may count from there
	again    bool      // it was sent before, and whether it was granted then is not known
	appetite Appetite
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
	if !h.keeper.startGrant() {
		return false
	}
	h.granting.Store(true)
	go func() {
		defer h.keeper.grants.Done()
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
		err := h.grantOnce(ctx)
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
	if err != nil {
		h.failed(req, err)
		return err
	}
	if h.keeper.cfg.Learned != nil {
		h.keeper.cfg.Learned(grant.Offer)
	}
	if merge := h.receive(&grant, req, sent); merge {
		h.mergeOwn(ctx)
	}
	return nil
}

// request says what to ask for: enough for those who wait now, and for the time to come. A request whose outcome is unknown is
// repeated first, with its ids: its leases may be there already, and nobody else will ever find them.
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
	req.appetite = Appetite{}
	for _, w := range h.waiting {
		w.asked = !req.again
		req.appetite.Waiting = append(req.appetite.Waiting, w.units)
	}
	rate, draining := h.demand.rate, h.keeper.stop.Err() != nil
	req.Size = func(offer *models.Offer, unallocated, activeNodes int64) []int64 {
		if draining { // it wants to know what it has, and no more
			return nil
		}
		req.appetite.Want = Want(offer.Adaptive, rate, offer.LeaseSize)
		req.appetite.Lanes = Lanes(offer.Mode, h.keeper.cfg.Lanes)
		return Split(Size(unallocated, activeNodes, req.appetite), req.appetite)
	}
	return req
}

func (h *holding) newRequest(now time.Time) *request {
	req := &request{sent: now, GrantRequest: models.GrantRequest{
		OfferID: h.offerID, NodeID: h.keeper.cfg.NodeID, Epoch: h.keeper.Epoch(), LeaseIDs: make([]models.ID, h.keeper.cfg.Lanes),
	}}
	for i := range req.LeaseIDs {
		req.LeaseIDs[i] = models.NewID()
	}
	return req
}

// failed forgets a request that was certainly not granted. Of one that is repeated, a failure says nothing.
func (h *holding) failed(req *request, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !req.again && !errors.Is(err, models.ErrOutcomeUnknown) {
		h.unsure = nil
	}
}

// receive takes in what was granted. It reports whether the node should give back its own blocks and ask again, for what it
// holds in pieces would serve a waiter as a whole.
func (h *holding) receive(grant *models.Grant, req *request, sent time.Time) (merge bool) {
	now := h.keeper.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unsure = nil
	fresh, total := h.blocks(grant, req.sent)
	h.demand.took(now.Sub(sent))
	h.keeper.metrics.granted(total)
	h.serve(fresh, now)
	for _, b := range fresh {
		h.add(b, req.sent)
	}
	unallocated := max(0, grant.Offer.Unallocated())
	if total == 0 || unallocated == 0 {
		h.short = shortage{until: now.Add(shortFor), unallocated: unallocated}
	} else {
		h.short = shortage{}
	}
	h.tail.Store(total < req.appetite.Want)
	h.lowWater.Store(RefillBelow(total, req.appetite.Want, unallocated, h.demand.ahead()))
	if len(grant.Leases) > 0 {
		return h.turnAway(ErrShort, unallocated)
	}
	return h.turnAway(refusal(grant), unallocated)
}

// refusal says why a grant brought nothing.
func refusal(grant *models.Grant) error {
	if status := grant.Offer.StatusAt(grant.Now); status != models.StatusActive {
		return &models.NotActiveError{Status: status, StartsAt: grant.Offer.StartsAt, EndsAt: grant.Offer.EndsAt}
	}
	return ErrShort
}

// blocks makes the counters of the granted leases.
func (h *holding) blocks(grant *models.Grant, sent time.Time) (fresh []*Block, total int64) {
	for i := range grant.Leases {
		l := &grant.Leases[i]
		fresh = append(fresh, NewBlock(l, sent.Add(l.TTL()-Margin(l.TTL()))))
		total += l.Granted
	}
	return fresh, total
}

// serve hands units to those who wait, first come first, from the fresh blocks or any other. mu is held.
func (h *holding) serve(fresh []*Block, now time.Time) {
	still := h.waiting[:0:0]
next:
	for _, w := range h.waiting {
		for _, b := range fresh {
			if b.Spend(w.units, now) {
				w.outcome <- served{block: b}
				continue next
			}
		}
		if b := h.spendAny(w.units, now); b != nil {
			w.outcome <- served{block: b}
			continue
		}
		still = append(still, w)
	}
	h.waiting = still
}

// turnAway tells those whose units were asked for, and not granted, that there is not enough; whoever came later is asked for
// next. mu is held.
func (h *holding) turnAway(err error, unallocated int64) (merge bool) {
	still := h.waiting[:0:0]
	for _, w := range h.waiting {
		switch {
		case !w.asked:
			still = append(still, w)
		case errors.Is(err, ErrShort) && h.canMerge(w, unallocated):
			w.merged, merge = true, true
			still = append(still, w)
		default:
			w.outcome <- served{err: err}
		}
	}
	h.waiting = still
	return merge
}

// mergeWithin is how long the entries that are under way may take to settle before a merge is given up.
const mergeWithin = 2 * time.Second

// mergeOwn gives all blocks of this offer back, pools too, so that the next grant can be one piece. If it can't, the next grant
// says so.
func (h *holding) mergeOwn(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, mergeWithin)
	defer cancel()
	for _, l := range h.sealAll() {
		select {
		case <-l.Quiet():
		case <-ctx.Done():
			return
		}
	}
	_ = h.closeQuiet(ctx) // what could not be closed is what the next grant will lack
}
