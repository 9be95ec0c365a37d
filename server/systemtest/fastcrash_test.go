package systemtest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// slowFleet starts n nodes; all but the last have a slow way to the database, so that a lot is acknowledged and not settled at any time.
func slowFleet(t *testing.T, n int) (*fleet, *faultproxy.Proxy) {
	t.Helper()
	f := newFleet(t)
	p, dsn := f.proxy()
	for range n - 1 {
		f.add(dsn, drainAtOnce)
	}
	f.add(f.dsn, drainAtOnce)
	f.awaitReady()
	p.SetLatency(50 * time.Millisecond)
	return f, p
}

// TestFastKilledUnderLoad: kill -9 of a node that has acknowledged more than it has settled, and the same node again.
func TestFastKilledUnderLoad(t *testing.T) {
	t.Parallel()
	f, _ := slowFleet(t, 2)
	s := newShop(f, f.createWith("fast", offer{ID: "fastcrash", Budget: 1_000_000, LeaseSize: 5000, LeaseTTLSeconds: 60}))
	f.warmUp(s)
	stopWatching := f.watchBalance(s.offer)
	closeShop := s.open(pick(300, 600), numbered)
	victim := f.nodes[0]
	for range pick(2, 10) {
		s.awaitAcked(300, 20*time.Second)
		victim.awaitBacklog(20, 10*time.Second)
		old := f.epochOf(victim)
		victim.kill()
		s.awaitAcked(100, 20*time.Second) // the other goes on
		victim.start()
		victim.awaitReady()
		// Long before the ttl of a minute is over: returned by the owner itself, after what it owed was settled.
		eventually(t, 10*time.Second, func(ctx context.Context) error { return f.noLeasesUpTo(ctx, victim, old) })
	}
	s.awaitAcked(200, 20*time.Second)
	closeShop()
	stopWatching()
	f.awaitSettled(settledAfterOutage, 0)
	b := s.audit(f)
	b.noneLate(t)
	t.Logf("%d acknowledged; heard %s", len(s.acked), s.heard())
	f.drainAll(s.offer)
}

// TestDeadMachinesDisksAreSettled: two nodes are killed and never start again, but their disks are there, and are settled by command.
// One while its leases are active, the other after they were reclaimed: what it had acknowledged is late, and listed.
func TestDeadMachinesDisksAreSettled(t *testing.T) {
	t.Parallel()
	f, _ := slowFleet(t, 3)
	s := newShop(f, f.createWith("fast", offer{ID: "disks", Budget: 1_000_000, LeaseSize: 2000, LeaseTTLSeconds: 5}))
	f.warmUp(s)
	stopWatching := f.watchBalance(s.offer)
	closeShop := s.open(300, numbered)
	early, tardy, survivor := f.nodes[0], f.nodes[1], f.nodes[2]
	s.awaitAcked(400, 20*time.Second)
	for _, n := range []*node{early, tardy} {
		n.awaitBacklog(10, 10*time.Second)
		n.kill()
	}
	s.awaitAcked(100, 20*time.Second) // the survivor goes on
	if s.missing(f.readBooks(s.offer)) == 0 {
		t.Error("nothing was lost with the nodes: the scenario did not take place")
	}

	said := early.journalCommand("settle", "--dsn", f.dsn)
	if held := f.activeLeases(early); held != 0 {
		t.Errorf("%d leases of the dead node are active after: %s", held, said)
	}
	settled := f.readBooks(s.offer)
	settled.noneLate(t)

	f.awaitReclaim(tardy)
	s.awaitAcked(100, 20*time.Second)
	closeShop()
	stopWatching()
	f.awaitSettled(settledAfterOutage, 0, survivor)
	before := f.readBooks(s.offer)
	before.check(t)
	if s.missing(before) == 0 || before.exposed == 0 || before.lateUnits != 0 {
		t.Errorf("%d missing, %d exposed, %d late: the scenario did not take place", s.missing(before), before.exposed, before.lateUnits)
	}
	for range 2 { // the second time there is nothing to do, and nothing is done
		said = tardy.journalCommand("settle", "--dsn", f.dsn)
		b := s.audit(f)
		if b.lateUnits == 0 || b.lateUnits > before.exposed || b.unanswered() != 0 {
			t.Errorf("%d late and %d exposed, of %d exposed before, after: %s", b.lateUnits, b.unanswered(), before.exposed, said)
		}
		b.checkListing(t, survivor.exceptions(s.offer))
	}
	eventually(t, time.Minute+20*time.Second, func(context.Context) error { // at the end of what the early one had leased
		if got := survivor.balance(s.offer); got.LateUnits == 0 || got.OverspendBound != got.Outstanding+got.Overspend {
			return fmt.Errorf("nobody owes anything any more, and the balance is %+v", got)
		}
		return nil
	})
	f.drainAll(s.offer)
	for _, n := range []*node{early, tardy} {
		if said := n.journalCommand("verify"); said == "" {
			t.Errorf("journal verify of %s says nothing", n.name)
		}
	}
}
