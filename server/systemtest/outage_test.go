package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// TestDatabaseRefusesConnections: the server process is gone, as far as the nodes can tell.
func TestDatabaseRefusesConnections(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2)
	surviveOutage(t, f, func() { p.SetWeather(faultproxy.Refuse) }, func() { p.SetWeather(faultproxy.Pass) }, pick(6*time.Second, 15*time.Second))
}

// TestDatabaseAnswersNothing: the network is gone, and connections hang instead of failing. What was held back arrives afterwards.
// It lasts longer than the other one because it takes a call's whole deadline to notice.
func TestDatabaseAnswersNothing(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2)
	surviveOutage(t, f, func() { p.SetWeather(faultproxy.Blackhole) }, func() { p.SetWeather(faultproxy.Pass) }, pick(9*time.Second, 15*time.Second))
}

// TestDatabaseStopsForFifteenSeconds stops a real mariadbd and starts it again.
func TestDatabaseStopsForFifteenSeconds(t *testing.T) {
	if !long() {
		t.Log("in the long version only; the two outages above stand in for it")
		return
	}
	server := startMariaDB(t)
	f := fleetOn(t, server.createDatabase())
	for range 3 {
		f.add(f.dsn)
	}
	f.awaitReady()
	surviveOutage(t, f, server.stop, server.start, 15*time.Second)
}

// surviveOutage takes the database away under load and gives it back. The leases' ttl is shorter than the outage.
func surviveOutage(t *testing.T, f *fleet, away, back func(), lasts time.Duration) {
	t.Helper()
	s := newShop(f, f.createOffer(offer{ID: "outage", Budget: 1_000_000, LeaseSize: 500, LeaseTTLSeconds: 5}))
	probes := f.createOffer(offer{ID: "probes", Budget: 1_000_000})
	closeShop := s.open(200, numbered)
	s.awaitAcked(200, 20*time.Second)
	away()
	started := time.Now()
	for _, n := range f.nodes {
		f.awaitQuickRefusal(n, probes, lasts-time.Second)
	}
	pause(t, lasts-time.Since(started))
	if s.problemCount("ledger-unavailable") == 0 {
		t.Errorf("nobody heard that the ledger is away: %s", s.heard())
	}
	back()
	for _, n := range f.nodes {
		f.awaitService(n, probes)
		n.awaitReady()
	}
	s.awaitAcked(200, 10*time.Second)
	closeShop()
	s.audit(f)
	for name, count := range s.problems {
		if name != "/problems/ledger-unavailable" && name != "/problems/ledger-busy" && name != "/problems/overloaded" {
			t.Errorf("%d orders heard %s in an outage", count, name)
		}
	}
	t.Log("problems heard:", s.heard())
}

// awaitQuickRefusal waits until a node answers that the ledger is away without trying it first, and that nothing was redeemed.
// A look-up must say the same: not "not found".
func (f *fleet) awaitQuickRefusal(n *node, offerID string, within time.Duration) {
	f.t.Helper()
	key := "probe-of-" + n.name
	eventually(f.t, within, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, time.Second) // one that waits for the database must not use all the time up
		defer cancel()
		sent := time.Now()
		a, err := n.send(ctx, http.MethodPost, redemptionsOf(offerID), key, map[string]any{"user_id": key})
		if err != nil {
			return err
		}
		if took := time.Since(sent); !a.is("ledger-unavailable") || a.problem.Outcome != "not_redeemed" || took > 100*time.Millisecond {
			return fmt.Errorf("%s answered after %v: %v", n.name, took, a)
		}
		lookUp, err := n.send(ctx, http.MethodGet, "/v1/redemptions?offer_id="+offerID+"&idempotency_key=nobody", "", nil)
		if err == nil && !lookUp.is("ledger-unavailable") {
			err = fmt.Errorf("%s answered a look-up with %v", n.name, lookUp)
		}
		return err
	})
}

// awaitService waits until a node redeems again.
func (f *fleet) awaitService(n *node, offerID string) {
	f.t.Helper()
	eventually(f.t, 10*time.Second, func(ctx context.Context) error {
		a, err := n.send(ctx, http.MethodPost, redemptionsOf(offerID), "back-at-"+n.name, map[string]any{"user_id": n.name})
		if err == nil && a.status != http.StatusCreated {
			err = fmt.Errorf("%s: %v", n.name, a)
		}
		return err
	})
}
