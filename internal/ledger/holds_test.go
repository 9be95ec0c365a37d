package ledger_test

import (
	"testing"

	"tranche/internal/ledger"
	"tranche/models"
)

// hold holds for so many microseconds.
func hold(key, user string, units int64, ends models.Micros) models.Wanted {
	w := redeem(key, user, units)
	w.Kind, w.HoldExpiresAt = models.KindHold, &ends
	return w
}

func end(of string, kind models.Kind, units int64) models.Wanted {
	w := redeem(of, "", units)
	w.Kind, w.IdempotencyKey = kind, ""
	return w
}

func TestAConfirmationOfARefusedHoldFindsNone(t *testing.T) {
	b := newBook(limited(1))
	b.settle(t, redeem("first", "u", 1))
	expect(t, b.settle(t, hold("k", "u", 2, 5), end("k", models.KindConfirm, 1), end("k", models.KindCancel, 0)),
		models.ErrUserLimitReached, models.ErrRedemptionNotFound, models.ErrRedemptionNotFound)
	b.check(t)
}

func TestACancelledHoldMakesRoomInItsBatch(t *testing.T) {
	b := newBook(limited(1))
	b.settle(t, hold("first", "u", 1, 5))
	expect(t, b.settle(t, redeem("a", "u", 1), end("first", models.KindCancel, 0), hold("b", "u", 1, 5)),
		models.ErrUserLimitReached, nil, nil)
	b.check(t)
}

func TestAnImpossibleEndOfAHoldIsNotFolded(t *testing.T) {
	history := func(kind models.Kind, units int64) []models.Entry {
		a, b := hold("k", "u", 3, 5).Entry, end("k", kind, units).Entry
		b.Seq, b.CreatedAt = 1, 7
		return []models.Entry{a, b}
	}
	if r, err := ledger.Fold(history(models.KindConfirm, 2)); err != nil || r.Units != 2 || r.Taken != 3 || *r.ResolvedAt != 7 {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, h := range map[string][]models.Entry{
		"a confirmation of more":   history(models.KindConfirm, 4),
		"a part cancelled":         history(models.KindCancel, 2),
		"a part expired":           history(models.KindExpire, 2),
		"a refund of what is held": history(models.KindRefund, 1),
		"a hold of a hold":         history(models.KindHold, 3),
		"an unknown kind":          history("correction", 3),
		"no end in sight":          {{OfferID: "o", Kind: models.KindHold, Units: 1}},
		"an end of what is none":   {redeem("k", "u", 3).Entry, history(models.KindCancel, 3)[1]},
		"a second end":             append(history(models.KindCancel, 3), models.Entry{Seq: 2, Kind: models.KindConfirm, Units: 3}),
	} {
		if r, err := ledger.Fold(h); err == nil {
			t.Errorf("%s was folded: %+v", name, r)
		}
	}
}
