package store_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// BenchmarkSync measures what every node asks several times a second, with 10 000 offers: it is one query over an index, and costs the
// same as with a hundred. All of them are read only every 30 s, and then without those that are over.
//
// It runs on the server of TRANCHE_TEST_DSN, or else on SQLite.
func BenchmarkSync(b *testing.B) {
	for _, c := range []struct{ open, over int }{{100, 0}, {10_000, 0}, {100, 10_000}} {
		s := newStore(b)
		fill(b, s, c.open, c.over)
		settled(b, s, time.Millisecond)
		for _, w := range []struct {
			name   string
			window time.Duration
			want   int
		}{{"nothing changed", time.Millisecond, 0}, {"all", 0, c.open}} {
			b.Run(fmt.Sprintf("%d offers, %d over, %s", c.open, c.over, w.name), func(b *testing.B) {
				for b.Loop() {
					snapshot, err := s.SyncOffers(b.Context(), w.window)
					if err != nil || len(snapshot.Offers) != w.want {
						b.Fatalf("%d offers, %v", len(snapshot.Offers), err)
					}
				}
			})
		}
	}
}

// settled waits until the last offer is older than the narrowest window.
func settled(b *testing.B, s *store.Store, window time.Duration) {
	b.Helper()
	for range 10_000 {
		if snapshot, err := s.SyncOffers(b.Context(), window); err == nil && len(snapshot.Offers) == 0 {
			return
		}
	}
	b.Fatal("there is always something new")
}

func newStore(b *testing.B) *store.Store {
	b.Helper()
	cfg := store.Config{Path: filepath.Join(b.TempDir(), "books.db")}
	if os.Getenv("TRANCHE_TEST_DSN") != "" {
		cfg = store.Config{DSN: storetest.MySQL(b)}
	}
	s, err := store.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(context.Background()); err != nil {
		b.Fatal(err)
	}
	return s
}

// fill makes offers, of which some are over.
func fill(b *testing.B, s *store.Store, open, over int) {
	b.Helper()
	long, past := models.Micros(1), models.Micros(2)
	for i := range open + over {
		o := models.Offer{
			ID: fmt.Sprintf("offer-%d", i), Name: "An offer", Unit: models.UnitRedemptions, Budget: 1000, LeaseSize: 10, LeaseTTLSeconds: 60,
		}
		if i >= open {
			o.StartsAt, o.EndsAt = &long, &past
		}
		if _, _, err := s.CreateOffer(b.Context(), o, models.Audit{}); err != nil {
			b.Fatal(err)
		}
	}
}
