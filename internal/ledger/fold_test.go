package ledger_test

import (
	"reflect"
	"testing"

	"tranche/internal/ledger"
	"tranche/models"
)

func TestB4ARequestIsTheSameIfItsMetadataIsTheSameValue(t *testing.T) {
	const one = `{"a":[1,{"b":null,"c":"é"}],"n":9007199254740993,"f":1.50}`
	for again, want := range map[string]bool{
		one: true,
		` { "f" : 1.5, "n": 9007199254740993, "a": [1.0, {"c": "\u00e9", "b": null}] } `: true,
		`{"a":[1,{"b":null,"c":"é"}],"n":9007199254740992,"f":1.5}`:                      false, // equal only as floating point
		`{"a":[{"b":null,"c":"é"},1],"n":9007199254740993,"f":1.5}`:                      false, // in another order
		`{"a":[1,{"c":"é"}],"n":9007199254740993,"f":1.5}`:                               false, // null is not absent
		`{"a":["1",{"b":null,"c":"é"}],"n":9007199254740993,"f":1.5}`:                    false,
		`{"a":[1,{"b":null,"c":"É"}],"n":9007199254740993,"f":1.5}`:                      false,
		`{}`: false,
		"":   false,
	} {
		first, repeat := redeem("k", "u", 1).Entry, redeem("k", "u", 1).Entry
		text := one
		first.Metadata = &text
		if again != "" {
			repeat.Metadata = &again
		}
		if ledger.SameRequest(&first, &repeat) != want || ledger.SameRequest(&repeat, &first) != want {
			t.Errorf("the same request with metadata %s: want %v", again, want)
		}
		if !ledger.SameRedemption(&first, &repeat) {
			t.Errorf("with metadata %s it is another redemption", again)
		}
	}
}

// First takes back what Begin does with an entry, whatever has followed on it.
func TestTheFirstEntryOfARedemption(t *testing.T) {
	order, metadata, cart, ends := "order", "{}", models.CartIDOf("k"), models.Micros(60_000_001)
	for _, kind := range []models.Kind{models.KindRedeem, models.KindHold} {
		e := models.Entry{
			OfferID: "o", Redemption: models.RedemptionIDOf("o", "k").Hash, Kind: kind, UserID: "u", OrderID: &order, IdempotencyKey: "k", Units: 3,
			LeaseID: models.NewID(), NodeID: models.NewID(), CartID: &cart, Late: true, Metadata: &metadata, CreatedAt: 1,
		}
		if kind == models.KindHold {
			e.HoldExpiresAt = &ends
		}
		history := []models.Entry{e}
		if kind == models.KindHold {
			history = append(history, models.Entry{OfferID: "o", Redemption: e.Redemption, Seq: 1, Kind: models.KindConfirm, Units: 2, CreatedAt: 2})
		}
		history = append(history, models.Entry{
			OfferID: "o", Redemption: e.Redemption, Seq: int64(len(history)), Kind: models.KindRefund, IdempotencyKey: "r", Units: 1, CreatedAt: 3,
		})
		r, err := ledger.Fold(history)
		if err != nil {
			t.Fatal(err)
		}
		if got := ledger.First(&r); !reflect.DeepEqual(got, e) {
			t.Errorf("%s: %+v, want %+v", kind, got, e)
		}
	}
}
