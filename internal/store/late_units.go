package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// settleLate books the acknowledged entries of a batch on its closed lease, whose fold into the offer it corrects. It locks in the
// order of all transactions: user counters, entries, the lease, the offer. errNoRoom: the lease was granted less, and nothing is booked.
func (q *query) settleLate(batch *models.Batch, lookFirst bool) ([]models.Verdict, error) {
	decision, err := q.write(batch, lookFirst, ledger.DecideLate)
	if err != nil {
		return nil, err
	}
	l, err := q.lockLease(batch.Offer.ID, batch.LeaseID)
	if errors.Is(err, models.ErrLeaseClosed) && decision.Lease.Spent > 0 {
		l, err = q.openLost(batch)
	}
	switch missing := ledger.Missing(&l, &decision.Lease); {
	case errors.Is(err, models.ErrLeaseClosed):
		return decision.Verdicts, nil // nothing is new, so there is nothing to make a lease for
	case err != nil:
		return nil, err
	case l.State == models.LeaseActive || l.Batch >= batch.Number:
		return nil, errFenced
	case missing > 0 && l.Epoch > 0:
		return nil, errNoRoom
	default:
		return decision.Verdicts, q.moveLate(&l, batch.Number, missing, &decision.Lease)
	}
}

// openLost makes the closed lease for entries whose own lease the ledger has lost.
func (q *query) openLost(batch *models.Batch) (models.Lease, error) {
	now, err := q.now()
	if err != nil {
		return models.Lease{}, err
	}
	l := ledger.NewLost(batch, now)
	return l, q.Create(&l).Error
}

// moveLate takes a closed lease, whose row is locked, on to a batch, and grants it what it is missing. Numbers may be left out: the
// ledger has lost the batches that had them. A batch that adds nothing leaves the hot row alone.
func (q *query) moveLate(l *models.Lease, number, missing int64, d *ledger.Delta) error {
	n, covered := d.Spent, ledger.Covered(l, d)
	rows, err := q.exec(`UPDATE leases SET granted = granted + ?, spent = spent + ?, redeemed = redeemed + ?, held = held + ?, exposed = exposed - ?, batch = ?
		WHERE offer_id = ? AND id = ? AND state <> 'active' AND batch = ? AND spent + ? <= granted + ?`,
		missing, n, d.Redeemed, d.Held, covered, number, l.OfferID, l.ID, l.Batch, n, missing)
	if err := one(rows, err, "settle late"); err != nil || n == 0 {
		return err
	}
	rows, err = q.exec(`UPDATE offers SET allocated = allocated + ?, redeemed = redeemed + ?, held = held + ?,
			late_units = late_units + ?, exposed = exposed - ?
		WHERE id = ?`, n, d.Redeemed, d.Held, n, covered, l.OfferID)
	if err == nil && rows == 0 {
		return notFound(l.OfferID)
	}
	return one(rows, err, "fold late units")
}

// Acquit says for the owner of leases that it has nothing unsettled on them any more: what they expose is 0 from now on. Durable on
// return, idempotent. Leases that expose nothing, are active or don't exist are left as they are: one that is reclaimed after
// this call exposes its rest, and has to be acquitted again.
func (s *Store) Acquit(ctx context.Context, offerID string, leaseIDs []models.ID) error {
	return s.write(ctx, "Acquit", onUnknown, func(q *query) error {
		return q.acquitAll(offerID, slices.SortedFunc(slices.Values(leaseIDs), compareIDs))
	})
}

// acquitAll acquits leases, whose ids are in order, and then takes what they exposed off the offer.
func (q *query) acquitAll(offerID string, ids []models.ID) error {
	var sum int64
	for chunk := range slices.Chunk(ids, chunkSize) {
		exposed, err := q.acquit(offerID, chunk)
		if err != nil {
			return err
		}
		sum += exposed
	}
	if sum == 0 {
		return nil
	}
	rows, err := q.exec("UPDATE offers SET exposed = exposed - ? WHERE id = ?", sum, offerID)
	return one(rows, err, "acquit")
}

// AcquitDue acquits leases whose ends have come since they were taken over, at most so many, and gives their number. Durable on return.
func (s *Store) AcquitDue(ctx context.Context, limit int) (acquitted int, err error) {
	var due []models.Lease
	err = s.read(ctx, "AcquitDue", func(q *query) error {
		return q.Where("acquit_at <= " + q.dialect.now).Order("acquit_at").Limit(limit).Find(&due).Error
	})
	if err != nil {
		return 0, err
	}
	byOffer := map[string][]models.ID{}
	for i := range due {
		byOffer[due[i].OfferID] = append(byOffer[due[i].OfferID], due[i].ID)
	}
	for offerID, ids := range byOffer {
		if err := s.Acquit(ctx, offerID, ids); err != nil {
			return acquitted, err
		}
		acquitted += len(ids)
	}
	return acquitted, nil
}

// acquit gives what the leases exposed until now.
func (q *query) acquit(offerID string, ids []models.ID) (sum int64, err error) {
	const owes = "offer_id = ? AND id IN ? AND (exposed > 0 OR acquit_at IS NOT NULL)"
	var owing, exposing []models.ID
	if err := q.Model(&models.Lease{}).Where(owes, offerID, ids).Order("id").Pluck("id", &owing).Error; err != nil {
		return 0, err
	}
	for _, id := range owing { // one by one: see current
		var still []models.Lease
		if err := q.locking().Where(owes, offerID, []models.ID{id}).Find(&still).Error; err != nil {
			return 0, err
		}
		for _, l := range still {
			exposing = append(exposing, id)
			sum += l.Exposed
		}
	}
	if len(exposing) == 0 {
		return 0, nil
	}
	rows, err := q.exec("UPDATE leases SET exposed = 0, acquit_at = NULL WHERE "+owes, offerID, exposing)
	if err == nil && rows != int64(len(exposing)) {
		err = fmt.Errorf("acquit: %d rows changed, want %d", rows, len(exposing))
	}
	return sum, err
}

// MayOwe reports whether a node other than one may have acknowledged redemptions of an offer that are not in the ledger: it has a lease of
// mode fast or available that is active, or exposes units. It is asked for lists, and runs among them.
func (s *Store) MayOwe(ctx context.Context, offerID string, except models.ID) (may bool, err error) {
	err = s.list(ctx, "MayOwe", func(q *query) error {
		const leases = `EXISTS (SELECT 1 FROM leases WHERE offer_id = ? AND node_id <> ? AND mode IN ('fast', 'available') AND `
		return q.scan(&may, "SELECT "+leases+"state = 'active') OR "+leases+"exposed > 0)", offerID, except, offerID, except)
	})
	return may, err
}

// LeaseStates reads leases by id, in any state, without locks and in no order. One that was never granted is left out.
func (s *Store) LeaseStates(ctx context.Context, offerID string, ids []models.ID) (leases []models.Lease, err error) {
	err = s.read(ctx, "LeaseStates", func(q *query) error {
		leases = nil
		for chunk := range slices.Chunk(ids, chunkSize) {
			var some []models.Lease
			if err := q.Where("offer_id = ? AND id IN ?", offerID, chunk).Find(&some).Error; err != nil {
				return err
			}
			leases = append(leases, some...)
		}
		return nil
	})
	return leases, err
}
