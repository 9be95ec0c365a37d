package allocator_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tranche/models"
)

// complete waits for what a node owes, and gives how long that took.
func (f *fleet) complete(n *testNode) (complete bool, took time.Duration) {
	f.t.Helper()
	start := time.Now()
	complete, err := n.Complete(f.t.Context(), "o")
	if err != nil {
		f.t.Error(err)
	}
	return complete, time.Since(start)
}

func (f *fleet) listed(user string) int {
	f.t.Helper()
	list, err := f.fake.Redemptions(f.t.Context(), models.RedemptionFilter{OfferID: "o", UserID: user, Limit: 1000})
	if err != nil {
		f.t.Fatal(err)
	}
	return len(list)
}

// A list on the node that acknowledged a redemption has it, however long settling takes, within a second. On other nodes the answer says
// that something may be missing, for as long as that node has leases.
func TestB5AListHasWhatItsNodeAcknowledged(t *testing.T) {
	inFleet(t, 2, func(o *models.Offer) { o.Mode = models.ModeFast }, func(t *testing.T, f *fleet) {
		here, there := f.nodes[0], f.nodes[1]
		for _, n := range f.nodes {
			if complete, took := f.complete(n); !complete || took > 0 {
				t.Errorf("before anything: %t after %s", complete, took)
			}
		}
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(700 * time.Millisecond)
			}
			return nil
		})
		if _, err := here.redeem("k", "u", 1); err != nil || f.listed("u") != 0 {
			t.Fatalf("%v, %d listed at once", err, f.listed("u"))
		}
		if complete, took := f.complete(here); !complete || took < 700*time.Millisecond || f.listed("u") != 1 {
			t.Errorf("on its node: %t after %s, %d listed", complete, took, f.listed("u"))
		}
		if complete, took := f.complete(there); complete || took > 0 {
			t.Errorf("on another node: %t after %s", complete, took)
		}
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(1500 * time.Millisecond)
			}
			return nil
		})
		if _, err := here.redeem("k2", "u", 1); err != nil {
			t.Fatal(err)
		}
		if complete, took := f.complete(here); complete || took != time.Second {
			t.Errorf("when settling takes too long: %t after %s", complete, took)
		}
		f.back()
		time.Sleep(2 * time.Second)
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused }) // all leases go back
		if complete, _ := f.complete(there); !complete {
			t.Error("on another node, with no lease anywhere: not complete")
		}
	})
}

// Readers come all the time, and so do redemptions: each reader finds what was acknowledged before it, and waits for nothing else.
func TestB5ReadersWaitForNoLaterRedemption(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 1000), func(t *testing.T, f *fleet) {
		f.change(func(o *models.Offer) { o.BudgetTarget = 100_000 })
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(rand.N(200 * time.Millisecond))
			}
			return nil
		})
		n := f.nodes[0]
		var readers sync.WaitGroup
		for i := range 20 {
			readers.Go(func() {
				for j := range 50 {
					user := fmt.Sprint(i)
					if _, err := n.redeem(fmt.Sprint(i, " ", j), user, 1); err != nil && !errors.Is(err, models.ErrBudgetHeld) {
						t.Error(err)
					}
					if complete, took := f.complete(n); !complete || took > 500*time.Millisecond || f.listed(user) != j+1 {
						t.Errorf("%t after %s: %d of %d", complete, took, f.listed(user), j+1)
					}
				}
			})
		}
		readers.Wait()
	})
}
