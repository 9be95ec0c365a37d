package systemtest

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"
)

// TestHoldsEndOnce: holds are taken, confirmed, cancelled and run out on three nodes at the same time, one of which is killed. Each ends
// once, and whoever was told of an end was told the truth.
func TestHoldsEndOnce(t *testing.T) {
	t.Parallel()
	holds := pick(300, 5000)
	f := startFleet(t, 3)
	limit := int64(holds)
	offerID := f.createOffer(offer{ID: "holds", Budget: int64(3 * holds), LeaseSize: 50, LeaseTTLSeconds: 5, UserLimitRedemptions: &limit})
	stopWatching := f.watchBalance(offerID)
	told := make([]string, holds) // the state that a node gave as the hold's end
	var racing sync.WaitGroup
	for i := range holds {
		key := fmt.Sprintf("hold-%d", i)
		a := f.nodes[0].hold(offerID, key, fmt.Sprintf("user-%d", i%7), 2, int64(1+i%3))
		id := decode[redemption](t, a, http.StatusCreated).ID
		if i%3 == 0 {
			continue // nobody comes back for it
		}
		var once sync.Mutex
		for n, how := range map[int]string{1: "confirm", 2: "cancel"} {
			racing.Go(func() {
				a, err := f.nodes[n].send(t.Context(), http.MethodPost, "/v1/redemptions/"+id+"/"+how, "", nil)
				switch {
				case err != nil:
					t.Error(err)
				case a.status == http.StatusOK:
					once.Lock()
					defer once.Unlock()
					if told[i] != "" {
						t.Errorf("%s: ended by %s, and as %s", key, how, told[i])
					}
					told[i] = decode[redemption](t, a, http.StatusOK).State
				case !a.is("hold-already-resolved"):
					t.Errorf("%s: %s: %v", key, how, a)
				}
			})
		}
	}
	racing.Wait()
	f.nodes[0].kill() // it took them all

	eventually(t, 30*time.Second, func(ctx context.Context) error {
		if held := f.nodes[1].balance(offerID).Held; held != 0 {
			return fmt.Errorf("%d units are held", held)
		}
		return nil
	})
	stopWatching()
	b := f.readBooks(offerID)
	b.check(t)
	states := map[string]string{"confirm": "redeemed", "cancel": "cancelled", "expire": "expired"}
	ended := map[string]string{}
	for _, e := range b.entries {
		if e.seq == 1 {
			ended[e.redemption] = states[e.kind]
		}
	}
	for _, e := range b.entries {
		var i int
		if _, err := fmt.Sscanf(e.key, "hold-%d", &i); err != nil {
			continue
		}
		want := told[i]
		if i%3 == 0 {
			want = "expired"
		}
		if want != "" && ended[e.redemption] != want {
			t.Errorf("%s: a node said that it is %s, and it is %s", e.key, want, ended[e.redemption])
		}
	}
}

// TestTheLastUnitIsHeld: while it is held, the others hear that it may come back; when it is cancelled, or the hold runs out, it does.
func TestTheLastUnitIsHeld(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1)
	n := f.nodes[0]
	offerID := f.createOffer(offer{ID: "last", Budget: 1})
	for _, how := range []string{"cancel", "expire"} {
		held := decode[redemption](t, n.hold(offerID, "alice-"+how, "alice", 1, 2), http.StatusCreated)
		if a := n.redeem(offerID, "bob-"+how, "bob", 1); !a.is("budget-held") || a.header.Get("Retry-After") == "" {
			t.Errorf("%s: bob hears %v", how, a)
		}
		if how == "cancel" {
			decode[redemption](t, n.resolve(held.ID, "cancel"), http.StatusOK)
		}
		var bob redemption
		eventually(t, 20*time.Second, func(context.Context) error {
			a := n.redeem(offerID, "bob-"+how, "bob", 1)
			if a.status != http.StatusCreated {
				return fmt.Errorf("bob hears %v", a)
			}
			bob = decode[redemption](t, a, http.StatusCreated)
			return nil
		})
		decode[refund](t, n.refund(bob.ID, "back", 1), http.StatusCreated)
	}
	f.readBooks(offerID).check(t)
}
