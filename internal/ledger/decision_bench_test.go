package ledger

import (
	"fmt"
	"testing"

	"tranche/models"
)

// BenchmarkDecide decides on a whole batch of new redemptions.
func BenchmarkDecide(b *testing.B) {
	batch := models.Batch{Offer: &models.Offer{ID: "o"}, LeaseID: models.NewID(), Number: 1}
	for i := range 500 {
		key := fmt.Sprint(i)
		batch.Wanted = append(batch.Wanted, models.Wanted{Entry: models.Entry{
			OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", key).Hash, Kind: models.KindRedeem, UserID: key,
			IdempotencyKey: key, Units: 1,
		}})
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Decide(&batch, nil); err != nil {
			b.Fatal(err)
		}
	}
}
