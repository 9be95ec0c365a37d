package store_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// lists are all calls that may read much.
func lists(s *store.Store) map[string]func(context.Context) error {
	none := models.ID{}
	return map[string]func(context.Context) error{
		"Nodes":  func(ctx context.Context) error { _, err := s.Nodes(ctx, 10, none); return err },
		"Offers": func(ctx context.Context) error { _, _, err := s.Offers(ctx, models.OfferFilter{Limit: 10}); return err },
		"Leases": func(ctx context.Context) error { _, err := s.Leases(ctx, "o", 10, none); return err },
		"Audits": func(ctx context.Context) error { _, err := s.Audits(ctx, "o", 10, none); return err },
		"Redemptions": func(ctx context.Context) error {
			_, err := s.Redemptions(ctx, models.RedemptionFilter{OfferID: "o", Limit: 10})
			return err
		},
		"Entries":    func(ctx context.Context) error { _, err := s.Entries(ctx, "o", 10, none); return err },
		"Exceptions": func(ctx context.Context) error { _, err := s.Exceptions(ctx, "o", 10, none); return err },
		"Usage":      func(ctx context.Context) error { _, err := s.Usage(ctx, "o", "u"); return err },
		"MayOwe":     func(ctx context.Context) error { _, err := s.MayOwe(ctx, "o", none); return err },
		"Refunds": func(ctx context.Context) error {
			_, err := s.Refunds(ctx, models.RedemptionIDOf("o", "k"), 10, 1)
			return err
		},
	}
}

// The server takes connections and never speaks, so each list runs into its time-out.
func TestC1ListsNeverOpenTheBreaker(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	h := &heard{}
	s := prepare(t, store.Config{DSN: "root@tcp(" + listener.Addr().String() + ")/nothing", MaxConns: 128, Health: h})
	var all sync.WaitGroup
	for name, list := range lists(s) {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
			defer cancel()
			if err := list(ctx); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	all.Wait()
	if !s.Available() {
		t.Error("the breaker is open")
	}
	h.wants(t)
}

// After an outage one call at a time tries whether the database is back. A list that went along would hang for as long as the trial does.
func TestC1AListWaitsForNoTrialOfTheDatabase(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := prepare(t, store.Config{DSN: "root@tcp(" + listener.Addr().String() + ")/nothing"})
	for s.Available() {
		var all sync.WaitGroup
		for range 3 {
			all.Go(func() { _ = s.Ping(t.Context()) })
		}
		all.Wait()
	}
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !s.Available() { // until the time of a trial comes
		<-poll.C
	}
	for name, list := range lists(s) {
		if err := list(t.Context()); !errors.Is(err, gobreaker.ErrOpenState) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Another client has locked the table that is listed. As many lists as may be wait for it, and no other call waits for them.
func TestC1ListsLeaveConnectionsToTheOthers(t *testing.T) {
	cfg := store.Config{DSN: storetest.MySQL(t), MaxConns: 16}
	s := open(t, cfg)
	db, err := sql.Open("mysql", cfg.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	locks, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer locks.Close()
	if _, err := locks.ExecContext(t.Context(), "LOCK TABLES entries WRITE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for range 64 {
		waiting.Go(func() {
			if _, err := s.Entries(ctx, "o", 1000, models.ID{}); err == nil {
				t.Error("listed a table that is locked")
			}
		})
	}
	for range 20 {
		if _, err := s.RegisterNode(t.Context(), models.NewID(), "n"); err != nil {
			t.Error("beside lists that wait:", err)
		}
	}
	cancel()
	waiting.Wait()
}

func TestC1TooManyListsAreRefused(t *testing.T) {
	s := open(t, file(t))
	release := s.HoldListConnections(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var refused atomic.Bool
	var waiting sync.WaitGroup
	for range 1000 {
		waiting.Go(func() {
			_, err := s.Nodes(ctx, 1, models.ID{})
			if errors.Is(err, models.ErrOverloaded) && ctx.Err() == nil {
				refused.Store(true)
				cancel() // the others may go
			}
		})
	}
	waiting.Wait()
	if !refused.Load() {
		t.Error("a thousand lists wait for their turn")
	}
	release()
	if _, err := s.Nodes(t.Context(), 1, models.ID{}); err != nil {
		t.Error("afterwards:", err)
	}
}
