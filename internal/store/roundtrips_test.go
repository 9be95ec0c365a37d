package store_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// A batch waits mostly for the way to the database and back.
func TestABatchOfNewRedemptionsTakesFewRoundTrips(t *testing.T) {
	one := int64(1)
	// The entries, their list for the feed, the lease, and COMMIT; then the users' counters or the holds.
	t.Run("no limit", func(t *testing.T) { takesRoundTrips(t, 4, nil, models.KindRedeem, 20) })
	t.Run("a limit per user", func(t *testing.T) { takesRoundTrips(t, 5, &one, models.KindRedeem, 20) })
	t.Run("as many as a batch has", func(t *testing.T) { takesRoundTrips(t, 5, &one, models.KindRedeem, 500) })
	t.Run("holds", func(t *testing.T) { takesRoundTrips(t, 6, &one, models.KindHold, 20) })
}

func takesRoundTrips(t *testing.T, want int64, limit *int64, kind models.Kind, entries int) {
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
		if n := proxy.commands.Load() - before; n != want {
			t.Errorf("%d round trips, want %d", n, want)
		}
	}
}

// However many users of a batch are over their limit, they cost as many round trips as one.
func TestRefusalsByALimitTakeFewRoundTrips(t *testing.T) {
	one := int64(1)
	dsn, proxy := through(t, storetest.MySQL(t), func() fate { return pass })
	s := open(t, store.Config{DSN: dsn})
	batch := settleOn(t, s, &one)
	var taken []int64
	for _, users := range []int{1, 100} {
		fillNext(&batch, users)
		if _, err := s.Settle(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
		var ids []string
		for i := range batch.Wanted {
			ids = append(ids, batch.Wanted[i].UserID)
		}
		fillNext(&batch, users)
		for i := range batch.Wanted {
			batch.Wanted[i].UserID = ids[i]
		}
		before := proxy.commands.Load()
		verdicts, err := s.Settle(t.Context(), batch)
		if err != nil {
			t.Fatal(err)
		}
		taken = append(taken, proxy.commands.Load()-before)
		for i := range verdicts {
			if !errors.Is(verdicts[i].Err, models.ErrUserLimitReached) {
				t.Errorf("%d users, entry %d: %v", users, i, verdicts[i].Err)
			}
		}
	}
	if taken[0] != taken[1] {
		t.Errorf("%d round trips for one user over the limit, %d for a hundred", taken[0], taken[1])
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

// Nor does it read the leases that are in good order: a fleet of two hundred nodes has as many of each offer, and each node looks.
func TestALookForExpiringLeasesDoesNotReadTheOthers(t *testing.T) {
	ctx, node := t.Context(), models.NewID()
	s := open(t, store.Config{DSN: storetest.MySQL(t), MaxConns: 1})
	epoch, err := s.RegisterNode(ctx, node, "n")
	if err != nil {
		t.Fatal(err)
	}
	terms := models.Offer{ID: "o", Name: "o", Unit: models.UnitRedemptions, Budget: 1000, Status: models.StatusActive, LeaseSize: 1, LeaseTTLSeconds: 60}
	if _, _, err := s.CreateOffer(ctx, terms, models.Audit{}); err != nil {
		t.Fatal(err)
	}
	grant := func() {
		_, err := s.Grant(ctx, models.GrantRequest{
			OfferID: "o", NodeID: node, Epoch: epoch, LeaseID: models.NewID(), Size: func(*models.Offer, int64, int64) int64 { return 1 },
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	look := func() int64 {
		rows, err := store.RowsRead(s, func() error {
			expiring, err := s.ExpiringLeases(ctx, 1000)
			if len(expiring.Leases) != 0 {
				t.Errorf("expiring: %+v", expiring)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return rows
	}
	grant()
	one := look()
	for range 200 {
		grant()
	}
	if many := look(); many > one+20 {
		t.Errorf("beside one lease it reads %d rows, beside 201 it reads %d", one, many)
	}
}

func makeHolds(batch *models.Batch) {
	end := models.Micros(1 << 60)
	for i := range batch.Wanted {
		batch.Wanted[i].Kind, batch.Wanted[i].HoldExpiresAt = models.KindHold, &end
	}
}

func TestABatchLargerThanAPacketIsSettled(t *testing.T) {
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
