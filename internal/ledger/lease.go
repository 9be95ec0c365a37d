package ledger

import "tranche/models"

// Close closes an active lease. Reclaimed from an owner that may have acknowledged spends of it unseen, it exposes its rest.
func Close(l *models.Lease, to models.LeaseState, now models.Micros) {
	if to == models.LeaseReclaimed && l.Mode.Outlives() {
		l.Exposed = l.Outstanding()
	}
	l.State, l.ClosedAt = to, &now
}

// Covered is how much of a late batch its lease still exposes: that much less it exposes afterwards. A lease that its owner closed, or
// acquitted, exposes nothing, and what is booked on it all the same was not foreseen.
func Covered(l *models.Lease, d *Delta) int64 { return min(l.Exposed, d.Spent) }
