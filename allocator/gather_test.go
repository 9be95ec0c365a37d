package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// has is how many units a node has leased and not settled, of an offer with few redemptions under way.
func (f *fleet) has(n *testNode) (units int64) {
	f.t.Helper()
	leases, err := f.fake.ActiveLeases(f.t.Context(), "o")
	if err != nil {
		f.t.Fatal(err)
	}
	for _, l := range leases {
		if l.NodeID == n.id {
			units += l.Outstanding()
		}
	}
	return units
}

// A node that has all units, in blocks of which none is enough, puts them together: one request after the other sells what fits.
func TestB1ANodePutsItsOwnBlocksTogether(t *testing.T) {
	for i := range 15 {
		mode, seed := modes[i%len(modes)], uint64(i)
		t.Run(fmt.Sprint(mode, " ", seed), func(t *testing.T) {
			setUp := func(o *models.Offer) {
				o.Mode, o.Budget, o.BudgetTarget, o.LeaseSize, o.Adaptive = mode, 20_000, 20_000, 1000, true
			}
			inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
				f.slowly()
				random := rand.New(rand.NewPCG(seed, 0))
				for i, left := 0, int64(20_000); i < 40; i++ {
					units := 200 + random.Int64N(1301)
					_, err := f.nodes[0].redeem(fmt.Sprint(i), "u", units)
					switch {
					case err == nil:
						left -= units
					case units <= left:
						t.Errorf("%d of %d units that the node has: %v", units, left, err)
					}
				}
			})
		})
	}
}

// Thirty nodes sell a budget to its end, in blocks that hardly any request uses up. Somebody who wants
// half of what is left has them called back every second, so these nodes can't. Hardly ever does a node say that others hold what it has itself.
func TestB1HeldElsewhereIsElsewhere(t *testing.T) {
	setUp := func(o *models.Offer) { o.Budget, o.BudgetTarget, o.LeaseSize = 20_000, 20_000, 100 }
	inFleet(t, 30, setUp, func(t *testing.T, f *fleet) {
		f.slowly()
		var held, fitted atomic.Int64
		sell := func(n *testNode, shop string, random *rand.Rand) {
			for i, inVain := 0, 0; inVain < 10; i++ {
				units := 1 + random.Int64N(20)
				_, err := n.redeem(fmt.Sprint(shop, i), "u", units)
				switch {
				case errors.Is(err, models.ErrBudgetHeld) && f.has(n) >= units:
					fitted.Add(1)
					fallthrough
				case errors.Is(err, models.ErrBudgetHeld):
					held.Add(1)
				case err != nil:
					inVain++
				}
				time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var shops, others sync.WaitGroup
		for i, n := range f.nodes {
			for j := range 2 {
				shops.Go(func() { sell(n, fmt.Sprint(i, " ", j, " "), rand.New(rand.NewPCG(uint64(i), uint64(j)))) })
			}
		}
		others.Go(func() {
			for i := 0; run.Pause(ctx, 250*time.Millisecond); i++ {
				b := f.balance()
				_, _ = f.nodes[0].redeem(fmt.Sprint("half ", i), "u", max(1, b.Unallocated()+b.Outstanding/2))
			}
		})
		shops.Wait()
		cancel()
		others.Wait()
		if held.Load() == 0 || fitted.Load()*50 > held.Load() {
			t.Errorf("%d of %d answers of \"held elsewhere\" fitted what the node had itself", fitted.Load(), held.Load())
		}
	})
}
