package settle

import (
	"context"
	"errors"
	"time"

	"tranche/models"
)

// Limits of a batch.
const (
	maxBatchEntries = 500
	maxBatchBytes   = 512 << 10 // well below the smallest packet limit in use
)

// batch is what one transaction settles.
type batch struct {
	offer   *models.Offer
	now     time.Time // when it was claimed
	items   []*item
	bytes   int
	isPiece bool    // of a batch that met a lock
	turn    turns   // of what it has one, for its first attempt; nil: it needs none
	late    []*item // they were claimed to be refused: their time was over
}

// full reports whether there is no room for an item.
func (b *batch) full(it *item) bool {
	return len(b.items) == maxBatchEntries || len(b.items) > 0 && b.bytes+it.bytes() > maxBatchBytes
}

// claim takes items in, but for those whose requester has gone or whose time is over.
func (b *batch) claim(items []*item) {
	for _, it := range items {
		switch {
		case it.late(b.now) && it.state.CompareAndSwap(queued, withdrawn):
			b.late = append(b.late, it)
		case it.state.CompareAndSwap(queued, attempted):
			b.items = append(b.items, it)
			b.bytes += it.bytes()
		}
	}
}

// release lets go of items about which nothing was decided.
func release(items []*item) {
	for _, it := range items {
		it.state.Store(queued)
	}
}

// parties groups the items by what they may have to wait for.
func (b *batch) parties() (parties [][]*item) {
	index := map[string]int{}
	for _, it := range b.items {
		party := it.party(b.offer)
		i, known := index[party]
		if !known {
			i = len(parties)
			index[party] = i
			parties = append(parties, nil)
		}
		parties[i] = append(parties[i], it)
	}
	return parties
}

// deadline is when the last requester stops waiting: zero if one of them never does.
func (b *batch) deadline() (last time.Time) {
	for _, it := range b.items {
		if it.deadline.IsZero() {
			return time.Time{}
		}
		if it.deadline.After(last) {
			last = it.deadline
		}
	}
	return last
}

// settle brings a batch to its end: each of its entries is decided, or queued again. It gives false when there should be a pause
// before the next attempt.
func (q *queue) settle(b *batch) bool {
	ctx, cancel := q.settler.stop, context.CancelFunc(func() {})
	if deadline := b.deadline(); !deadline.IsZero() {
		ctx, cancel = context.WithDeadline(ctx, deadline)
	}
	verdicts, err := q.attempt(ctx, b)
	cancel()
	b.turn.end()
	if errors.Is(err, models.ErrOutcomeUnknown) {
		verdicts, err = q.untilKnown(b, err)
	}
	switch {
	case err == nil:
		q.settled++
		return q.deliver(b, verdicts)
	case errors.Is(err, models.ErrBusy):
		return q.divide(b, err)
	case errors.Is(err, models.ErrLeaseClosed):
		q.block.Seal()
	}
	return q.refuse(b.items, err)
}

// untilKnown runs a batch, whose first attempt ended in the dark, until it is known what became of it: it gives the verdicts, or
// ErrLeaseClosed. No other failure tells anything about the attempts before. ErrOutcomeUnknown: the Settler stopped first.
func (q *queue) untilKnown(b *batch, cause error) ([]models.Verdict, error) {
	q.settler.logger.Warn().Err(cause).Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).
		Int64("batch", q.settled+1).Int("entries", len(b.items)).Msg("outcome of a batch unknown, it runs again until it is known")
	for backoff := newBackoff(); backoff.Wait(q.settler.stop) && q.settler.bookings.take(q.settler.stop); {
		q.settler.metrics.repeated.Inc()
		verdicts, err := q.attempt(q.settler.stop, b)
		q.settler.bookings.end()
		if err == nil || errors.Is(err, models.ErrLeaseClosed) {
			return verdicts, err
		}
	}
	return nil, models.ErrOutcomeUnknown
}

// attempt runs the batch's transaction once.
func (q *queue) attempt(ctx context.Context, b *batch) ([]models.Verdict, error) {
	now := q.settler.now()
	wanted := make([]models.Wanted, len(b.items))
	for i, it := range b.items {
		wanted[i] = models.Wanted{Entry: it.Entry, CheckOnly: it.late(now), Acknowledged: it.acknowledged}
	}
	verdicts, err := q.settler.ledger.Settle(ctx, models.Batch{
		Offer: b.offer, LeaseID: q.block.LeaseID, Number: q.settled + 1, Wanted: wanted,
	})
	q.settler.metrics.observe(len(b.items), q.settler.now().Sub(now), err)
	return verdicts, err
}

// deliver hands out the verdicts of a batch that committed. An entry without one is asked for again, while its time lasts; one that
// was acknowledged, always, after a pause. On a closed lease, only the latter have been booked.
func (q *queue) deliver(b *batch, verdicts []models.Verdict) (well bool) {
	now := q.settler.now()
	var again, owed []*item
	for i, it := range b.items {
		v := verdicts[i]
		undecided := errors.Is(v.Err, models.ErrNotSettled)
		switch {
		case it.acknowledged && v.Err != nil && !errors.Is(v.Err, models.ErrKeyReused):
			owed = append(owed, it)
			continue
		case undecided && !it.late(now):
			again = append(again, it)
			continue
		case undecided:
			v.Err = models.ErrLedgerUnavailable
		}
		if errors.Is(v.Err, models.ErrLeaseClosed) || v.Err == nil && v.Entry.Late {
			q.block.Seal()
		}
		it.resolve(v)
		if it.acknowledged {
			q.settler.owed.Add(-1)
		}
	}
	q.requeue(append(again, owed...))
	return len(owed) == 0
}

// refuse ends the items of a batch of which nothing was booked. Those that were acknowledged are queued again, and it gives false.
func (q *queue) refuse(items []*item, err error) (well bool) {
	var owed []*item
	for _, it := range items {
		if it.acknowledged {
			owed = append(owed, it)
		} else {
			it.resolve(models.Verdict{Err: err})
		}
	}
	if len(owed) > 0 {
		q.report(err, len(owed))
	}
	q.requeue(owed)
	return len(owed) == 0
}

// report says once that acknowledged entries can't be booked. An outage is for the store to report.
func (q *queue) report(err error, owed int) {
	if q.troubled || errors.Is(err, models.ErrLedgerUnavailable) {
		return
	}
	q.troubled = true
	q.settler.logger.Warn().Err(err).Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).
		Int("entries", owed).Msg("acknowledged entries not booked yet, trying on")
}
