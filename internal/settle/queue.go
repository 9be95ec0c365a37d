package settle

import (
	"context"
	"errors"
	"sync"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// queue is the wanted entries of one lease. Its goroutine runs while there are any.
type queue struct {
	settler *Settler
	block   *lease.Block
	settled int64 // the number of the last batch; belongs to the goroutine that runs

	mu      sync.Mutex
	items   []*item
	offer   *models.Offer // as the newest item's requester knew it
	running bool
}

// add appends an item.
func (q *queue) add(offer *models.Offer, it *item) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.items) >= maxQueued:
		return models.ErrOverloaded
	case it.spent() == 0 && q.block.Sealed(): // a refund must not find its pool closed; there will be another
		return models.ErrLeaseClosed
	}
	q.items = append(q.items, it)
	q.offer = offer
	if !q.running {
		q.running = true
		q.settler.running.Add(1)
		go q.run()
	}
	return nil
}

// run settles batch after batch until nothing is left.
func (q *queue) run() {
	defer q.settler.running.Done()
	for {
		batch, offer := q.take()
		if batch == nil {
			return
		}
		q.settle(offer, batch)
	}
}

// take cuts the next batch off the queue: nil when it is empty, and the goroutine is to end.
func (q *queue) take() ([]*item, *models.Offer) {
	now := q.settler.now()
	q.mu.Lock()
	defer q.mu.Unlock()
	var batch []*item
	var bytes, taken int
	for _, it := range q.items {
		bytes += it.bytes()
		if len(batch) == maxBatchEntries || len(batch) > 0 && bytes > maxBatchBytes {
			break
		}
		taken++
		if it.late(now) && it.state.CompareAndSwap(queued, withdrawn) {
			it.resolve(q.block, models.Verdict{Err: models.ErrLedgerUnavailable})
			continue
		}
		if !it.state.CompareAndSwap(queued, attempted) { // its requester has gone
			it.giveBack(q.block)
			continue
		}
		batch = append(batch, it)
	}
	q.items = q.items[taken:]
	if batch == nil {
		q.items, q.running = nil, false
	}
	return batch, q.offer
}

// requeue puts items back in front: nothing was decided about them.
func (q *queue) requeue(items []*item) {
	for _, it := range items {
		it.state.Store(queued)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.items = append(items, q.items...)
}

// settle brings one batch to its end.
func (q *queue) settle(offer *models.Offer, batch []*item) {
	unknown := false // an attempt may have committed
	backoff := run.Backoff{Min: 20 * time.Millisecond, Max: time.Second}
	for {
		verdicts, err := q.attempt(offer, batch)
		switch {
		case err == nil:
			q.settled++
			q.deliver(batch, verdicts)
			return
		case errors.Is(err, models.ErrLeaseClosed):
			q.block.Seal()
			q.refuse(batch, models.ErrLeaseClosed)
			return
		case errors.Is(err, models.ErrOutcomeUnknown):
			unknown = true
		case unknown: // this attempt failed, but an earlier one may still commit
		case errors.Is(err, models.ErrBusy) && len(batch) > 1:
			q.requeue(batch[len(batch)/2:])
			batch = batch[:len(batch)/2]
			continue
		default:
			q.refuse(batch, err)
			return
		}
		q.settler.metrics.repeated.Inc()
		q.settler.logger.Warn().Err(err).Str("offer_id", q.block.OfferID).Stringer("lease_id", q.block.LeaseID).
			Int64("batch", q.settled+1).Msg("batch of unknown outcome runs again")
		if !backoff.Wait(q.settler.stop) {
			q.refuse(batch, models.ErrOutcomeUnknown)
			return
		}
	}
}

// attempt runs the batch's transaction once.
func (q *queue) attempt(offer *models.Offer, batch []*item) ([]models.Verdict, error) {
	now := q.settler.now()
	wanted := make([]models.Wanted, len(batch))
	for i, it := range batch {
		wanted[i] = models.Wanted{Entry: it.entry, CheckOnly: it.late(now)}
	}
	verdicts, err := q.settler.ledger.Settle(context.Background(), models.Batch{
		Offer: offer, LeaseID: q.block.LeaseID, Number: q.settled + 1, Wanted: wanted,
	})
	q.settler.metrics.observe(len(batch), q.settler.now().Sub(now), err)
	return verdicts, err
}

// deliver hands out the verdicts of a batch that committed. An entry without one is asked for again while its time lasts.
func (q *queue) deliver(batch []*item, verdicts []models.Verdict) {
	now := q.settler.now()
	var again []*item
	for i, it := range batch {
		v := verdicts[i]
		if errors.Is(v.Err, models.ErrNotSettled) {
			if !it.late(now) {
				again = append(again, it)
				continue
			}
			v.Err = models.ErrLedgerUnavailable
		}
		it.resolve(q.block, v)
	}
	if again != nil {
		q.requeue(again)
	}
}

// refuse ends a batch of which nothing was booked.
func (q *queue) refuse(batch []*item, err error) {
	for _, it := range batch {
		it.resolve(q.block, models.Verdict{Err: err})
	}
}
