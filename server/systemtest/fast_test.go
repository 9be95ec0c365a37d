package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// requestTimeout is the program's default.
const requestTimeout = 5 * time.Second

// TestFastOutlastsRefusedConnections: the database is down for some seconds, and nobody at the checkout hears of it.
func TestFastOutlastsRefusedConnections(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2, drainAtOnce)
	outlast(t, f, func() { p.SetWeather(faultproxy.Refuse) }, func() { p.SetWeather(faultproxy.Pass) }, pick(6*time.Second, 20*time.Second), 300)
}

// TestFastOutlastsSilence: the database accepts connections and never answers.
func TestFastOutlastsSilence(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2, drainAtOnce)
	outlast(t, f, func() { p.SetWeather(faultproxy.Blackhole) }, func() { p.SetWeather(faultproxy.Pass) }, pick(8*time.Second, 20*time.Second), 300)
}

// TestFastOutlastsAnswersAfterThirtySeconds: every packet takes that long, and what has given up meanwhile still arrives.
func TestFastOutlastsAnswersAfterThirtySeconds(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2, drainAtOnce)
	outlast(t, f, func() { p.SetLatency(30 * time.Second) }, func() { p.SetLatency(0) }, pick(8*time.Second, 35*time.Second), 300)
}

// TestFastOutlastsAStoppedDatabase stops a real mariadbd for 20 s under 2 000 requests a second.
func TestFastOutlastsAStoppedDatabase(t *testing.T) {
	if !long() {
		t.Log("in the long version only; the outages above stand in for it")
		return
	}
	server := startMariaDB(t)
	f := fleetOn(t, server.createDatabase())
	for range 3 {
		f.add(f.dsn, drainAtOnce)
	}
	f.awaitReady()
	outlast(t, f, server.stop, server.start, 20*time.Second, 2000)
}

// outlast takes the database away under load in mode fast, for a third of the leases' ttl, and gives it back. Every request is
// redeemed, none waits for the database, and what was acknowledged meanwhile is in the ledger soon after. A third is when leases are to
// be renewed: that is the first thing that the nodes have to do when it is back.
func outlast(t *testing.T, f *fleet, away, back func(), lasts time.Duration, perSecond int) {
	t.Helper()
	s := newShop(f, f.createWith("fast", offer{
		ID: "outlast", Budget: 1_000_000, LeaseSize: 100_000, LeaseTTLSeconds: 3 * int64(lasts/time.Second),
	}))
	f.warmUp(s)
	closeShop := s.open(perSecond, numbered)
	s.awaitAcked(perSecond, 20*time.Second)
	away()
	started := time.Now()
	for _, n := range f.nodes {
		n.awaitBacklog(perSecond/2, lasts)
		eventually(t, lasts, n.readyWithoutLedger)
	}
	pause(t, lasts-time.Since(started))
	back()
	// As much as the load brings in half a second may be on its way.
	f.awaitSettled(settledAfterOutage, perSecond/2)
	s.awaitAcked(perSecond, 20*time.Second)
	closeShop()
	f.awaitSettled(settledAfterOutage, 0)

	s.noFailures()
	s.neverSlower(requestTimeout + time.Second)
	b := s.audit(f)
	b.noneLate(t)
	if got := s.recordedIn("journal"); got != len(s.acked) {
		t.Errorf("%d of %d acknowledged from the journal", got, len(s.acked))
	}
	if got := b.netSpent(); got != int64(len(s.acked)) {
		t.Errorf("%d acknowledged, net spent %d", len(s.acked), got)
	}
	t.Logf("%d acknowledged, %d found the shop full; heard %s", len(s.acked), s.turnedAway.Load(), s.heard())
	f.drainAll(s.offer)
}

