package systemtest

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRetryAfterSoldOutHearsItsSuccess: the answer to a success was lost, the budget was sold out meanwhile, and whoever retries, at
// whichever node, hears 201.
func TestRetryAfterSoldOutHearsItsSuccess(t *testing.T) {
	const budget = 30
	f := startFleet(t, 3)
	offerID := f.createOffer(offer{ID: "retry", Budget: budget, LeaseSize: 10, LeaseTTLSeconds: 5})
	ids := map[string]string{}
	for i := range budget {
		key := fmt.Sprintf("key-%d", i)
		ids[key] = f.redeemSomewhere(offerID, key).ID
	}
	for _, n := range f.nodes {
		if a := n.redeem(offerID, "too-late", "late", 1); !a.is("budget-exhausted") {
			t.Fatalf("%s: the offer should be sold out: %v", n.name, a)
		}
		for i := range budget {
			key := fmt.Sprintf("key-%d", i)
			a := n.redeem(offerID, key, "user-of-"+key, 1)
			if r := decode[redemption](t, a, http.StatusCreated); !a.replayed || r.ID != ids[key] {
				t.Errorf("%s: the retry of %s was answered with replayed %v, %v", n.name, key, a.replayed, a)
			}
			if a := n.redeem(offerID, key, "somebody else", 1); !a.is("idempotency-key-reused") {
				t.Errorf("%s: another request under %s was answered with %v", n.name, key, a)
			}
		}
	}
	b := f.readBooks(offerID)
	b.check(t)
	if b.netSpent() != budget {
		t.Errorf("net spent %d of %d", b.netSpent(), budget)
	}
}

// TestClientsThatHangUp: either nothing was spent, or the retry finds it.
func TestClientsThatHangUp(t *testing.T) {
	const clients = 40
	f := startFleet(t, 2)
	offerID := f.createOffer(offer{ID: "hangup", Budget: 1000, LeaseSize: 100})
	f.redeemSomewhere(offerID, "warm-up")
	for i := range clients {
		key := fmt.Sprintf("gone-%d", i)
		conn, err := net.Dial("tcp", strings.TrimPrefix(f.nodes[0].url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"user_id":%q}`, "user-of-"+key)
		fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s",
			redemptionsOf(offerID), key, len(body), body)
		_ = conn.Close()
	}
	for i := range clients {
		key := fmt.Sprintf("gone-%d", i)
		decode[redemption](t, f.nodes[1].redeem(offerID, key, "user-of-"+key, 1), http.StatusCreated)
	}
	b := f.readBooks(offerID)
	b.check(t)
	if got := b.netSpent(); got != clients+1 {
		t.Errorf("net spent %d, want %d", got, clients+1)
	}
}

// redeemSomewhere redeems one unit at the first node that does not ask to come again.
func (f *fleet) redeemSomewhere(offerID, key string) redemption {
	f.t.Helper()
	for attempt := range 100 {
		a := f.nodes[attempt%len(f.nodes)].redeem(offerID, key, "user-of-"+key, 1)
		if a.status == http.StatusCreated {
			return decode[redemption](f.t, a, http.StatusCreated)
		}
		if !*a.problem.Retryable {
			f.t.Fatalf("%s: %v", key, a)
		}
		pause(f.t, 50*time.Millisecond)
	}
	f.t.Fatalf("%s: nobody redeemed it", key)
	return redemption{}
}

// TestRefundIsSpendableAtOnce: units refunded at another node than they were redeemed at can be redeemed there, and nothing more.
func TestRefundIsSpendableAtOnce(t *testing.T) {
	f := startFleet(t, 2)
	here, there := f.nodes[0], f.nodes[1]
	offerID := f.createOffer(offer{ID: "refund", Budget: 10, LeaseSize: 10})
	r := decode[redemption](t, here.redeem(offerID, "all", "alice", 10), http.StatusCreated)
	if got := decode[refund](t, there.refund(r.ID, "part", 3), http.StatusCreated); got.Units != 3 || got.RedemptionID != r.ID {
		t.Errorf("refunded %+v", got)
	}
	if got := there.balance(offerID); got.NetSpent != 7 || got.Refunded != 3 || got.Outstanding != 3 {
		t.Errorf("after the refund the balance is %+v", got)
	}
	decode[redemption](t, there.redeem(offerID, "again", "bob", 3), http.StatusCreated)
	for _, n := range f.nodes {
		if a := n.redeem(offerID, "one-more", "carol", 1); !a.is("budget-exhausted") {
			t.Errorf("%s: one more than the budget: %v", n.name, a)
		}
		if a := n.refund(r.ID, "too-much", 8); !a.is("refund-exceeds-redemption") {
			t.Errorf("%s: a refund of more than is left: %v", n.name, a)
		}
	}
	b := f.readBooks(offerID)
	b.check(t)
	if b.netSpent() != 10 || b.allocated != 10 {
		t.Errorf("net spent %d, allocated %d", b.netSpent(), b.allocated)
	}
}

// TestRefundTwiceAtOnce: the same refund at two nodes at the same moment is one refund. Under one key both are told so; under two
// keys one of them is refused.
func TestRefundTwiceAtOnce(t *testing.T) {
	rounds := pick(30, 500)
	f := startFleet(t, 2)
	offerID := f.createOffer(offer{ID: "twice", Budget: int64(2 * rounds), LeaseSize: 10})
	for i := range rounds {
		same := f.redeemSomewhere(offerID, fmt.Sprintf("same-%d", i))
		a, b := f.refundAtBoth(same.ID, "back", "back")
		first, second := decode[refund](t, a, http.StatusCreated), decode[refund](t, b, http.StatusCreated)
		if first.ID != second.ID || a.replayed == b.replayed {
			t.Errorf("one key, two answers: %v (replayed %v), %v (replayed %v)", a, a.replayed, b, b.replayed)
		}
		other := f.redeemSomewhere(offerID, fmt.Sprintf("different-%d", i))
		a, b = f.refundAtBoth(other.ID, "left", "right")
		if a.status != http.StatusCreated {
			a, b = b, a
		}
		if a.status != http.StatusCreated || !b.is("refund-exceeds-redemption") {
			t.Errorf("two keys, one redemption: %v, %v", a, b)
		}
	}
	books := f.readBooks(offerID)
	books.check(t)
	if got := books.netSpent(); got != 0 {
		t.Errorf("everything was refunded once, and net spent is %d", got)
	}
}

// refundAtBoth sends a refund of everything that is left to both nodes at the same time.
func (f *fleet) refundAtBoth(id, key0, key1 string) (a, b *answer) {
	f.t.Helper()
	answers := make([]*answer, 2)
	errs := make([]error, 2)
	var both sync.WaitGroup
	for i, key := range []string{key0, key1} {
		both.Go(func() {
			answers[i], errs[i] = f.nodes[i].send(f.t.Context(), http.MethodPost, refundsOf(id), key, map[string]any{})
		})
	}
	both.Wait()
	for _, err := range errs {
		if err != nil {
			f.t.Fatal(err)
		}
	}
	return answers[0], answers[1]
}

// readUntilClosed reads until the other side closes the connection.
func readUntilClosed(conn net.Conn) error {
	_, err := io.Copy(io.Discard, conn)
	return err
}
