package ledger

import "tranche/models"

// Close closes an active lease. Reclaimed from an owner that may have acknowledged spends of it unseen, it exposes its rest.
func Close(l *models.Lease, to models.LeaseState, now models.Micros) {
	if to == models.LeaseReclaimed && l.Mode.Outlives() {
		l.Exposed = l.Outstanding()
	}
	l.State, l.ClosedAt = to, &now
}

// HasLost reports whether an active lease is not as its node has left it: batches before this one are missing, or units that the batch
// may need. Then the ledger has lost commits.
func HasLost(l *models.Lease, batch *models.Batch) bool {
	units := l.Spent
	for i := range batch.Wanted {
		if w := &batch.Wanted[i]; w.Kind.Spends() {
			units += w.Units
		}
	}
	return l.Batch < batch.Number-1 || units > l.Granted
}

// NewLost makes a lease, closed and without entries yet, for acknowledged entries that no lease of the ledger has room for. It belongs
// to the node that acknowledged them, in epoch 0, and grows with what is booked on it.
func NewLost(batch *models.Batch, now models.Micros) models.Lease {
	l := models.Lease{
		OfferID: batch.Offer.ID, ID: batch.LeaseID, Kind: models.KindBlock, Mode: batch.Offer.Mode, Recall: batch.Offer.Recall,
		TTLSeconds: batch.Offer.LeaseTTLSeconds, State: models.LeaseReturned, GrantedAt: now, ExpiresAt: now, ClosedAt: &now,
	}
	for i := range batch.Wanted {
		if batch.Wanted[i].Acknowledged {
			l.NodeID = batch.Wanted[i].NodeID
			break
		}
	}
	return l
}

// Missing is how many units a late batch brings that its closed lease was never granted. A lease that was made for lost entries is
// granted them.
func Missing(l *models.Lease, d *Delta) int64 { return max(0, l.Spent+d.Spent-l.Granted) }

// Covered is how much of a late batch its lease still exposes: that much less it exposes afterwards. A lease that its owner closed, or
// acquitted, exposes nothing, and what is booked on it all the same was not foreseen.
func Covered(l *models.Lease, d *Delta) int64 { return min(l.Exposed, d.Spent) }
