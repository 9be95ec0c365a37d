package ledger

import (
	"bytes"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"tranche/models"
)

// Fold adds up the entries of one redemption, in the order of their seq. The database may have folded refunds before. It fails on a history
// that no sequence of settle transactions can have written; that is corruption, and nothing may be decided from it.
func Fold(history []models.Entry) (models.Redemption, error) {
	var r models.Redemption
	var count int64
	folded := false
	for i := range history {
		e := &history[i]
		folded = folded || e.Folds > 0
		if !folded && e.Seq != count {
			return r, fmt.Errorf("redemption %s: entry %s has seq %d, want %d", e.RedemptionID(), e.ID, e.Seq, count)
		}
		count += max(1, e.Folds)
		if !follows(&r, e) {
			return r, fmt.Errorf("redemption %s: %s of %d units at seq %d, when it is %q with %d", e.RedemptionID(), e.Kind, e.Units, i, r.State, r.Units)
		}
		apply(&r, e)
	}
	if count > 0 && r.LastSeq != count-1 {
		return r, fmt.Errorf("redemption %s: %d entries, and the last has seq %d", r.RedemptionID, count, r.LastSeq)
	}
	if r.RefundedUnits > r.Units {
		return r, fmt.Errorf("redemption %s: %d of %d units refunded", r.RedemptionID, r.RefundedUnits, r.Units)
	}
	return r, nil
}

// follows reports whether an entry may come next; r is the zero Redemption before the first.
func follows(r *models.Redemption, e *models.Entry) bool {
	switch e.Kind {
	case models.KindRedeem:
		return r.State == ""
	case models.KindHold:
		return r.State == "" && e.HoldExpiresAt != nil
	case models.KindConfirm:
		return r.State == models.StateHeld && e.Units <= r.Units
	case models.KindCancel, models.KindExpire:
		return r.State == models.StateHeld && e.Units == r.Units
	case models.KindRefund:
		return r.State == models.StateRedeemed
	default:
		return false
	}
}

// apply adds one entry to the redemption it belongs to.
func apply(r *models.Redemption, e *models.Entry) {
	switch e.Kind {
	case models.KindRedeem, models.KindHold:
		*r = Begin(e)
	case models.KindConfirm:
		r.Units = e.Units
		resolve(r, e, models.StateRedeemed)
	case models.KindCancel:
		resolve(r, e, models.StateCancelled)
	case models.KindExpire:
		resolve(r, e, models.StateExpired)
	case models.KindRefund:
		r.RefundedUnits += e.Units
		r.RefundCount += max(1, e.Folds)
		if e.Folds == 0 {
			r.Refunds = append(r.Refunds, *e)
		}
	}
	r.LastSeq = max(r.LastSeq, e.Seq)
}

// Begin is the redemption that its first entry makes: one that redeems, or holds.
func Begin(e *models.Entry) models.Redemption {
	r := models.Redemption{
		RedemptionID:   e.RedemptionID(),
		IdempotencyKey: e.IdempotencyKey,
		UserID:         e.UserID,
		OrderID:        e.OrderID,
		Units:          e.Units,
		Taken:          e.Units,
		HoldExpiresAt:  e.HoldExpiresAt,
		Late:           e.Late,
		NodeID:         e.NodeID,
		LeaseID:        e.LeaseID,
		CartID:         e.CartID,
		Metadata:       e.Metadata,
		CreatedAt:      e.CreatedAt,
	}
	if e.Kind == models.KindHold {
		r.State = models.StateHeld
	} else {
		resolve(&r, e, models.StateRedeemed)
	}
	return r
}

// First is the entry that a redemption began with, but for its ID, which a redemption doesn't tell.
func First(r *models.Redemption) models.Entry {
	e := models.Entry{
		OfferID: r.OfferID, Redemption: r.Hash, Kind: models.KindRedeem, UserID: r.UserID, OrderID: r.OrderID,
		IdempotencyKey: r.IdempotencyKey, Units: r.Taken, LeaseID: r.LeaseID, NodeID: r.NodeID, HoldExpiresAt: r.HoldExpiresAt,
		CartID: r.CartID, Late: r.Late, Metadata: r.Metadata, CreatedAt: r.CreatedAt,
	}
	if r.HoldExpiresAt != nil {
		e.Kind = models.KindHold
	}
	return e
}

func resolve(r *models.Redemption, e *models.Entry, to models.RedemptionState) {
	at := e.CreatedAt
	r.State, r.ResolvedAt = to, &at
}

// SameRequest reports whether a repeated request asks for what e recorded: all that a client can say counts.
func SameRequest(e, repeat *models.Entry) bool {
	return SameRedemption(e, repeat) && sameJSON(e.Metadata, repeat.Metadata)
}

// SameRedemption reports whether two entries with one key are one redemption though two nodes acknowledged them apart. Their metadata may
// differ then. An item of a cart and a redemption by itself are never the same.
func SameRedemption(e, other *models.Entry) bool {
	return e.UserID == other.UserID && e.Units == other.Units && e.HeldFor() == other.HeldFor() &&
		equal(e.OrderID, other.OrderID) && equal(e.CartID, other.CartID)
}

// sameJSON reports whether two documents are one JSON value. White space, the order of members, and how a text or a fraction is written
// don't count. Integers are compared by their digits, however large.
func sameJSON(a, b *string) bool {
	if a == nil || b == nil || *a == *b {
		return equal(a, b)
	}
	x, y := jsontext.Value(*a), jsontext.Value(*b)
	return x.Canonicalize(jsontext.CanonicalizeRawInts(false)) == nil && y.Canonicalize(jsontext.CanonicalizeRawInts(false)) == nil &&
		bytes.Equal(x, y)
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
			sum = sum.Add(userDelta(&history[i], &r))
		}
	}
	return sum, nil
}
