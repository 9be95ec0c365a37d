package store_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/models"
)

// heard is a Health that keeps what it hears.
type heard struct {
	mu    sync.Mutex
	calls []string
}

func (h *heard) Asked()              { h.add("asked") }
func (h *heard) Ended(answered bool) { h.add(fmt.Sprint("answered ", answered)) }

func (h *heard) Full(why string) { h.add(why) }

func (h *heard) add(what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, what)
}

func (h *heard) wants(t *testing.T, what ...string) {
	t.Helper()
	if !slices.Equal(h.calls, what) {
		t.Errorf("heard %v, want %v", h.calls, what)
	}
	h.calls = nil
}

func TestA6AStoreTellsWhichCallsAreAnswered(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // it takes connections, and never speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	h := &heard{}
	frozen := prepare(t, store.Config{DSN: "root@tcp(" + listener.Addr().String() + ")/nothing", Health: h})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wants(t, frozen.Ping(ctx), models.ErrLedgerUnavailable)
	h.wants(t, "asked", "answered false")

	gone := prepare(t, store.Config{Path: filepath.Join(t.TempDir(), "none", "tranche.db"), Health: h})
	trip(t, gone)
	h.calls = nil
	wants(t, gone.Ping(t.Context()), models.ErrLedgerUnavailable)
	h.wants(t) // the breaker is open

	cfg := file(t)
	cfg.Health = h
	well := open(t, cfg)
	h.calls = nil
	if err := well.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	h.wants(t, "asked", "answered true")
	if _, err := well.Offer(t.Context(), "none"); !errors.Is(err, models.ErrOfferNotFound) {
		t.Fatal(err)
	}
	h.wants(t, "asked", "answered true")
}
