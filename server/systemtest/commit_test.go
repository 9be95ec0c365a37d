package systemtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// TestLostCommitReplies: a share of all COMMITs, whatever they commit, is cut off before, after, or long before it takes effect.
// The shop retries under the same key, redeems, and takes some of it back. The books are exact, and each key counts once.
func TestLostCommitReplies(t *testing.T) {
	seed := seedOf(t)
	orders := pick(10_000, 100_000)
	f, p := halfProxiedFleet(t) // the second node, on a line without faults, takes some of the retries
	one := int64(1)
	s := newShop(f, f.createOffer(offer{ID: "cuts", Budget: int64(2 * orders), UserLimitRedemptions: &one, LeaseSize: 500, LeaseTTLSeconds: 10}))
	stopWatching := f.watchBalance(s.offer)
	random := rand.New(rand.NewPCG(seed, 0))
	p.OnCommit(func(n int64) faultproxy.CommitFault { return someFault(n, random) })
	ctx, cancel := context.WithTimeout(t.Context(), pick(2*time.Minute, 20*time.Minute))
	defer cancel()

	const customers = 24 // few, for small batches and so for many COMMITs
	// The slower the machine, the fewer COMMITs an order takes: there are more orders until all faults have struck.
	served := 0
	for some := orders; some > 0; {
		s.serve(ctx, customers, count(ctx, some, func(i int) order { return numbered(served + i) }))
		served += some
		some = 0
		if struckOften(p.Counts()) != nil {
			some = min(orders/10, 2*orders-served)
		}
	}
	returned := s.takeBack(ctx, customers, 8)
	stopWatching()

	b := s.audit(f)
	if len(s.acked) != served {
		t.Errorf("%d of %d acknowledged; heard %s", len(s.acked), served, s.heard())
	}
	if want := int64(served - returned); b.netSpent() != want || returned == 0 {
		t.Errorf("%d redeemed, %d of them returned, and net spent is %d", served, returned, b.netSpent())
	}
	t.Logf("%d orders, COMMITs: %+v; heard %s", served, p.Counts(), s.heard())
	if err := struckOften(p.Counts()); err != nil {
		t.Error(err)
	}
}

// someFault has every thirtieth COMMIT land up to half a second after its sender was cut off, and cuts 18 of a hundred others before they take
// effect, and 18 after.
func someFault(number int64, random *rand.Rand) faultproxy.CommitFault {
	switch n := random.IntN(100); {
	case number%30 == 0:
		return faultproxy.CommitFault{Kind: faultproxy.CutEarly, After: time.Duration(random.IntN(500)) * time.Millisecond}
	case n < 18:
		return faultproxy.CommitFault{Kind: faultproxy.CutBefore}
	case n < 36:
		return faultproxy.CommitFault{Kind: faultproxy.CutAfter}
	default:
		return faultproxy.CommitFault{}
	}
}

// struckOften fails while a kind of fault has happened too few times to show anything.
func struckOften(counts faultproxy.Counts) error {
	for _, kind := range []faultproxy.CommitKind{faultproxy.CutBefore, faultproxy.CutAfter, faultproxy.CutEarly} {
		if counts.Done[kind] < 20 {
			return fmt.Errorf("%v happened %d times", kind, counts.Done[kind])
		}
	}
	return nil
}

// count gives a channel of the first n orders.
func count[T any](ctx context.Context, n int, item func(i int) T) <-chan T {
	items := make(chan T)
	go func() {
		defer close(items)
		for i := range n {
			select {
			case items <- item(i):
			case <-ctx.Done():
				return
			}
		}
	}()
	return items
}

// takeBack refunds one in so many acknowledged redemptions, trying each at one node after the other until it is refunded.
func (s *shop) takeBack(ctx context.Context, workers, every int) (returned int) {
	var ids []string
	for _, a := range s.acked {
		if len(ids)*every >= len(s.acked) {
			break
		}
		ids = append(ids, a.id)
	}
	queue := count(ctx, len(ids), func(i int) string { return ids[i] })
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for id := range queue {
				s.refundUntilDone(ctx, id)
			}
		})
	}
	all.Wait()
	return len(ids)
}

func (s *shop) refundUntilDone(ctx context.Context, id string) {
	for attempt := 0; ctx.Err() == nil; attempt++ {
		n := s.doors[attempt%len(s.doors)].node
		a, err := n.send(ctx, http.MethodPost, refundsOf(id), "return", map[string]any{"units": 1})
		switch {
		case err != nil || a.status == http.StatusServiceUnavailable:
		case a.status == http.StatusCreated:
			return
		default:
			s.t.Errorf("the refund of %s was answered with %v", id, a)
			return
		}
	}
	s.t.Errorf("the refund of %s was never decided", id)
}

