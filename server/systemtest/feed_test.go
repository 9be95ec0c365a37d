package systemtest

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// TestAFollowerGetsEachEntryOnce: a node is cut off in fast for longer than its leases live, so that its entries commit late under old ids.
// Then replies to COMMITs get lost, and the other node is killed. The follower asks the nodes in turn, and never sees an entry twice or
// misses one.
func TestAFollowerGetsEachEntryOnce(t *testing.T) {
	t.Parallel()
	f, p := halfProxiedFleet(t, drainAtOnce)
	s := newShop(f, f.createWith("fast", offer{ID: "followed", Budget: 1_000_000, LeaseSize: 1000, LeaseTTLSeconds: 5}))
	f.warmUp(s)
	feed := f.follow(s.offer)
	closeShop := s.open(pick(150, 300), numbered)
	random := rand.New(rand.NewPCG(seedOf(t), 0))
	for ends := time.Now().Add(pick(0, 5*time.Minute)); ; {
		p.SetWeather(faultproxy.Refuse)
		pause(t, pick(ttl+grace+slack, time.Minute))
		p.SetWeather(faultproxy.Pass)
		s.awaitAcked(200, time.Minute)
		p.OnCommit(func(n int64) faultproxy.CommitFault { return someFault(n, random) })
		s.awaitAcked(200, time.Minute)
		p.OnCommit(func(int64) faultproxy.CommitFault { return faultproxy.CommitFault{} })
		f.nodes[1].kill()
		f.nodes[1].start()
		f.nodes[1].awaitReady()
		s.awaitAcked(200, time.Minute)
		if time.Now().After(ends) {
			break
		}
	}
	closeShop()
	f.awaitSettled(settledAfterOutage, 0)

	b := s.audit(f)
	seen := feed(len(b.entries))
	late := 0
	for _, e := range b.entries {
		if !seen[e.id] {
			t.Errorf("the feed lacks %+v", e)
		}
		if e.late {
			late++
		}
	}
	if late == 0 {
		t.Error("nothing was booked late: this test shows less than it should")
	}
	t.Logf("%d entries, %d of them late; COMMITs: %+v", len(b.entries), late, p.Counts())
}

// follow reads the feed of an offer every 100 ms. The function that it gives ends that, once there are so many entries and a moment has
// brought no more, and gives the ids of all.
func (f *fleet) follow(offerID string) (end func(entries int) map[string]bool) {
	seen, position := map[string]bool{}, "0"
	read := func(ctx context.Context, n *node) (err error) {
		status, body, err := n.get(ctx, "/v1/offers/"+offerID+"/ledger?limit=500&after="+position)
		if err != nil {
			return err
		}
		if status != http.StatusOK {
			return fmt.Errorf("%s: %d %s", n.name, status, body)
		}
		var page struct {
			Items    []struct{ ID string }
			Position string
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			id := strings.ReplaceAll(item.ID, "-", "")
			if seen[id] {
				f.t.Errorf("entry %s comes twice, after %s", id, position)
			}
			seen[id] = true
		}
		position = page.Position
		return nil
	}
	ctx, stop := context.WithCancel(f.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ctx.Err() == nil; i++ {
			_ = read(ctx, f.nodes[i%len(f.nodes)]) // while it is cut off or dead, a node gives nothing
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	}()
	return func(entries int) map[string]bool {
		stop()
		<-done
		eventually(f.t, 10*time.Second, func(ctx context.Context) error {
			if err := read(ctx, f.nodes[0]); err != nil {
				return err
			}
			if len(seen) < entries {
				return fmt.Errorf("the feed has %d of %d entries", len(seen), entries)
			}
			return nil
		})
		pause(f.t, time.Second)
		if err := read(f.t.Context(), f.nodes[0]); err != nil || len(seen) != entries {
			f.t.Errorf("the feed has %d entries, the ledger %d: %v", len(seen), entries, err)
		}
		return seen
	}
}
