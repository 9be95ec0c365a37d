package node

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"tranche/internal/run"
	"tranche/internal/store"
	"tranche/models"
)

// A database that answers and takes no writes lets no owner renew a lease and no shop confirm a hold. So nothing is due, and the ledger
// counts as away, from some time after the last heartbeat that was committed until the next one is.
func TestWithoutHeartbeatsNothingIsDue(t *testing.T) {
	s, err := store.Open(store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	ctx, now := t.Context(), time.Now()
	if err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	p := &pulse{Store: s, now: func() time.Time { return now }}
	looks := func(when string, silent, away bool) {
		t.Helper()
		want := error(nil)
		if silent {
			want = models.ErrLedgerUnavailable
		}
		if _, err := p.ExpiringLeases(ctx, 1); !errors.Is(err, want) {
			t.Errorf("%s, leases: %v, want %v", when, err, want)
		}
		if _, err := p.ExpiredHolds(ctx, 1); !errors.Is(err, want) {
			t.Errorf("%s, holds: %v, want %v", when, err, want)
		}
		if _, _, err := p.CloseLease(ctx, "o", models.NewID(), models.LeaseReclaimed, nil); errors.Is(err, models.ErrLedgerUnavailable) != silent {
			t.Errorf("%s, closing: %v", when, err)
		}
		if p.away() != away {
			t.Errorf("%s, away: %v", when, !away)
		}
	}
	looks("before it is registered", true, true)
	id := models.NewID()
	epoch, err := p.RegisterNode(ctx, id, "n")
	if err != nil {
		t.Fatal(err)
	}
	looks("registered", false, false)
	now = now.Add(beatLasts)
	looks("in time for the next heartbeat", false, false)
	now = now.Add(1)
	looks("without one", true, false)
	if err := p.Heartbeat(ctx, id, epoch-1); !errors.Is(err, models.ErrEpochSuperseded) {
		t.Fatal(err)
	}
	looks("after one that was refused", true, false)
	now = now.Add(models.NodeSilence - beatLasts)
	looks("without one for long", true, true)
	if err := p.Heartbeat(ctx, id, epoch); err != nil {
		t.Fatal(err)
	}
	looks("after one", false, false)
}

// The sweeper is one of those who hear of it: of a hold that ends while heartbeats are not taken, it keeps its hands off.
func TestWithoutHeartbeatsNoHoldIsExpired(t *testing.T) {
	n, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	var hours atomic.Int64
	n.pulse.now = func() time.Time { return time.Now().Add(time.Duration(hours.Add(1)) * time.Hour) } // each heartbeat is old at once
	r := serve(t, n)
	r.until("serving", func() bool { return n.state.Load() == serving })
	r.offer("o", `"mode":"strict"`)
	status, v := r.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice","hold_seconds":1}`, "Idempotency-Key", "k")
	if status != 201 {
		t.Fatal(status, v)
	}
	run.Pause(t.Context(), 8*time.Second) // it would have been expired once shops had had their chance, 5 s after the start
	if status, v := r.call("GET", fmt.Sprint("/v1/redemptions/", v["id"]), ""); status != 200 || v["state"] != "held" {
		t.Errorf("%d %v, want it held", status, v)
	}
}
