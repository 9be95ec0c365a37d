package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// appliedChange is the answer to a change.
type appliedChange struct {
	Applied []struct {
		Name string `json:"node_name"`
	} `json:"applied"`
	Pending []struct {
		Name  string    `json:"node_name"`
		Until time.Time `json:"until"`
	} `json:"pending"`
}

// change makes one that nobody is cut off from.
func (n *node) change(method, path string, body any) {
	n.t.Helper()
	if a := decode[appliedChange](n.t, n.must(method, path, "", body), http.StatusOK); len(a.Pending) > 0 || len(a.Applied) == 0 {
		n.t.Errorf("%s %s: applied by %v, pending %v", method, path, a.Applied, a.Pending)
	}
}

// TestAfterAPauseNothingIsRedeemed: three nodes under load. Once a pause is answered, there is not one entry more, and a budget that is
// lowered is never overspent.
func TestAfterAPauseNothingIsRedeemed(t *testing.T) {
	f := startFleet(t, 3)
	for _, mode := range []string{"strict", "available", "fast"} {
		s := newShop(f, f.createOffer(offer{ID: "paused-" + mode, Mode: mode, Budget: 100_000, LeaseSize: 200}))
		path := "/v1/offers/" + s.offer
		closeShop := s.open(200, numbered)
		for i := range pick(2, 10) {
			s.awaitAcked(200, 20*time.Second)
			n := f.nodes[i%len(f.nodes)]
			n.change(http.MethodPost, path+"/pause", map[string]any{"reason": "a test"})
			paused := len(f.readBooks(s.offer).entries)
			pause(t, time.Second)
			if now := len(f.readBooks(s.offer).entries); now != paused {
				t.Errorf("%s: %d entries came after the answer", mode, now-paused)
			}
			n.change(http.MethodPost, path+"/resume", nil)
		}
		s.awaitAcked(200, 20*time.Second)
		target := f.nodes[0].balance(s.offer).NetSpent + 2000
		f.nodes[0].change(http.MethodPatch, path, map[string]any{"budget": target})
		s.awaitAcked(200, 20*time.Second)
		closeShop()
		f.nodes[2].change(http.MethodPost, path+"/recall", nil)
		if b := s.audit(f); b.budget != target || b.lateUnits != 0 {
			t.Errorf("%s: the budget is %d, not %d; %d late", mode, b.budget, target, b.lateUnits)
		}
	}
}

// TestTheLastUnitsAreSoldWhereverTheyAre: each node holds some of the last units, and all customers come to one of them.
func TestTheLastUnitsAreSoldWhereverTheyAre(t *testing.T) {
	const customers = 4
	f := startFleet(t, pick(4, 20))
	fixed := false
	for _, mode := range []string{"strict", "fast"} {
		offerID := f.createOffer(offer{ID: "last-" + mode, Mode: mode, Budget: 10_000, LeaseSize: 14, Adaptive: &fixed})
		for i, n := range f.nodes {
			decode[redemption](t, n.redeem(offerID, fmt.Sprint("first-", i), "u", 1), http.StatusCreated)
		}
		rest := f.nodes[0].balance(offerID)
		decode[redemption](t, f.nodes[0].redeem(offerID, "all-that-no-node-has", "u", rest.Unallocated), http.StatusCreated)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second+slack)
		orders, s := make(chan order, 100*len(f.nodes)), newShop(f, offerID)
		s.doors = s.doors[:1]
		for i := range cap(orders) {
			orders <- numbered(i)
		}
		close(orders)
		s.serve(ctx, customers, orders)
		cancel()
		b := f.readBooks(offerID)
		b.check(t)
		if len(s.undecided) > 0 || b.netSpent() != 10_000 || len(s.refused) != cap(orders)-len(s.acked) {
			t.Errorf("%s: net spent %d, %d undecided; heard %s", mode, b.netSpent(), len(s.undecided), s.heard())
		}
	}
}
