package systemtest

import (
	"context"
	"encoding/hex"
	"fmt"
	"testing"
	"time"
)

// TestKilledNodeComesBack: kill -9 under load, and the same node again. Its new incarnation returns what the old one held.
func TestKilledNodeComesBack(t *testing.T) {
	f := startFleet(t, 3)
	s := newShop(f, f.createOffer(offer{ID: "crash", Budget: 1_000_000, LeaseSize: 500, LeaseTTLSeconds: 60}))
	stopWatching := f.watchBalance(s.offer)
	closeShop := s.open(400, numbered)
	victim := f.nodes[1]
	for range pick(2, 10) {
		s.awaitAcked(400, 20*time.Second)
		f.awaitUnits(victim)
		old := f.epochOf(victim)
		victim.kill()
		s.awaitAcked(100, 20*time.Second) // the others go on
		victim.start()
		victim.awaitReady()
		// Long before the ttl of a minute is over: returned by the owner itself.
		eventually(t, 10*time.Second, func(ctx context.Context) error { return f.noLeasesUpTo(ctx, victim, old) })
	}
	s.awaitAcked(200, 20*time.Second)
	closeShop()
	stopWatching()
	s.audit(f)
}

// TestKilledNodeNeverComesBack: its rest is back in the offer within ttl + grace, and not before.
func TestKilledNodeNeverComesBack(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 3)
	s := newShop(f, f.createOffer(offer{ID: "gone", Budget: 1_000_000, LeaseSize: 500, LeaseTTLSeconds: 5}))
	stopWatching := f.watchBalance(s.offer)
	closeShop := s.open(300, numbered)
	victim := f.nodes[2]
	s.awaitAcked(400, 20*time.Second)
	f.awaitUnits(victim)
	victim.kill()
	f.awaitReclaim(victim)
	s.awaitAcked(200, 20*time.Second)
	closeShop()
	stopWatching()
	b := s.audit(f)
	b.checkReclaims(t, f.idOf(victim))
}

// TestFrozenNode: SIGSTOP past ttl + grace under load, then SIGCONT. What it had not settled is refused by the fence.
//
// Its way to the database is slow, so that a lot is spent and not settled at any time, and its requests live longer than the freeze,
// so that it still tries to settle all of that when it wakes.
func TestFrozenNode(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	p, dsn := f.proxy()
	victim := f.add(dsn, "--request-timeout", "10s")
	f.add(f.dsn)
	f.add(f.dsn)
	f.awaitReady()
	p.SetLatency(50 * time.Millisecond)
	s := newShop(f, f.createOffer(offer{ID: "frozen", Budget: 1_000_000, LeaseSize: 500, LeaseTTLSeconds: 5}))
	stopWatching := f.watchBalance(s.offer)
	closeShop := s.open(pick(300, 600), numbered)
	for range pick(1, 4) {
		s.awaitAcked(400, 20*time.Second)
		f.awaitUnits(victim)
		victim.freeze()
		f.awaitReclaim(victim)
		closed := f.closedLeases(s.offer, victim)
		s.awaitAcked(100, 20*time.Second)
		victim.thaw()
		s.awaitAcked(200, 20*time.Second)
		victim.awaitReady()
		f.awaitUnits(victim) // it takes part again
		for id, before := range closed {
			if now := f.readBooks(s.offer).leases[id]; now.spent != before.spent || now.state != before.state {
				t.Errorf("lease %s was closed with %d spent, and has %d spent, %s, since", id, before.spent, now.spent, now.state)
			}
		}
	}
	closeShop()
	stopWatching()
	b := s.audit(f)
	b.checkReclaims(t, f.idOf(victim))
}

// checkReclaims sees that a node's leases were reclaimed, and none before its grace was over.
func (b *books) checkReclaims(t *testing.T, nodeID string) {
	t.Helper()
	reclaimed := 0
	for id, l := range b.leases {
		if l.node != nodeID || l.state != "reclaimed" {
			continue
		}
		reclaimed++
		if waited := time.Duration(l.closedAt.Int64-l.expiresAt.Int64) * time.Microsecond; waited < grace {
			t.Errorf("lease %s was reclaimed %v after it expired", id, waited)
		}
	}
	if reclaimed == 0 {
		t.Error("no lease was reclaimed: the scenario did not take place")
	}
}

// awaitUnits waits until a node holds units, so that there is something to lose.
func (f *fleet) awaitUnits(n *node) {
	f.t.Helper()
	eventually(f.t, 10*time.Second, func(context.Context) error { return f.holdsUnits(n) })
}

// holdsUnits fails while a node has nothing left of any lease.
func (f *fleet) holdsUnits(n *node) error {
	f.t.Helper()
	var rest int64
	err := f.db.QueryRowContext(f.t.Context(), `SELECT COALESCE(SUM(l.granted - l.spent), 0) FROM leases l
		JOIN nodes n ON n.id = l.node_id WHERE n.name = ? AND l.state = 'active'`, n.name).Scan(&rest)
	if err == nil && rest == 0 {
		err = fmt.Errorf("%s holds no units", n.name)
	}
	return err
}

func (f *fleet) closedLeases(offerID string, n *node) map[string]leaseRow {
	f.t.Helper()
	id := f.idOf(n)
	closed := map[string]leaseRow{}
	for leaseID, l := range f.readBooks(offerID).leases {
		if l.node == id && l.state != "active" {
			closed[leaseID] = *l
		}
	}
	return closed
}

func (f *fleet) idOf(n *node) string {
	f.t.Helper()
	var id []byte
	if err := f.db.QueryRowContext(f.t.Context(), "SELECT id FROM nodes WHERE name = ?", n.name).Scan(&id); err != nil {
		f.t.Fatal(err)
	}
	return hex.EncodeToString(id)
}

func (f *fleet) epochOf(n *node) (epoch int64) {
	f.t.Helper()
	if err := f.db.QueryRowContext(f.t.Context(), "SELECT epoch FROM nodes WHERE name = ?", n.name).Scan(&epoch); err != nil {
		f.t.Fatal(err)
	}
	return epoch
}

// noLeasesUpTo fails while a node's incarnations up to an epoch hold leases.
func (f *fleet) noLeasesUpTo(ctx context.Context, n *node, epoch int64) error {
	var held int
	err := f.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM leases l JOIN nodes n ON n.id = l.node_id
		WHERE n.name = ? AND l.epoch <= ? AND l.state = 'active'`, n.name, epoch).Scan(&held)
	if err == nil && held > 0 {
		err = fmt.Errorf("%d leases of earlier incarnations of %s are active", held, n.name)
	}
	return err
}
