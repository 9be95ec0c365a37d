package ledger

import "tranche/models"

// Delta is what entries change on their lease row.
type Delta struct {
	Granted int64 // units given back, which flow into the pool
	Spent   int64
	models.Totals
}

// Add gives d + o.
func (d Delta) Add(o Delta) Delta {
	return Delta{d.Granted + o.Granted, d.Spent + o.Spent, d.Totals.Add(o.Totals)}
}

// leaseDelta is what an entry changes on its lease; r is the redemption with the entry applied.
func leaseDelta(e *models.Entry, r *models.Redemption) Delta {
	d := Delta{Granted: r.Returned(e)}
	switch e.Kind {
	case models.KindRedeem:
		d.Spent, d.Redeemed = e.Units, e.Units
	case models.KindHold:
		d.Spent, d.Held = e.Units, e.Units
	case models.KindConfirm:
		d.Held, d.Redeemed = -r.Taken, e.Units
	case models.KindCancel, models.KindExpire:
		d.Held = -e.Units
	case models.KindRefund:
		d.Refunded, d.Forfeited = d.Granted, e.Units-d.Granted
	}
	return d
}

// UserDelta is what entries change on one user's counters.
type UserDelta struct {
	Redemptions int64
	Units       int64
	HeldUnits   int64 // of Units
}

// Add gives d + o.
func (d UserDelta) Add(o UserDelta) UserDelta {
	return UserDelta{d.Redemptions + o.Redemptions, d.Units + o.Units, d.HeldUnits + o.HeldUnits}
}

// Negated gives what takes d off again.
func (d UserDelta) Negated() UserDelta { return UserDelta{-d.Redemptions, -d.Units, -d.HeldUnits} }

// ApplyTo gives a user's counters with d added.
func (d UserDelta) ApplyTo(u models.Usage) models.Usage {
	u.Redemptions += d.Redemptions
	u.Units += d.Units
	u.HeldUnits += d.HeldUnits
	return u
}

// userDelta is what an entry changes on its user's counters; r is the redemption with the entry applied. A hold counts from its
// beginning, so its confirmation counts nothing; what comes of it to nothing is taken off.
func userDelta(e *models.Entry, r *models.Redemption) UserDelta {
	switch e.Kind {
	case models.KindRedeem:
		return UserDelta{Redemptions: 1, Units: e.Units}
	case models.KindHold:
		return UserDelta{Redemptions: 1, Units: e.Units, HeldUnits: e.Units}
	case models.KindConfirm:
		return UserDelta{Units: -r.Returned(e), HeldUnits: -r.Taken}
	case models.KindCancel, models.KindExpire:
		return UserDelta{Redemptions: -1, Units: -e.Units, HeldUnits: -e.Units}
	case models.KindRefund:
		return refundedToUser(e, r)
	default:
		return UserDelta{}
	}
}

// refundedToUser gives a redemption itself back with its last unit.
func refundedToUser(e *models.Entry, r *models.Redemption) UserDelta {
	switch {
	case !e.RestoresUserLimit:
		return UserDelta{}
	case r.Remaining() == 0:
		return UserDelta{Redemptions: -1, Units: -e.Units}
	default:
		return UserDelta{Units: -e.Units}
	}
}
