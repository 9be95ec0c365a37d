package store_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// What a batch waits for is mostly the way to the database and back.
func TestABatchOfNewRedemptionsTakesTwoRoundTrips(t *testing.T) {
	one := int64(1)
	t.Run("no limit", func(t *testing.T) { takesTwoRoundTrips(t, nil, models.KindRedeem, 20) })
	t.Run("a limit per user", func(t *testing.T) { takesTwoRoundTrips(t, &one, models.KindRedeem, 20) })
	t.Run("as many as a batch has", func(t *testing.T) { takesTwoRoundTrips(t, &one, models.KindRedeem, 500) })
	t.Run("holds", func(t *testing.T) { takesTwoRoundTrips(t, &one, models.KindHold, 20) })
}

func takesTwoRoundTrips(t *testing.T, limit *int64, kind models.Kind, entries int) {
	dsn, proxy := through(t, storetest.MySQL(t), func() fate { return pass })
	s := open(t, store.Config{DSN: dsn})
	batch := settleOn(t, s, limit)
	for range 3 {
		fillNext(&batch, entries)
		if kind == models.KindHold {
			makeHolds(&batch)
		}
		before := proxy.commands.Load()
		verdicts, err := s.Settle(context.Background(), batch)
		if err != nil {
			t.Fatal(err)
		}
		for i := range verdicts {
			if verdicts[i].Err != nil || verdicts[i].Replayed {
				t.Errorf("entry %d: %+v", i, verdicts[i])
			}
		}
		if n := proxy.commands.Load() - before; n != 2 {
			t.Errorf("%d round trips, want one for the statements and one for COMMIT", n)
		}
	}
}

// All nodes look all the time, and nearly always in vain.
func TestALookForWhatIsDueTakesOneRoundTrip(t *testing.T) {
	dsn, proxy := through(t, storetest.MySQL(t), func() fate { return pass })
	s := open(t, store.Config{DSN: dsn})
	settleOn(t, s, nil)
	looks := map[string]func() error{
		"leases": func() error { _, err := s.ExpiringLeases(t.Context(), 10); return err },
		"holds":  func() error { _, err := s.ExpiredHolds(t.Context(), 10); return err },
		"offers": func() error { _, err := s.SyncOffers(t.Context(), time.Microsecond); return err },
	}
	for what, look := range looks {
		before := proxy.commands.Load()
		if err := look(); err != nil {
			t.Fatal(err)
		}
		if n := proxy.commands.Load() - before; n != 1 {
			t.Errorf("%s: %d round trips, want one", what, n)
		}
	}
}

func makeHolds(batch *models.Batch) {
	end := models.Micros(1 << 60)
	for i := range batch.Wanted {
		batch.Wanted[i].Kind, batch.Wanted[i].HoldExpiresAt = models.KindHold, &end
	}
}

func TestABatchLargerThanAPacketIsSettledInSeveral(t *testing.T) {
	const packet = 16 << 10
	s := open(t, store.Config{DSN: storetest.MySQL(t) + "?maxAllowedPacket=16384"})
	batch := settleOn(t, s, nil)
	fillNext(&batch, 40)
	metadata := `{"note": "` + strings.Repeat("x", packet/len(batch.Wanted)) + `"}`
	for i := range batch.Wanted {
		batch.Wanted[i].Metadata = &metadata
	}
	if _, err := s.Settle(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	entries, err := s.Entries(context.Background(), batch.Offer.ID, 100, models.ID{})
	if err != nil || len(entries) != len(batch.Wanted) {
		t.Fatalf("%d entries, want %d; %v", len(entries), len(batch.Wanted), err)
	}
}
