package ledger_test

import (
	"reflect"
	"testing"

	"tranche/internal/ledger"
	"tranche/models"
)

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
