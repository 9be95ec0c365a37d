package lease

import (
	"context"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

const (
	// shortFor is how long a refusal is believed, before the books are looked at again.
	shortFor = 250 * time.Millisecond
	// recallWithin is how long a request waits for units to come back.
	recallWithin = 250 * time.Millisecond
	// lookEvery is how often the books are looked at meanwhile.
	lookEvery = 25 * time.Millisecond
	// restFor is how long after one recall the next may come, whoever raises it: each takes all nodes their blocks.
	restFor = time.Second
)

// shortage is what the node knows of a budget that had too little to give. It keeps requests from locking the offer's row in vain:
// they look at the books first, and after a refusal, not even that for a while.
type shortage struct {
	known  bool      // the next look comes before the next grant
	until  time.Time // until then, whoever wants more than enough is turned away at once
	enough int64
}

// looksFirst reports whether to read the books before the offer's row is locked. A grant whose reply is missing is repeated without.
func (ol *offerLeases) looksFirst() bool {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	return ol.short.known && ol.unsure == nil
}

// look reads the books, and reports whether a grant is worth it: to serve anybody who waits, or to prefetch. Where this node itself has in
// pieces what is missing, it gathers them for the grant. Where others have it, those units are called back.
func (ol *offerLeases) look(ctx context.Context) (worth bool, err error) {
	books, err := ol.keeper.ledger.Balance(ctx, ol.offerID)
	if err != nil {
		return false, err
	}
	worth, pieces, recall, wait := ol.consider(&books)
	if len(pieces) > 0 {
		ol.gather(ctx, pieces)
	}
	if recall {
		sent := ol.keeper.cfg.Now()
		offer, err := ol.keeper.ledger.Recall(ctx, ol.offerID, books.Recall)
		if err != nil {
			return false, err
		}
		ol.keeper.metrics.recalls.Inc()
		ol.keeper.offers.Learn(offer, sent) // which tells this keeper
	}
	if wait {
		run.Pause(ctx, lookEvery)
	}
	return worth, nil
}

// consider decides from the books who of those that wait is worth a grant, who may wait for units to come back, and who is turned away:
// because there are not enough even if all came back, or because it has waited long enough.
//
// A recall is raised once for all units that are out: as long as those called back already may do for everybody who waits, there is
// no need for another. But their owner may be dead; so who has waited for half its time doesn't count on them. Where others lease anew
// what has come back, before it is enough for one who wants a lot, recalls would follow each other; so they keep a distance.
func (ol *offerLeases) consider(books *models.Balance) (worth bool, pieces []*Block, recall, wait bool) {
	now := ol.keeper.cfg.Now()
	free := books.Unallocated()
	coming, out := free+books.Recalled, free+books.Outstanding
	ol.mu.Lock()
	defer ol.mu.Unlock()
	worth, ol.ahead = ol.ahead && free > 0, false
	ol.serve(nil, now) // units may have come back here
	here := ol.leftHere(now)
	var wanted, together int64 // of all; and of those that this node can serve if it puts its blocks together
	inPieces := false
	still := ol.waiting[:0:0]
	for _, w := range ol.waiting {
		if w.until.IsZero() {
			w.until = now.Add(recallWithin)
		}
		if w.units <= free+here-together {
			together += w.units
			inPieces = inPieces || w.units > free
		}
		switch {
		case w.units <= free:
			worth = true
		case inPieces: // and nobody else is asked
		case w.units > out:
			ol.refuse(w, now, out)
			continue
		case !now.Before(w.until):
			ol.refuse(w, now, free)
			continue
		}
		wanted += w.units
		impatient := w.until.Sub(now) <= recallWithin/2
		recall = recall || impatient || wanted > coming
		still = append(still, w)
	}
	ol.waiting = still
	if inPieces {
		return true, ol.pieces(together), false, false
	}
	wait = len(still) > 0 && !worth
	rested := books.Recall == 0 || books.AsOf.Sub(books.ChangedAt) >= restFor
	return worth, nil, recall && wait && rested && books.Outstanding > books.Recalled, wait
}

// refuse turns a waiter away. mu is held.
func (ol *offerLeases) refuse(w *waiter, now time.Time, enough int64) {
	ol.short.until, ol.short.enough = now.Add(shortFor), enough
	w.outcome <- served{err: ErrShort}
}

// heed looks at the number that the node knows by now, which may be lower than that of an offer that has just come. mu is held.
func (ol *offerLeases) heed(offer *models.Offer) { ol.callBack(ol.keeper.offers.Newer(offer).Recall) }

// callBack seals what was granted before the offer's leases were called back for the number-th time, and has it returned. So it does with
// a lease of a higher number: the ledger has lost it, and this node has heard of that first. mu is held.
func (ol *offerLeases) callBack(number int64) {
	ol.recall = max(ol.recall, number)
	ol.giveUp(func(l *ownLease) bool { return l.Recall != ol.recall })
}

// giveUp seals some of the leases, and has them returned. mu is held.
func (ol *offerLeases) giveUp(which func(*ownLease) bool) {
	var recalled []*ownLease
	for _, l := range ol.leases {
		if !l.recalled && which(l) {
			l.recalled = true
			l.Seal()
			recalled = append(recalled, l)
		}
	}
	if len(recalled) == 0 {
		return
	}
	ol.publish()
	ol.keeper.metrics.recalled.Add(float64(len(recalled)))
	if ol.keeper.start() { // else the drain returns them
		go func() {
			defer ol.keeper.running.Done()
			ol.returnSoon(ol.keeper.stop, recalled)
		}()
	}
}

// returnSoon returns sealed leases, each as soon as nothing of it is pending, for somebody waits for the rest. A return that fails is left to
// maintenance.
func (ol *offerLeases) returnSoon(ctx context.Context, leases []*ownLease) {
	for _, l := range leases {
		select {
		case <-l.Quiet():
		case <-ctx.Done():
			return
		}
		if !ol.closeInTurn(ctx) {
			return
		}
	}
}

// closeInTurn is closeQuiet among the bounded number of offers that leases are returned of side by side.
func (ol *offerLeases) closeInTurn(ctx context.Context) bool {
	if !ol.keeper.closings.Take(ctx) {
		return false
	}
	defer ol.keeper.closings.End()
	return ol.closeQuiet(ctx) == nil // it reports its errors
}
