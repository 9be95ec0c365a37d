package lease

import (
	"context"
	"slices"
	"time"

	"tranche/models"
)

// maintain renews what is used, seals what is not, and closes what is quiet.
func (h *holding) maintain(ctx context.Context) {
	now := h.keeper.cfg.Now()
	if due := h.review(now); len(due) > 0 {
		h.renew(ctx, due, now)
	}
	h.closeQuiet(ctx)
}

// review seals the leases that are used up, or that nobody has used until their end, and gives those to renew.
func (h *holding) review(now time.Time) (due []*heldLease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, l := range h.held {
		pending := l.Pending()
		usedUp := l.Kind == models.KindBlock && l.Left() == 0 && pending == 0
		used := pending > 0 || !usedUp && !l.Sealed() && (l.Left() != l.leftAt || l.granted.Load() != l.grantedAt)
		switch {
		case l.Sealed() && pending == 0: // about to be closed
		case usedUp, !used && l.ExpiredAt(now):
			l.Seal()
		case used && now.Sub(l.renewed) >= l.TTL/3:
			due = append(due, l)
		}
	}
	h.publish()
	return due
}

// renew lengthens leases. Those that the database does not know as active any more were reclaimed: what was spent from them and
// is not settled will be refused there.
func (h *holding) renew(ctx context.Context, due []*heldLease, sent time.Time) {
	ids := make([]models.ID, len(due))
	left, granted := make([]int64, len(due)), make([]int64, len(due))
	for i, l := range due {
		ids[i], left[i], granted[i] = l.LeaseID, l.Left(), l.granted.Load()
	}
	renewed, err := h.keeper.ledger.Renew(ctx, h.keeper.cfg.NodeID, h.keeper.Epoch(), h.offerID, ids)
	if err != nil {
		h.keeper.cfg.Logger.Warn().Err(err).Str("offer_id", h.offerID).Msg("leases not renewed")
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, l := range due {
		if !slices.Contains(renewed, l.LeaseID) {
			h.lose(l)
			continue
		}
		l.Extend(sent.Add(l.TTL - Margin(l.TTL)))
		l.renewed, l.leftAt, l.grantedAt = sent, left[i], granted[i]
		h.keeper.metrics.renewed.Inc()
	}
	h.publish()
}

// lose forgets a lease that somebody else has closed. mu is held.
func (h *holding) lose(l *heldLease) {
	l.Seal()
	h.held = slices.DeleteFunc(h.held, func(o *heldLease) bool { return o == l })
	h.keeper.metrics.lost.Inc()
	h.keeper.cfg.Logger.Warn().Str("offer_id", h.offerID).Stringer("lease_id", l.LeaseID).Msg("lease was reclaimed")
}

// closeQuiet returns the leases that nothing is pending on. What fails is tried again at the next maintenance.
func (h *holding) closeQuiet(ctx context.Context) {
	h.mu.Lock()
	held := slices.Clone(h.held)
	h.mu.Unlock()
	for _, l := range held {
		if !l.isQuiet.Load() {
			continue
		}
		if _, _, err := h.keeper.ledger.CloseLease(ctx, h.offerID, l.LeaseID, models.LeaseReturned, nil); err != nil {
			h.keeper.cfg.Logger.Warn().Err(err).Str("offer_id", h.offerID).Stringer("lease_id", l.LeaseID).Msg("lease not returned")
			continue
		}
		h.keeper.metrics.closed.WithLabelValues(string(models.LeaseReturned)).Inc()
		h.drop(l)
	}
}

// drop forgets a closed lease. What it held is back in the budget, so a shortage need not last.
func (h *holding) drop(l *heldLease) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = slices.DeleteFunc(h.held, func(o *heldLease) bool { return o == l })
	h.short = shortage{}
}
