package settle

import (
	"errors"
	"testing"
	"time"

	"tranche/lease"
	"tranche/models"
)

func hold(key string, units int64) models.Entry {
	e := redeem(key)
	ends := e.CreatedAt.Add(time.Minute)
	e.Kind, e.Units, e.HoldExpiresAt = models.KindHold, units, &ends
	return e
}

func end(key string, kind models.Kind, units int64) models.Entry {
	return models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", key).Hash, Kind: kind, Units: units,
	}
}

func (b *settlerOnFake) pool() *lease.Block {
	b.t.Helper()
	opened, _, err := b.fake.OpenPool(b.t.Context(), models.Lease{
		OfferID: "o", ID: models.NewID(), NodeID: b.node, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return lease.NewBlock(&opened, time.Now().Add(time.Minute))
}

func (b *settlerOnFake) hold(key string, units int64) {
	b.t.Helper()
	if !b.block.Spend(units, time.Now()) {
		b.t.Fatal("the block is empty")
	}
	if _, err := b.settler.Settle(b.t.Context(), lease.Posting{Block: b.block, Offer: b.offer, Entry: hold(key, units)}, nil); err != nil {
		b.t.Fatal(err)
	}
}

func TestWhatAHoldGivesBackFillsThePoolOnce(t *testing.T) {
	for kind, want := range map[models.Kind]int64{models.KindConfirm: 2, models.KindCancel: 5, models.KindExpire: 5} {
		inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
			b.hold("a", 5)
			if b.block.Left() != 5 || b.block.Pending() != 0 {
				t.Errorf("the block has %d, and %d pending", b.block.Left(), b.block.Pending())
			}
			units := map[models.Kind]int64{models.KindConfirm: 3}[kind]
			pool := b.pool()
			for range 2 { // the reply of each COMMIT is lost once
				lost := false
				b.ledger.after = func(models.Batch) error {
					if lost = !lost; lost {
						return models.ErrOutcomeUnknown
					}
					return nil
				}
				if v, err := b.settler.Settle(t.Context(), lease.Posting{Block: pool, Offer: b.offer, Entry: end("a", kind, units)}, nil); err != nil {
					t.Error(kind, v, err)
				}
			}
			if pool.Left() != want {
				t.Errorf("%s: the pool has %d, want %d", kind, pool.Left(), want)
			}
			if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: pool, Offer: b.offer, Entry: end("a", "cancel", 0)}, nil); kind != "cancel" && !errors.Is(err, models.ErrHoldResolved) {
				t.Errorf("cancelled after %s: %v", kind, err)
			}
		})
	}
}

func TestTheUnitsOfARefusedHoldGoBack(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.hold("a", 2)
		other := hold("a", 2)
		other.UserID = "somebody else"
		for _, e := range []models.Entry{other, hold("a", 2)} {
			if !b.block.Spend(2, time.Now()) {
				t.Fatal("the block is empty")
			}
			v, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, nil)
			if e.UserID == other.UserID && !errors.Is(err, models.ErrKeyReused) || e.UserID != other.UserID && !v.Replayed {
				t.Error(v, err)
			}
		}
		if b.block.Left() != 8 {
			t.Errorf("the block has %d", b.block.Left())
		}
	})
}
