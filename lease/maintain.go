package lease

import (
	"context"
	"errors"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// work is what maintenance has found to do for an offer.
type work struct {
	leases int         // leases that the node has
	renew  []*ownLease // now
	close  bool        // something is quiet
	ask    bool        // a grant whose reply is missing is to be repeated
}

// review seals the leases that are used up, or that nobody has used until their end, and says what else there is to do. It doesn't
// wait for anything. An offer of which the node has nothing, and nothing to remember, leaves the keeper, so that offers nobody redeems any more
// leave memory.
func (ol *offerLeases) review(now time.Time) (w work) {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	open := 0
	for _, l := range ol.leases {
		pending := l.Pending()
		usedUp := l.Kind == models.KindBlock && l.Left() == 0 && pending == 0
		used := pending > 0 || !usedUp && (l.Left() != l.leftAt || l.granted.Load() != l.grantedAt)
		switch {
		case l.isQuiet.Load():
			w.close = true
		case l.lost:
		case !l.Sealed() && (usedUp || !used && l.ExpiredAt(now)):
			l.Seal()
		case used && now.Sub(l.renewed) >= l.TTL/3:
			w.renew = append(w.renew, l)
		}
		if !l.Sealed() {
			open++
		}
	}
	if open != len(*ol.open.Load()) { // a block was sealed, here or elsewhere
		ol.publish()
	}
	w.leases, w.ask = len(ol.leases), ol.unsure != nil
	if w.leases == 0 && !w.ask && len(ol.waiting) == 0 && !ol.granting.Load() && ol.idle(now) {
		ol.retired = true
		ol.keeper.leases.CompareAndDelete(ol.offerID, ol)
	}
	return w
}

// rememberFor is how long it is remembered how fast an offer was redeemed here, and that it is sold out. A node that redeems seldom
// would else lease unit by unit, and one that is asked for a sold-out offer would have its row locked in vain.
const rememberFor = time.Minute

// idle reports whether nobody has wanted anything for a while. mu is held.
func (ol *offerLeases) idle(now time.Time) bool {
	return now.Sub(ol.demand.measured) >= rememberFor && now.Sub(ol.short.until) >= rememberFor
}

// renew lengthens leases. A lease that the database does not know as active any more was reclaimed: what was spent from it and
// is not settled will be refused there, or booked late.
func (ol *offerLeases) renew(ctx context.Context, due []*ownLease) {
	sent := ol.keeper.cfg.Now() // before the request: the database may let them live from any moment after this one
	ids := make([]models.ID, len(due))
	left, granted := make([]int64, len(due)), make([]int64, len(due))
	for i, l := range due {
		ids[i], left[i], granted[i] = l.LeaseID, l.Left(), l.granted.Load()
	}
	renewed, offer, err := ol.keeper.ledger.Renew(ctx, ol.keeper.cfg.NodeID, ol.keeper.Epoch(), ol.offerID, ids)
	ol.report(&ol.troubles.renew, err, "leases not renewed")
	if err != nil {
		return
	}
	ol.keeper.offers.Learn(offer, sent) // first, for a lease that had lapsed can be spent from again as soon as it is extended
	ol.mu.Lock()
	defer ol.mu.Unlock()
	ol.heed(&offer)
	for i, l := range due {
		if !slices.Contains(renewed, l.LeaseID) {
			ol.miss(l)
			continue
		}
		l.Extend(sent.Add(l.TTL - Margin(l.TTL)))
		l.renewed, l.leftAt, l.grantedAt = sent, left[i], granted[i]
		ol.keeper.metrics.renewed.Inc()
	}
	ol.publish()
}

// miss takes note that a renewal did not find a lease. A quiet one may have been returned by this node meanwhile: its closing will
// tell. mu is held.
func (ol *offerLeases) miss(l *ownLease) {
	if !l.isQuiet.Load() {
		ol.lose(l)
	}
}

// lose ends the use of a lease that was reclaimed, or that the ledger has lost. It is kept until nothing of it is pending. mu is held.
func (ol *offerLeases) lose(l *ownLease) {
	if l.lost {
		return
	}
	l.lost = true
	l.Seal()
	ol.keeper.metrics.lost.Inc()
	ol.keeper.cfg.Logger.Warn().Str("offer_id", ol.offerID).Stringer("lease_id", l.LeaseID).Msg("lease was reclaimed, or the ledger has lost it")
}

// closeQuiet returns the leases that nothing is pending on, in one transaction. A return that fails is tried again at the next maintenance. Of those
// that were reclaimed there is nothing to return, but the books may wait to hear that all that was acknowledged on them has been booked.
func (ol *offerLeases) closeQuiet(ctx context.Context) error {
	ol.mu.Lock()
	var quiet []models.ID
	for _, l := range ol.leases {
		if l.isQuiet.Load() {
			quiet = append(quiet, l.LeaseID)
		}
	}
	ol.mu.Unlock()
	if len(quiet) == 0 {
		return nil
	}
	closed, err := ol.keeper.ledger.ReturnLeases(ctx, ol.offerID, quiet)
	if err == nil {
		err = ol.closed(ctx, closed)
	}
	if err == nil {
		ol.forget(quiet)
	}
	ol.report(&ol.troubles.close, err, "leases not returned")
	return err
}

// closed takes in that leases which nothing is pending on are closed, by this node or by a reaper.
func (ol *offerLeases) closed(ctx context.Context, closed []models.Lease) error {
	var exposing []models.ID
	for i := range closed {
		if closed[i].Exposed > 0 {
			exposing = append(exposing, closed[i].ID)
		}
	}
	if len(exposing) > 0 {
		if err := ol.keeper.ledger.Acquit(ctx, ol.offerID, exposing); err != nil {
			return err
		}
	}
	for i := range closed {
		ol.drop(closed[i].ID, closed[i].State == models.LeaseReclaimed)
	}
	return nil
}

// forget drops those of the quiet leases that are not closed: the ledger has lost them, and there is nothing to return.
func (ol *offerLeases) forget(quiet []models.ID) {
	for _, id := range quiet {
		ol.drop(id, true)
	}
}

// drop forgets a closed lease, or a lost one. Its rest is back in the budget, so a shortage need not last.
func (ol *offerLeases) drop(id models.ID, lost bool) {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	if i := slices.IndexFunc(ol.leases, func(l *ownLease) bool { return l.LeaseID == id }); i >= 0 { // else another closing was faster
		l := ol.leases[i]
		if lost {
			ol.lose(l)
		} else {
			ol.keeper.metrics.returned.Inc()
		}
		ol.leases = slices.Delete(ol.leases, i, i+1)
		ol.gone += l.Spent()
	}
	ol.short.until = time.Time{}
}

// report logs that something has begun to fail for this offer, once until it works again. That the database is away concerns all
// offers, and is for the store to report.
func (ol *offerLeases) report(trouble *run.Trouble, err error, what string) {
	if !errors.Is(err, models.ErrLedgerUnavailable) && trouble.Begins(err) {
		ol.keeper.cfg.Logger.Warn().Err(err).Str("offer_id", ol.offerID).Msg(what)
	}
}
