package store_test

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// trip calls until the breaker is open, and wants every error to be ErrLedgerUnavailable. Three calls are enough: each may have cost
// its caller a whole deadline.
func trip(t *testing.T, s *store.Store) {
	t.Helper()
	for range 3 {
		if err := s.Ping(context.Background()); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Fatalf("a ping of no database: %v", err)
		}
		if !s.Available() {
			return
		}
	}
	t.Fatal("the breaker stays closed")
}

func recovers(t *testing.T, s *store.Store) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.Ping(context.Background()) != nil; {
		if time.Now().After(deadline) {
			t.Fatal("the breaker stays open")
		}
	}
	if !s.Available() {
		t.Fatal("not available after an answer")
	}
}

func TestBreakerOpensAndRecoversOnSQLite(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "later")
	s := prepare(t, store.Config{Path: filepath.Join(folder, "tranche.db")})
	trip(t, s)
	if err := os.Mkdir(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	recovers(t, s)
}

func TestBreakerAnswersAtOnceWhileNobodyListens(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	s := prepare(t, store.Config{DSN: "root@tcp(" + address + ")/nothing"})
	trip(t, s)
	began := time.Now()
	if _, err := s.Offer(context.Background(), "x"); !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Fatalf("an open breaker: %v", err)
	}
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Fatalf("an open breaker took %s", took)
	}
	if err := s.Migrate(context.Background()); !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Fatalf("a migration of nothing: %v", err)
	}
}

// A server that takes connections and never speaks costs a call its deadline, not more.
func TestCallsEndWhenTheDatabaseIsSilent(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	s := prepare(t, store.Config{DSN: "root@tcp(" + listener.Addr().String() + ")/nothing"})
	began := time.Now()
	if err := s.Ping(context.Background()); !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 3*time.Second {
		t.Fatalf("it took %s", took)
	}
}

func TestBreakerRecoversOnMySQL(t *testing.T) {
	dsn := storetest.MySQL(t)
	open(t, store.Config{DSN: dsn})
	dsn, proxy := through(t, dsn, func() fate { return pass })
	s := prepare(t, store.Config{DSN: dsn})
	if err := s.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	address := proxy.listener.Addr().String()
	proxy.stop()
	trip(t, s)
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(serve(listener, proxy.server, proxy.fate).stop)
	recovers(t, s)
}

func TestRefusalsNeverOpenTheBreaker(t *testing.T) {
	s, ctx := open(t, file(t)), context.Background()
	offer := models.Offer{ID: "o", Name: "o", Unit: "EUR", Mode: models.ModeStrict, Budget: 1, LeaseSize: 1, LeaseTTLSeconds: 5}
	if _, _, err := s.CreateOffer(ctx, offer, models.Audit{}); err != nil {
		t.Fatal(err)
	}
	other := offer
	other.Budget = 2
	node := models.NewID()
	if _, err := s.RegisterNode(ctx, node, "n"); err != nil {
		t.Fatal(err)
	}
	broken := offer
	broken.ID, broken.LeaseTTLSeconds = "broken", 1 // against a CHECK
	for range 30 {
		_, err := s.Offer(ctx, "none")
		wants(t, err, models.ErrOfferNotFound)
		_, _, err = s.CreateOffer(ctx, other, models.Audit{})
		wants(t, err, models.ErrOfferExists)
		wants(t, s.Heartbeat(ctx, node, "n", 0), models.ErrEpochSuperseded)
		if _, _, err = s.CreateOffer(ctx, broken, models.Audit{}); err == nil || errors.Is(err, models.ErrLedgerUnavailable) {
			t.Fatalf("a row against a CHECK: %v", err)
		}
		gone, cancel := context.WithCancel(ctx)
		cancel()
		wants(t, s.Ping(gone), models.ErrLedgerUnavailable)
	}
	if !s.Available() {
		t.Fatal("the breaker is open")
	}
	if err := s.Ping(ctx); err != nil {
		t.Fatal(err)
	}
}

func wants(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("error is %v, want %v", err, want)
	}
}

func TestMetricsTellCallsAndOutcomes(t *testing.T) {
	registry := prometheus.NewRegistry()
	cfg := file(t)
	cfg.Registerer = registry
	s := open(t, cfg)
	if err := s.Ping(context.Background()); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	for _, name := range []string{"tranche_store_call_duration_seconds", "tranche_store_calls_total", "tranche_store_breaker_state"} {
		if !names[name] {
			t.Errorf("no %s", name)
		}
	}
	if _, err := store.Open(cfg); err == nil {
		t.Error("two stores share a registry")
	}
}
