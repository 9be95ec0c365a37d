package lease

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// work is what maintenance has found to do for an offer.
type work struct {
	held  int          // leases that the node has
	renew []*heldLease // now
	close bool         // something is quiet
	ask   bool         // a grant whose reply is missing is to be repeated
}

// review seals the leases that are used up, or that nobody has used until their end, and says what else there is to do. It doesn't
// wait for anything. A holding that has nothing, and nothing to remember, leaves the keeper, so that offers nobody redeems any more
// leave memory.
func (h *holding) review(now time.Time) (w work) {
	h.mu.Lock()
	defer h.mu.Unlock()
	open := *h.open.Load()
	sealed, stale, shown := false, false, 0
	for _, l := range h.held {
		if l.isOpen() {
			shown++
			stale = stale || !slices.Contains(open, l.Block)
		}
		pending := l.Pending()
		usedUp := l.Kind == models.KindBlock && l.Left() == 0 && pending == 0
		used := pending > 0 || !usedUp && (l.Left() != l.leftAt || l.granted.Load() != l.grantedAt)
		switch {
		case l.isQuiet.Load():
			w.close = true
		case l.lost:
		case !l.Sealed() && (usedUp || !used && l.ExpiredAt(now)):
			l.Seal()
			sealed = true
		case used && now.Sub(l.renewed) >= l.TTL/3:
			w.renew = append(w.renew, l)
		}
	}
	if sealed || stale || shown != len(open) {
		h.publish()
	}
	w.held, w.ask = len(h.held), h.unsure != nil
	if w.held == 0 && !w.ask && len(h.waiting) == 0 && !h.granting.Load() && h.idle(now) {
		h.retired = true
		h.keeper.holdings.CompareAndDelete(h.offerID, h)
	}
	return w
}

// rememberFor is how long it is remembered how fast an offer was redeemed here, and that it is sold out. A node that redeems seldom
// would else lease unit by unit, and one that is asked for a sold-out offer would have its row locked in vain.
const rememberFor = time.Minute

// idle reports whether nobody has wanted anything for a while. mu is held.
func (h *holding) idle(now time.Time) bool {
	return now.Sub(h.demand.measured) >= rememberFor && now.Sub(h.short.until) >= rememberFor
}

// renew lengthens leases. Those that the database does not know as active any more were reclaimed: what was spent from them and
// is not settled will be refused there, or booked late.
func (h *holding) renew(ctx context.Context, due []*heldLease) {
	sent := h.keeper.cfg.Now() // before the request: the database may let them live from any moment after this one
	ids := make([]models.ID, len(due))
	left, granted := make([]int64, len(due)), make([]int64, len(due))
	for i, l := range due {
		ids[i], left[i], granted[i] = l.LeaseID, l.Left(), l.granted.Load()
	}
	renewed, offer, err := h.keeper.ledger.Renew(ctx, h.keeper.cfg.NodeID, h.keeper.Epoch(), h.offerID, ids)
	h.report(&h.troubles.renew, err, "leases not renewed")
	if err != nil {
		return
	}
	h.keeper.offers.Learn(offer) // first, for a lease that had lapsed can be spent from again as soon as it is extended
	h.mu.Lock()
	defer h.mu.Unlock()
	h.callBack(offer.Recall)
	for i, l := range due {
		if !slices.Contains(renewed, l.LeaseID) {
			h.miss(l)
			continue
		}
		l.Extend(sent.Add(l.TTL - Margin(l.TTL)))
		l.renewed, l.leftAt, l.grantedAt = sent, left[i], granted[i]
		h.keeper.metrics.renewed.Inc()
	}
	h.publish()
}

// miss takes note that a renewal did not find a lease. A quiet one may have been returned by this node meanwhile: its closing will
// tell. mu is held.
func (h *holding) miss(l *heldLease) {
	if !l.isQuiet.Load() {
		h.lose(l)
	}
}

// lose ends the use of a lease that was reclaimed. It is held on to until nothing of it is pending. mu is held.
func (h *holding) lose(l *heldLease) {
	if l.lost {
		return
	}
	l.lost = true
	l.Seal()
	h.keeper.metrics.lost.Inc()
	h.keeper.cfg.Logger.Warn().Str("offer_id", h.offerID).Stringer("lease_id", l.LeaseID).Msg("lease was reclaimed")
}

// closeQuiet returns the leases that nothing is pending on, in one transaction. What fails is tried again at the next maintenance. Of those
// that were reclaimed there is nothing to return, but the books may wait to hear that all that was acknowledged on them has been booked.
func (h *holding) closeQuiet(ctx context.Context) error {
	h.mu.Lock()
	quiet := map[models.ID]*heldLease{}
	for _, l := range h.held {
		if l.isQuiet.Load() {
			quiet[l.LeaseID] = l
		}
	}
	h.mu.Unlock()
	if len(quiet) == 0 {
		return nil
	}
	err := h.close(ctx, quiet)
	h.report(&h.troubles.close, err, "leases not returned")
	return err
}

func (h *holding) close(ctx context.Context, quiet map[models.ID]*heldLease) error {
	closed, err := h.keeper.ledger.ReturnLeases(ctx, h.offerID, slices.Collect(maps.Keys(quiet)))
	if err != nil {
		return err
	}
	var exposing []models.ID
	for i := range closed {
		if closed[i].Exposed > 0 {
			exposing = append(exposing, closed[i].ID)
		}
	}
	if len(exposing) > 0 {
		if err := h.keeper.ledger.Acquit(ctx, h.offerID, exposing); err != nil {
			return err
		}
	}
	for i := range closed {
		h.drop(quiet[closed[i].ID], closed[i].State == models.LeaseReclaimed)
	}
	return nil
}

// drop forgets a closed lease. What it held is back in the budget, so a shortage need not last.
func (h *holding) drop(l *heldLease, reclaimed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if reclaimed {
		h.lose(l)
	}
	if i := slices.Index(h.held, l); i >= 0 { // else another closing was faster
		if !reclaimed {
			h.keeper.metrics.returned.Inc()
		}
		h.held = slices.Delete(h.held, i, i+1)
		h.gone += l.Spent()
	}
	h.short.until = time.Time{}
}

// report logs that something has begun to fail for this offer, once until it works again. That the database is away concerns all
// offers, and is for the store to report.
func (h *holding) report(trouble *run.Trouble, err error, what string) {
	if !errors.Is(err, models.ErrLedgerUnavailable) && trouble.Begins(err) {
		h.keeper.cfg.Logger.Warn().Err(err).Str("offer_id", h.offerID).Msg(what)
	}
}