// warmUp has every node redeem until it holds leases: who holds none cannot outlast anything.
func (f *fleet) warmUp(s *shop) {
	f.t.Helper()
	for _, n := range f.nodes {
		key := "warm-up-" + n.name
		o := order{key: key, user: key, units: 1}
		eventually(f.t, 10*time.Second, func(ctx context.Context) error {
			if !s.attempt(ctx, n, &o) {
				return fmt.Errorf("%s does not redeem: %s", n.name, s.heard())
			}
			return f.holdsUnits(n)
		})
	}
	clear(s.problems) // a first grant may be slow; that is not what is tested
}

// readyWithoutLedger fails unless the node stays in the load balancer for the leases that it holds, and says why.
func (n *node) readyWithoutLedger(ctx context.Context) error {
	status, body, err := n.get(ctx, "/readyz")
	if err == nil && (status != http.StatusOK || !strings.Contains(string(body), "away")) {
		err = fmt.Errorf("%s: /readyz says %d %s", n.name, status, body)
	}
	return err
}

// TestFastKilledInAnOutage: kill -9 in the middle of an outage, and the same node again, which can do nothing before the database is
// back. Its disk has what it acknowledged.
func TestFastKilledInAnOutage(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 2, drainAtOnce)
	s := newShop(f, f.createWith("fast", offer{ID: "blackout", Budget: 1_000_000, LeaseSize: 100_000, LeaseTTLSeconds: 60}))
	f.warmUp(s)
	closeShop := s.open(pick(300, 600), numbered)
	s.awaitAcked(200, 20*time.Second)
	victim, other := f.nodes[0], f.nodes[1]
	p.SetWeather(faultproxy.Refuse)
	for range pick(1, 3) {
		victim.awaitBacklog(300, 10*time.Second)
		victim.kill()
		s.awaitAcked(200, 10*time.Second) // the other goes on
		victim.start()
		eventually(t, 10*time.Second, func(ctx context.Context) error {
			status, body, err := victim.get(ctx, "/readyz")
			if err == nil && status != http.StatusServiceUnavailable {
				err = fmt.Errorf("with the ledger away and no lease, /readyz says %d %s", status, body)
			}
			return err
		})
		s.awaitAcked(200, 10*time.Second)
	}
	other.awaitBacklog(400, 10*time.Second)
	p.SetWeather(faultproxy.Pass)
	f.awaitSettled(settledAfterOutage, 150)
	victim.awaitReady()
	f.awaitUnits(victim) // it takes part again
	s.awaitAcked(200, 20*time.Second)
	closeShop()
	f.awaitSettled(settledAfterOutage, 0)

	b := s.audit(f)
	b.noneLate(t)
	if got := b.netSpent(); got != int64(len(s.acked)) {
		t.Errorf("%d acknowledged, net spent %d", len(s.acked), got)
	}
	t.Logf("%d acknowledged; heard %s", len(s.acked), s.heard())
	f.drainAll(s.offer)
}

// TestFastDrainedInAnOutage: a node that is asked to end while the database does not answer ends in time, and leaves what it owes in its
// journal, for its next start.
func TestFastDrainedInAnOutage(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 1, drainAtOnce)
	n := f.nodes[0]
	s := newShop(f, f.createWith("fast", offer{ID: "leave", Budget: 1_000_000, LeaseSize: 100_000, LeaseTTLSeconds: 60}))
	f.warmUp(s)
	closeShop := s.open(200, numbered)
	s.awaitAcked(200, 20*time.Second)
	p.SetWeather(faultproxy.Blackhole)
	n.awaitBacklog(200, 10*time.Second)
	n.drain(10*time.Second + slack)
	missing := s.missing(f.readBooks(s.offer))
	if missing == 0 {
		t.Error("nothing was left to settle: the scenario did not take place")
	}
	p.SetWeather(faultproxy.Pass)
	n.start()
	n.awaitReady()
	s.awaitAcked(200, 20*time.Second)
	closeShop()
	f.awaitSettled(settledAfterOutage, 0)
	s.audit(f).noneLate(t)
	t.Logf("%d acknowledged, %d of them settled by the next start; heard %s", len(s.acked), missing, s.heard())
	f.drainAll(s.offer)
}
