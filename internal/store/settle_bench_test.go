package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// BenchmarkSettle books batches of new redemptions, each of another user, on one lease: what one lane can do. It tells the time per
// entry, of this process and the database together.
func BenchmarkSettle(b *testing.B) {
	databases := map[string]func(b *testing.B) store.Config{
		"SQLite": func(b *testing.B) store.Config { return store.Config{Path: filepath.Join(b.TempDir(), "bench.db")} },
	}
	if os.Getenv(storetest.DSNVariable) != "" {
		databases["MySQL"] = func(b *testing.B) store.Config { return store.Config{DSN: storetest.MySQL(b)} }
	}
	one := int64(1)
	for name, config := range databases {
		for terms, limit := range map[string]*int64{"": nil, "/limited": &one} {
			for _, size := range []int{20, 100, 500} {
				b.Run(fmt.Sprintf("%s%s/%d", name, terms, size), func(b *testing.B) {
					benchmarkSettle(b, config(b), limit, size)
				})
			}
		}
	}
}

func benchmarkSettle(b *testing.B, cfg store.Config, limit *int64, size int) {
	ctx := context.Background()
	s, err := store.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Migrate(ctx); err != nil {
		b.Fatal(err)
	}
	batch := settleOn(b, s, limit)
	entries := 0
	for b.Loop() {
		entries += size
		fillNext(&batch, size)
		if _, err := s.Settle(ctx, batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(entries), "µs/entry")
}

// fillNext makes the batch that comes after this one: new redemptions, each of another user.
func fillNext(batch *models.Batch, size int) {
	batch.Number++
	batch.Wanted = batch.Wanted[:0]
	for i := range size {
		key := fmt.Sprint("order-", batch.Number, "-", i)
		batch.Wanted = append(batch.Wanted, models.Wanted{Entry: models.Entry{
			OfferID: batch.Offer.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(batch.Offer.ID, key).Hash,
			Kind: models.KindRedeem, UserID: "user-" + key, IdempotencyKey: key, Units: 1, CreatedAt: models.Micros(1),
		}})
	}
}

// settleOn makes a batch of an offer with one lease, for all that is ever booked.
func settleOn(b testing.TB, s *store.Store, limit *int64) models.Batch {
	ctx, node := context.Background(), models.NewID()
	epoch, err := s.RegisterNode(ctx, node, "bench")
	if err != nil {
		b.Fatal(err)
	}
	offer, _, err := s.CreateOffer(ctx, models.Offer{
		ID: "o", Name: "o", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 1 << 40, UserLimitRedemptions: limit,
		Status: models.StatusActive, LeaseSize: 1 << 40, LeaseTTLSeconds: 3600,
	}, models.Audit{})
	if err != nil {
		b.Fatal(err)
	}
	grant, err := s.Grant(ctx, models.GrantRequest{
		OfferID: "o", NodeID: node, Epoch: epoch, LeaseID: models.NewID(),
		Size: func(*models.Offer, int64, int64) int64 { return 1 << 40 },
	})
	if err != nil {
		b.Fatal(err)
	}
	return models.Batch{Offer: &offer, LeaseID: grant.Lease.ID}
}
