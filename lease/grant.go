package lease

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tranche/models"
)

// demand measures how fast an offer is spent on this node, from grant to grant.
type demand struct {
	rate     float64 // units a second, of late
	cost     time.Duration
	measured time.Time
	granted  int64 // units leased so far
	spent    int64 // at measured
}

// measure looks at what was spent since the last time.
func (d *demand) measure(now time.Time, left int64) {
	spent := d.granted - left
	if elapsed := now.Sub(d.measured); !d.measured.IsZero() && elapsed > 0 {
		window := float64(max(0, spent-d.spent)) / max(elapsed, time.Millisecond).Seconds()
		d.rate = (d.rate + window) / 2
	}
	d.measured, d.spent = now, spent
}

// prefetch asks for the next block ahead of need.
func (h *holding) prefetch(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.granting || h.retired || now.Before(h.short.until) || h.keeper.draining.Load() {
		return
	}
	h.ahead = true
	h.ensureGrant()
}

// ensureGrant starts the one goroutine that asks for leases of this offer, unless it runs. mu is held.
func (h *holding) ensureGrant() {
	if h.granting {
		return
	}
	h.granting = true
	h.keeper.grants.Add(1)
	go func() {
		defer h.keeper.grants.Done()
		h.grantWhileNeeded(h.keeper.stop)
	}()
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
		if err := h.grantOnce(ctx); err != nil {
			h.keeper.metrics.grants.failed.Inc()
			h.keeper.cfg.Logger.Warn().Err(err).Str("offer_id", h.offerID).Msg("grant failed")
			h.stopGranting(err)
			return
		}
	}
}

// needed reports whether to ask once more; else granting is over.
func (h *holding) needed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.granting = len(h.waiting) > 0 || h.ahead
	return h.granting
}

// stopGranting fails all who wait.
func (h *holding) stopGranting(err error) {
	if h.keeper.stop.Err() != nil {
		err = models.ErrDraining
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.granting, h.ahead = false, false
	for _, w := range h.waiting {
		w.outcome <- served{err: err}
	}
	h.waiting = nil
}

// grantOnce asks for leases once, serves those who wait from them, and opens the rest to everybody.
func (h *holding) grantOnce(ctx context.Context) error {
	sent := h.keeper.cfg.Now()
	req, appetite, asked := h.request(sent)
	grant, err := h.keeper.ledger.Grant(ctx, req)
	if err != nil {
		return err
	}
	if h.keeper.cfg.Learned != nil {
		h.keeper.cfg.Learned(grant.Offer)
	}
	if merge := h.receive(&grant, appetite, asked, sent); merge {
		h.mergeOwn(ctx)
	}
	return nil
}

// request says what to ask for: enough for those who wait now, and for the time to come.
func (h *holding) request(now time.Time) (req models.GrantRequest, a *Appetite, asked []*waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ahead = false
	h.demand.measure(now, h.left())
	asked = h.waiting[:len(h.waiting):len(h.waiting)]
	a = &Appetite{Lanes: h.keeper.cfg.Lanes}
	for _, w := range asked {
		a.Waiting = append(a.Waiting, w.units)
	}
	rate := h.demand.rate
	req = models.GrantRequest{
		OfferID: h.offerID, NodeID: h.keeper.cfg.NodeID, Epoch: h.keeper.Epoch(),
		LeaseIDs: make([]models.ID, a.Lanes),
		Size: func(offer *models.Offer, unallocated, activeNodes int64) []int64 {
			a.Want = Want(offer.Adaptive, rate, offer.LeaseSize)
			return Split(Size(unallocated, activeNodes, *a), *a)
		},
	}
	for i := range req.LeaseIDs {
		req.LeaseIDs[i] = models.NewID()
	}
	return req, a, asked
}

// receive takes in what was granted. It reports whether the node should give back its own blocks and ask again, for what it
// holds in pieces would serve a waiter as a whole.
func (h *holding) receive(grant *models.Grant, a *Appetite, asked []*waiter, sent time.Time) (merge bool) {
	now := h.keeper.cfg.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh, total := h.blocks(grant, sent)
	h.note(total, now.Sub(sent))
	h.serve(fresh, now)
	for _, b := range fresh {
		h.add(b, sent)
	}
	unallocated := max(0, grant.Offer.Unallocated())
	if total == 0 || unallocated == 0 {
		h.short = shortage{until: now.Add(shortFor), unallocated: unallocated}
	} else {
		h.short = shortage{}
	}
	h.lowWater.Store(h.refillBelow(total, a, unallocated))
	if len(grant.Leases) > 0 {
		return h.turnAway(asked, ErrShort, unallocated)
	}
	return h.turnAway(asked, refusal(grant), unallocated)
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

// note counts one answered grant. mu is held.
func (h *holding) note(total int64, took time.Duration) {
	h.demand.granted += total
	h.demand.cost = (h.demand.cost + took) / 2
	if total == 0 {
		h.keeper.metrics.grants.empty.Inc()
		return
	}
	h.keeper.metrics.grants.granted.Inc()
	h.keeper.metrics.grants.units.Add(float64(total))
}

// refillBelow is how many units must be left for the next block not to be asked for yet: half of this grant, or what is spent
// in the time of four grants. In the tail nothing is fetched ahead, since others may be waiting for those units.
func (h *holding) refillBelow(total int64, a *Appetite, unallocated int64) int64 {
	if total == 0 || total < a.Want || unallocated == 0 {
		return 0
	}
	ahead := h.demand.rate * (4 * h.demand.cost).Seconds()
	return max(total/2, min(int64(ahead), total))
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
func (h *holding) turnAway(asked []*waiter, err error, unallocated int64) (merge bool) {
	in := make(map[*waiter]bool, len(asked))
	for _, w := range asked {
		in[w] = true
	}
	still := h.waiting[:0:0]
	for _, w := range h.waiting {
		switch {
		case !in[w]:
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
	h.closeQuiet(ctx)
}
