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
	items   []*submission
	bytes   int
	isPiece bool          // of a batch that met a lock
	hasTurn bool          // for its first attempt
	late    []*submission // they were claimed to be refused: their time was over
}

// full reports whether there is no room for a submission.
func (b *batch) full(sub *submission) bool {
	return len(b.items) == maxBatchEntries || len(b.items) > 0 && b.bytes+sub.bytes() > maxBatchBytes
}

// claim takes submissions in, but for those whose requester has gone or whose time is over.
func (b *batch) claim(subs ...*submission) {
	for _, sub := range subs {
		switch {
		case sub.late(b.now) && sub.state.CompareAndSwap(queued, withdrawn):
			b.late = append(b.late, sub)
		case sub.state.CompareAndSwap(queued, attempted):
			b.items = append(b.items, sub)
			b.bytes += sub.bytes()
		}
	}
}

// release lets go of submissions about which nothing was decided.
func release(subs []*submission) {
	for _, sub := range subs {
		sub.state.Store(queued)
	}
}

// deadline is when the last requester stops waiting: zero if one of them never does.
func (b *batch) deadline() (last time.Time) {
	for _, sub := range b.items {
		if sub.deadline.IsZero() {
			return time.Time{}
		}
		if sub.deadline.After(last) {
			last = sub.deadline
		}
	}
	return last
}

// process brings a batch to its end: each of its entries is decided, or queued again. It gives false when there should be a pause
// before the next attempt.
func (q *queue) process(b *batch) bool {
	ctx, cancel := q.settler.within(b.deadline())
	verdicts, err := q.attempt(ctx, b)
	if errors.Is(err, models.ErrLedgerUnavailable) && ctx.Err() != nil {
		_, _, _ = q.tellApart(b.offer, b.items) // its time may have ended in front of a lock: the next batch must not meet it
	}
	cancel()
	if b.hasTurn {
		q.settler.unattended.End()
	}
	if errors.Is(err, models.ErrOutcomeUnknown) {
		q.settler.logger.Warn().Err(err).Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).
			Int64("batch", q.block.Batch+1).Int("entries", len(b.items)).Msg("outcome of a batch unknown, it runs again until it is known")
		verdicts, err = q.settler.untilKnown(
			func(ctx context.Context) ([]models.Verdict, error) { return q.attempt(ctx, b) },
			func(err error) bool { return errors.Is(err, models.ErrLeaseClosed) }, // no other failure tells anything about the attempts before
		)
	}
	switch {
	case err == nil:
		q.block.Batch++
		return q.deliver(b, verdicts)
	case errors.Is(err, models.ErrBusy):
		return q.divide(b, err)
	case errors.Is(err, models.ErrLeaseClosed):
		q.block.Seal()
	}
	return q.refuse(b.items, err)
}

// attempt runs the batch's transaction once.
func (q *queue) attempt(ctx context.Context, b *batch) ([]models.Verdict, error) {
	now := q.settler.now()
	wanted := make([]models.Wanted, len(b.items))
	for i, sub := range b.items {
		wanted[i] = models.Wanted{Entry: sub.Entry, CheckOnly: sub.late(now), Acknowledged: sub.acknowledged}
	}
	verdicts, err := q.settler.ledger.Settle(ctx, models.Batch{
		Offer: b.offer, LeaseID: q.block.LeaseID, Number: q.block.Batch + 1, Wanted: wanted,
	})
	q.settler.metrics.observe(len(b.items), q.settler.now().Sub(now), err)
	return verdicts, err
}

// deliver hands out the verdicts of a batch that committed. An entry without one is asked for again, while its time lasts; one that
// was acknowledged, always. There is a pause before that, unless only the batch's number was taken: another queue may be far ahead on the
// lease. On a closed lease, only acknowledged ones have been booked.
func (q *queue) deliver(b *batch, verdicts []models.Verdict) (well bool) {
	now := q.settler.now()
	var again, owed []*submission
	well = true
	for i, sub := range b.items {
		v := verdicts[i]
		undecided := errors.Is(v.Err, models.ErrNotSettled)
		switch {
		case sub.acknowledged && v.Err != nil && !errors.Is(v.Err, models.ErrKeyReused):
			owed = append(owed, sub)
			well = well && undecided
			continue
		case undecided && !sub.late(now):
			again = append(again, sub)
			continue
		case undecided:
			v.Err = models.ErrLedgerUnavailable
		}
		if errors.Is(v.Err, models.ErrLeaseClosed) || v.Err == nil && v.Entry.Late {
			q.block.Seal()
		}
		sub.resolve(v)
		if sub.acknowledged {
			q.settler.owed.Add(-1)
		}
	}
	q.requeue(append(again, owed...))
	return well
}

// refuse ends the submissions of a batch of which nothing was booked. Acknowledged ones are queued again, and then it gives false.
func (q *queue) refuse(subs []*submission, err error) (well bool) {
	var owed []*submission
	for _, sub := range subs {
		if sub.acknowledged {
			owed = append(owed, sub)
		} else {
			sub.resolve(models.Verdict{Err: err})
		}
	}
	if len(owed) > 0 {
		q.report(err, len(owed))
	}
	q.requeue(owed)
	return len(owed) == 0
}
