package lease

import (
	"slices"
	"testing"
	"time"

	"tranche/models"
)

// Requests need not look at a fast block that is used up, however long its settling takes; what comes back to it can be spent again.
func TestAUsedUpFastBlockIsOutOfTheWayUntilItsUnitsComeBack(t *testing.T) {
	offer := testOffer(1000, 10)
	offer.Mode, offer.Adaptive = models.ModeFast, false
	withoutLoops(t, offer, func(t *testing.T, b *keeperOnFake) {
		var first *Block
		for i := range 50 {
			block, err := b.keeper.Spend(t.Context(), b.offer, 10, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				first = block
			}
			time.Sleep(time.Second) // for the grant that was asked for ahead
		}
		var ol *offerLeases
		b.keeper.each(func(only *offerLeases) { ol = only })
		if open := *ol.open.Load(); len(open) > 3 || slices.Contains(open, first) {
			t.Errorf("%d blocks to look at, of %d held", len(open), ol.count())
		}
		first.Unspend(3)
		ol.review(time.Now())
		if open := *ol.open.Load(); !slices.Contains(open, first) {
			t.Error("units came back to a block, and nobody finds them")
		}
		drain := time.Now()
		b.keeper.each(func(ol *offerLeases) {
			for _, l := range ol.leases {
				l.Unspend(l.Pending())
			}
		})
		b.keeper.Drain(t.Context())
		if balance := b.balance(); balance.Allocated != 0 {
			t.Errorf("after %v: %+v", time.Since(drain), balance)
		}
	})
}
