package ledger

import (
	"fmt"

	"tranche/models"
)

// Fold adds up the entries of one redemption, in the order of their seq. It fails on a history that no sequence of
// settle transactions can have written; that is corruption, and nothing may be decided from it.
func Fold(history []models.Entry) (models.Redemption, error) {
	var r models.Redemption
	for i := range history {
		e := &history[i]
		if e.Seq != int64(i) {
			return r, fmt.Errorf("redemption %s: entry %s has seq %d, want %d", e.RedemptionID(), e.ID, e.Seq, i)
		}
		if (e.Kind == models.KindRedeem) != (i == 0) {
			return r, fmt.Errorf("redemption %s: %s at seq %d", e.RedemptionID(), e.Kind, i)
		}
		apply(&r, e)
	}
	if r.RefundedUnits > r.Units {
		return r, fmt.Errorf("redemption %s: %d of %d units refunded", r.RedemptionID, r.RefundedUnits, r.Units)
	}
	return r, nil
}

// apply adds one entry to the redemption it belongs to.
func apply(r *models.Redemption, e *models.Entry) {
	switch e.Kind {
	case models.KindRedeem:
		resolved := e.CreatedAt
		*r = models.Redemption{
			RedemptionID:   e.RedemptionID(),
			IdempotencyKey: e.IdempotencyKey,
			UserID:         e.UserID,
			OrderID:        e.OrderID,
			Units:          e.Units,
			State:          models.StateRedeemed,
			Late:           e.Late,
			NodeID:         e.NodeID,
			LeaseID:        e.LeaseID,
			Metadata:       e.Metadata,
			CreatedAt:      e.CreatedAt,
			ResolvedAt:     &resolved,
		}
	case models.KindRefund:
		r.RefundedUnits += e.Units
		r.Refunds = append(r.Refunds, *e)
	}
	r.LastSeq = e.Seq
}

// SameRequest reports whether a repeated request asks for what e recorded.
func SameRequest(e, repeat *models.Entry) bool {
	return e.UserID == repeat.UserID && e.Units == repeat.Units && equal(e.OrderID, repeat.OrderID)
}

func equal[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

// UsageOf adds up what a user has used, from all entries of the user's redemptions: each history complete and ordered by seq.
func UsageOf(histories map[models.ID][]models.Entry) (UserDelta, error) {
	var sum UserDelta
	for _, history := range histories {
		if _, err := Fold(history); err != nil {
			return UserDelta{}, err
		}
		var r models.Redemption
		for i := range history {
			apply(&r, &history[i])
			delta := userDelta(&history[i], &r)
			sum.Redemptions += delta.Redemptions
			sum.Units += delta.Units
		}
	}
	return sum, nil
}
