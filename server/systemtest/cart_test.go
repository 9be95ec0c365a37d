package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

type cart struct {
	ID    string       `json:"id"`
	Items []redemption `json:"items"`
}

// TestLostCommitRepliesOfCarts: carts of a fast and a strict offer are held, confirmed, cancelled and refunded through two nodes, one of
// which loses COMMITs, or their replies. Each is there whole or not at all, once, and as its customer was told.
func TestLostCommitRepliesOfCarts(t *testing.T) {
	seed := seedOf(t)
	carts := pick(600, 10_000)
	f, p := halfProxiedFleet(t)
	enough, limit := int64(3*carts), int64(carts/60)
	fast := f.createOffer(offer{ID: "gift", Budget: enough, Mode: "fast", LeaseSize: 100, LeaseTTLSeconds: 10})
	strict := f.createOffer(offer{ID: "discount", Budget: enough, UserLimitRedemptions: &limit, LeaseSize: 100, LeaseTTLSeconds: 10})
	random := rand.New(rand.NewPCG(seed, 0))
	p.OnCommit(func(n int64) faultproxy.CommitFault { return someFault(n, random) })
	stopWatching := f.watchBalance(strict)

	told := make([]string, carts) // the kind of the entry that ended a cart, or gave it back
	var all sync.WaitGroup
	todo := count(t.Context(), carts, func(i int) int { return i })
	for range 12 {
		all.Go(func() {
			for i := range todo {
				told[i] = f.cartOf(i, strict, fast)
			}
		})
	}
	all.Wait()
	stopWatching()

	booked := 0
	for _, offerID := range []string{strict, fast} {
		b := f.readBooks(offerID)
		b.check(t)
		booked = b.asTold(t, told)
	}
	t.Logf("COMMITs: %+v; %d carts", p.Counts(), booked)
	if done := p.Counts().Done; done[faultproxy.CutBefore] < 20 || done[faultproxy.CutAfter] < 20 || booked == carts {
		t.Error("too little happened to show anything")
	}
}

// cartOf lets the i-th customer buy a cart of two offers at one node, and confirm, cancel or refund it at another. It gives the kind of
// entry that the latter makes, and nothing if the customer was refused.
func (f *fleet) cartOf(i int, strict, fast string) string {
	end := []string{"confirm", "cancel", "refunds"}[i%3]
	body := map[string]any{"user_id": fmt.Sprintf("user-%d", i%10), "items": []map[string]any{{"offer_id": strict}, {"offer_id": fast, "units": 2}}}
	if end != "refunds" {
		body["hold_seconds"] = 3600
	}
	a := f.untilDecided(f.nodes[i%2], "/v1/carts", cartKey(i), body)
	if a.is("user-limit-reached") {
		return ""
	}
	c := decode[cart](f.t, a, http.StatusCreated)
	a = f.untilDecided(f.nodes[i/2%2], "/v1/carts/"+c.ID+"/"+end, "back", nil)
	if a.status >= 300 || len(decode[cart](f.t, a, a.status).Items) != 2 {
		f.t.Errorf("%s of %s: %v", end, cartKey(i), a)
	}
	return map[string]string{"confirm": "confirm", "cancel": "cancel", "refunds": "refund"}[end]
}

func cartKey(i int) string { return fmt.Sprintf("cart-%d", i) }

// asTold holds the entries of an offer against what the customers of carts were told, and gives how many carts it has.
func (b *books) asTold(t *testing.T, told []string) (carts int) {
	t.Helper()
	first, followed := map[string]string{}, map[string]string{}
	for _, e := range b.entries {
		if e.seq == 0 {
			first[e.key] = e.redemption
		} else {
			followed[e.redemption] = e.kind
		}
	}
	for i, kind := range told {
		if redemption, there := first[cartKey(i)]; there != (kind != "") || followed[redemption] != kind {
			t.Errorf("the customer of %s was told of %q, and there is %q", cartKey(i), kind, followed[redemption])
		}
	}
	return len(first)
}

// untilDecided repeats a request at one node until it is done or refused.
func (f *fleet) untilDecided(n *node, path, key string, body any) *answer {
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for {
		a, err := n.send(ctx, http.MethodPost, path, key, body)
		switch {
		case ctx.Err() != nil:
			f.t.Errorf("POST %s, key %s, is never decided: %v, %v", path, key, a, err)
			return &answer{}
		case err == nil && a.status != http.StatusServiceUnavailable && !a.is("request-in-flight"):
			return a
		}
		pause(f.t, 20*time.Millisecond)
	}
}