// TestAnswersAfterALostReplyAreFinal looks at one kind of fault at a time: the very next COMMITs all fail in the same way, and the
// client that retries under its key gets its one redemption.
func TestAnswersAfterALostReplyAreFinal(t *testing.T) {
	t.Parallel()
	f, p := proxiedFleet(t, 1)
	offerID := f.createOffer(offer{ID: "single", Budget: 1000, LeaseSize: 100})
	n := f.nodes[0]
	redeem := func(key string) {
		t.Helper()
		eventually(t, 20*time.Second, func(ctx context.Context) error {
			a, err := n.send(ctx, http.MethodPost, redemptionsOf(offerID), key, map[string]any{"user_id": key})
			if err == nil && a.status != http.StatusCreated {
				err = fmt.Errorf("%s: %v", key, a)
			}
			return err
		})
	}
	redeem("to-have-a-lease")
	faults := []faultproxy.CommitFault{
		{Kind: faultproxy.CutBefore},
		{Kind: faultproxy.CutAfter},
		{Kind: faultproxy.CutEarly, After: 100 * time.Millisecond},
		{Kind: faultproxy.CutEarly, After: 3 * time.Second},
	}
	for i, fault := range faults {
		for _, times := range []int64{1, 2} {
			from := p.Counts().Seen
			p.OnCommit(func(number int64) faultproxy.CommitFault {
				if number <= from+times {
					return fault
				}
				return faultproxy.CommitFault{}
			})
			redeem(fmt.Sprintf("fault-%d-%d-times", i, times))
			if got := p.Counts().Seen - from; got < times {
				t.Errorf("%v: only %d COMMITs were sent", fault, got)
			}
		}
	}
	p.OnCommit(func(int64) faultproxy.CommitFault { return faultproxy.CommitFault{} })
	b := f.readBooks(offerID)
	b.check(t)
	if want := 1 + 2*len(faults); len(b.entries) != want {
		t.Errorf("%d entries, want %d", len(b.entries), want)
	}
}

// TestStrandedGrant: a client of the database that stops in mid-transaction keeps its row locks until the database throws it out.
// Here it holds the offer. Others get their grants after at most ten seconds.
func TestStrandedGrant(t *testing.T) {
	t.Parallel()
	f, p := halfProxiedFleet(t)
	offerID := f.createOffer(offer{ID: "strand-grant", Budget: 1000, LeaseSize: 100})
	f.strand(p, f.nodes[0], offerID, "SELECT 1 FROM offers WHERE id = ? FOR UPDATE NOWAIT")
	f.redeemWithin(10*time.Second, f.nodes[1], offerID, "alice")
}

// TestStrandedSettlement: the same with a user's counter, which another node wants to settle on.
func TestStrandedSettlement(t *testing.T) {
	t.Parallel()
	f, p := halfProxiedFleet(t)
	two := int64(2)
	offerID := f.createOffer(offer{ID: "strand-settle", Budget: 1000, LeaseSize: 100, UserLimitRedemptions: &two})
	for _, n := range f.nodes { // until they hold more than was asked for, and can settle without a grant
		eventually(t, 10*time.Second, func(context.Context) error {
			key := fmt.Sprintf("%s-%d", n.name, len(f.readBooks(offerID).entries))
			decode[redemption](t, n.redeem(offerID, key, key, 1), http.StatusCreated)
			return f.holdsUnits(n)
		})
	}
	f.strand(p, f.nodes[0], offerID, "SELECT 1 FROM usages WHERE offer_id = ? AND user_id = 'alice' FOR UPDATE NOWAIT")
	f.redeemWithin(10*time.Second, f.nodes[1], offerID, "alice")
}

// strand lets the node redeem, and strands its transactions until one is open that holds the rows of a locking query. The query must
// be one that fails at once where it would wait.
func (f *fleet) strand(p *faultproxy.Proxy, n *node, offerID, locking string) {
	f.t.Helper()
	p.OnCommit(func(int64) faultproxy.CommitFault { return faultproxy.CommitFault{Kind: faultproxy.Strand} })
	answered := make(chan struct{})
	go func() { // the stopped client's own request: its answer does not matter
		defer close(answered)
		_, _ = n.send(f.t.Context(), http.MethodPost, redemptionsOf(offerID), "stranded", map[string]any{"user_id": "alice"})
	}()
	f.t.Cleanup(func() { <-answered })
	eventually(f.t, 10*time.Second, func(ctx context.Context) error {
		if p.Counts().Done[faultproxy.Strand] == 0 {
			return errors.New("no transaction is stranded")
		}
		rows, err := f.db.QueryContext(ctx, locking, offerID) //nolint:rowserrcheck // it asks for the lock, not for the rows
		if err == nil {
			_ = rows.Close()
			return errors.New("no stranded transaction holds the lock")
		}
		return nil
	})
	p.OnCommit(func(int64) faultproxy.CommitFault { return faultproxy.CommitFault{} })
}

// redeemWithin fails the test unless the node redeems in time, retries included.
func (f *fleet) redeemWithin(within time.Duration, n *node, offerID, user string) {
	f.t.Helper()
	eventually(f.t, within, func(ctx context.Context) error {
		a, err := n.send(ctx, http.MethodPost, redemptionsOf(offerID), "not-stranded", map[string]any{"user_id": user})
		if err == nil && a.status != http.StatusCreated {
			err = fmt.Errorf("%v", a)
		}
		return err
	})
	f.readBooks(offerID).check(f.t)
}

// seedOf gives the seed of a randomised test, and prints it: TRANCHE_TEST_SEED replays one.
func seedOf(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if given := os.Getenv("TRANCHE_TEST_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("TRANCHE_TEST_SEED=%d", seed)
	return seed
}
