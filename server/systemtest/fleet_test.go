package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

const (
	// ttl is the shortest that an offer may have, and grace what a reaper waits beyond it: max(2 s, ttl/4).
	ttl   = 5 * time.Second
	grace = 2 * time.Second
	// slack is what a busy machine with two cores may add to a promise in seconds.
	slack = 3 * time.Second
)

// numbered gives the i-th order of a scenario, each by a user of its own.
func numbered(i int) order {
	return order{key: fmt.Sprintf("order-%d", i), user: fmt.Sprintf("user-%d", i), units: 1}
}

// TestExactlyTheBudgetIsRedeemed: 1 000 units, 5 000 users at once over three nodes.
func TestExactlyTheBudgetIsRedeemed(t *testing.T) {
	const budget, users = 1000, 5000
	f := startFleet(t, 3)
	one := int64(1)
	s := newShop(f, f.createOffer(offer{ID: "rush", Budget: budget, UserLimitRedemptions: &one}))
	for _, d := range s.doors {
		d.places = make(chan struct{}, users)
	}
	stopWatching := f.watchBalance(s.offer)
	orders := make(chan order, users)
	for i := range users {
		orders <- numbered(i)
	}
	close(orders)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	s.serve(ctx, users, orders)

	if answers := stopWatching(); answers == 0 {
		t.Error("no balance was answered during the rush")
	}
	b := s.audit(f)
	if len(s.acked) != budget || len(s.refused) != users-budget {
		t.Errorf("%d of %d acknowledged, %d refused; heard %s", len(s.acked), users, len(s.refused), s.heard())
	}
	if b.allocated != budget || b.netSpent() != budget {
		t.Errorf("allocated %d, net spent %d, of %d", b.allocated, b.netSpent(), budget)
	}
	for _, n := range f.nodes {
		if got := n.balance(s.offer); got.Redeemed != budget || got.Allocated != budget || got.Outstanding != 0 {
			t.Errorf("%s says %+v", n.name, got)
		}
	}
}

// TestManyNodesStartOnAnEmptyDatabase: the tables are made once, and every node finds its way in.
func TestManyNodesStartOnAnEmptyDatabase(t *testing.T) {
	nodes := pick(6, 12)
	f := startFleet(t, nodes)
	offerID := f.createOffer(offer{ID: "opening", Budget: 1000})
	for i, n := range f.nodes {
		key := fmt.Sprintf("first-%d", i)
		eventually(t, 10*time.Second, func(context.Context) error {
			if a := n.redeem(offerID, key, key, 1); a.status != http.StatusCreated {
				return fmt.Errorf("%s: %v", n.name, a)
			}
			return nil
		})
	}
	var registered int
	if err := f.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM nodes").Scan(&registered); err != nil || registered != nodes {
		t.Errorf("%d nodes registered, %v", registered, err)
	}
	b := f.readBooks(offerID)
	b.check(t)
	if got := b.netSpent(); got != int64(nodes) {
		t.Errorf("net spent %d", got)
	}
}

// TestDrainReturnsEverything: SIGTERM under load loses nothing, and leaves no lease behind for a reaper.
func TestDrainReturnsEverything(t *testing.T) {
	f := startFleet(t, 2)
	s := newShop(f, f.createOffer(offer{ID: "drain", Budget: 1_000_000, LeaseSize: 500}))
	closeShop := s.open(300, numbered)
	s.awaitAcked(300, 20*time.Second)
	f.nodes[0].drain(15 * time.Second)
	if held := f.activeLeases(f.nodes[0]); held != 0 {
		t.Errorf("%d leases are active after the drain", held)
	}
	s.awaitAcked(100, 20*time.Second)
	closeShop()
	s.audit(f)
}

// activeLeases counts the leases that a node holds by the database's account.
func (f *fleet) activeLeases(n *node) (count int) {
	f.t.Helper()
	err := f.db.QueryRowContext(f.t.Context(), `SELECT COUNT(*) FROM leases l JOIN nodes n ON n.id = l.node_id
		WHERE n.name = ? AND l.state = 'active'`, n.name).Scan(&count)
	if err != nil {
		f.t.Fatal(err)
	}
	return count
}

// awaitReclaim waits until a node that has fallen silent holds no lease any more.
func (f *fleet) awaitReclaim(n *node) {
	f.t.Helper()
	eventually(f.t, ttl+grace+slack, func(context.Context) error {
		if held := f.activeLeases(n); held > 0 {
			return fmt.Errorf("%d leases of %s are still active", held, n.name)
		}
		return nil
	})
}
