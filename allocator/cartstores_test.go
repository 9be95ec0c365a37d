package allocator_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/catalogue"
	"tranche/internal/settle"
	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/lease"
	"tranche/models"
	"tranche/refund"
)

// The same on databases: four nodes share a file, or have a store each on one server.
func TestRandomCartsOnDatabases(t *testing.T) {
	t.Run("SQLite", func(t *testing.T) {
		one := openStore(t, store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")})
		randomCartsOn(t, crowdOf(300, 2000), one, one, one, one) // few: the race detector slows SQLite down, which is Go here
	})
	t.Run("MySQL", func(t *testing.T) {
		dsn := storetest.MySQL(t)
		var stores []*store.Store
		for range 4 {
			stores = append(stores, openStore(t, store.Config{DSN: dsn, MaxConns: 16, Isolation: sql.LevelReadCommitted}))
		}
		randomCartsOn(t, crowdOf(1500, 10_000), stores...)
	})
}

func openStore(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	s, err := store.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func randomCartsOn(t *testing.T, customers int, stores ...*store.Store) {
	offers := cartOffers(customers)
	for _, o := range offers {
		if _, _, err := stores[0].CreateOffer(t.Context(), o, models.Audit{}); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var loops sync.WaitGroup
	var nodes []*allocator.Allocator
	var ends []func()
	for _, s := range stores {
		n, end := startNode(t, ctx, s, &loops)
		nodes, ends = append(nodes, n), append(ends, end)
	}
	s := newCartShop(t, offers, nodes...)
	s.serve(customers, 24)
	for _, end := range ends {
		end()
	}
	cancel()
	loops.Wait()
	s.audit(func(offer string) models.Balance {
		b, err := stores[0].Balance(t.Context(), offer)
		if err != nil || b.Outstanding != 0 {
			t.Errorf("after the drain: %+v, %v", b, err)
		}
		return b
	})
}

// breaker is a Health that knows of nothing else.
type breaker struct{ *store.Store }

func (b breaker) Away() bool { return !b.Available() }

// startNode is what a server puts together, without HTTP. end drains it.
func startNode(t *testing.T, ctx context.Context, s *store.Store, loops *sync.WaitGroup) (n *allocator.Allocator, end func()) {
	t.Helper()
	id, registry := models.NewID(), prometheus.NewRegistry()
	epoch, err := s.RegisterNode(ctx, id, "n")
	if err != nil {
		t.Fatal(err)
	}
	offers := catalogue.New(s, time.Now)
	keeper := lease.NewKeeper(lease.Config{
		NodeID: id, Now: time.Now, Logger: zerolog.Nop(), Metrics: registry,
	}, s, offers)
	if err := offers.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	settler := settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: registry}, s)
	desk := refund.NewDesk(refund.DeskConfig{NodeID: id, Ledger: s, Keeper: keeper, Settler: settler, Offers: offers, Now: time.Now, Logger: zerolog.Nop()})
	n = allocator.New(allocator.Config{
		NodeID: id, Offers: offers, Ledger: s, Blocks: keeper, Settler: settler, Desk: desk, Journal: &testJournal{}, Health: breaker{s}, Now: time.Now,
	})
	keeper.Begin(epoch)
	loops.Go(func() { keeper.Run(ctx) })
	loops.Go(func() { offers.Run(ctx, keeper.InTail) })
	return n, func() {
		if left := keeper.Drain(ctx); left != 0 {
			t.Errorf("%d leases left", left)
		}
		settler.Stop(ctx)
	}
}
