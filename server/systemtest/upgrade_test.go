package systemtest

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// fromEnv names the revision that a fleet is upgraded from.
const fromEnv = "TRANCHE_TEST_FROM"

// programOf builds the program of a revision of this repository, and gives its path.
func programOf(t *testing.T, revision string) string {
	t.Helper()
	tree := filepath.Join(t.TempDir(), "tree")
	for _, command := range []*exec.Cmd{
		exec.Command("git", "-C", "../..", "worktree", "add", "--detach", tree, revision),
		exec.Command("go", "-C", tree, "build", "-buildvcs=false", "-o", "tranche", "./server"),
	} {
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = exec.Command("git", "-C", "../..", "worktree", "remove", "--force", tree).Run() })
	return filepath.Join(tree, "tranche")
}

// takeOut lets no further request to a node and waits until those under way are answered, as a load balancer does. The returned
// function lets requests to it again.
func (d *door) takeOut() (putBack func()) {
	for range cap(d.places) {
		d.places <- struct{}{}
	}
	return func() {
		for range cap(d.places) {
			<-d.places
		}
	}
}

// TestUpgradeNodeByNode: nodes of an earlier revision and of this one serve side by side. Behind a load balancer no request fails while
// one after the other is replaced, and each takes what the other booked.
func TestUpgradeNodeByNode(t *testing.T) {
	revision := os.Getenv(fromEnv)
	if revision == "" {
		t.Skip("an upgrade is NOT tested: set " + fromEnv + " to the revision to upgrade from")
	}
	f := newFleet(t)
	before := programOf(t, revision)
	for range 3 {
		n := f.prepare(f.dsn, drainAtOnce)
		n.program = before
		n.start()
	}
	f.awaitReady()
	one := int64(1)
	var shops []*shop
	var closeShops []func()
	for _, o := range []offer{
		{ID: "limited", Mode: "strict", UserLimitRedemptions: &one}, {ID: "available", Mode: "available"}, {ID: "fast", Mode: "fast"},
	} {
		o.Budget, o.LeaseSize = 1_000_000, 2000
		s := newShop(f, f.createWith(o.Mode, o))
		shops, closeShops = append(shops, s), append(closeShops, s.open(60, numbered))
	}
	tradeBetween := func(step string) {
		t.Helper()
		for i, n := range f.nodes {
			f.tradeWith(fmt.Sprintf("%s-%d", step, i), n, f.nodes[(i+1)%len(f.nodes)])
		}
		for _, s := range shops {
			s.awaitAcked(100, 30*time.Second)
		}
	}
	tradeBetween("before")
	for i, n := range f.nodes {
		var putBack []func()
		for _, s := range shops {
			putBack = append(putBack, s.doors[i].takeOut())
		}
		n.drain(75 * time.Second)
		n.program = ""
		n.start()
		n.awaitReady()
		for _, back := range putBack {
			back()
		}
		tradeBetween(fmt.Sprintf("after-%d", i))
	}
	for _, closeShop := range closeShops {
		closeShop()
	}
	f.awaitSettled(settledAfterOutage, 0)
	for _, s := range shops {
		s.noFailures()
		b := s.audit(f)
		b.noneLate(t)
	}
	f.drainAll(shops[0].offer)
}

// tradeWith books on one node what another one made: a refund, and the end of a hold.
func (f *fleet) tradeWith(key string, maker, taker *node) {
	f.t.Helper()
	id := f.tradedOffer()
	bought := decode[redemption](f.t, maker.redeem(id, key, key, 3), http.StatusCreated)
	decode[refund](f.t, taker.refund(bought.ID, "back", 2), http.StatusCreated)
	held := decode[redemption](f.t, maker.hold(id, key+"-held", key, 2, 60), http.StatusCreated)
	if got := decode[redemption](f.t, taker.resolve(held.ID, "confirm"), http.StatusOK); got.State != "redeemed" {
		f.t.Errorf("a hold of %s that %s confirmed is %+v", maker.name, taker.name, got)
	}
}

// tradedOffer gives the offer that nodes trade on, and makes it the first time.
func (f *fleet) tradedOffer() string {
	f.t.Helper()
	const id = "traded"
	a := f.nodes[0].must(http.MethodGet, "/v1/offers/"+id, "", nil)
	if a.status == http.StatusNotFound {
		return f.createOffer(offer{ID: id, Budget: 10_000})
	}
	decode[offer](f.t, a, http.StatusOK)
	return id
}
