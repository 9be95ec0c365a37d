package allocator_test

import (
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/models"
)

// Twenty nodes, one of which has nine tenths of the traffic, sell a budget to the last unit. Nobody is told that it is used up before it
// is, and the offer's row is locked seldom: outside of the tail, once in five seconds per node; in it, as often as the shrinking blocks
// of the busy node need on top. Until the nodes know their rates, their blocks are smaller.
func TestTwentyNodesWithUnevenTrafficSellAll(t *testing.T) {
	const nodes, rate = 20, 20      // units a second
	const want = rate * 9 / 10 * 10 // what the busy node uses in ten seconds
	const tailAt = 4 * nodes * want // unallocated units
	const perNode = time.Second * 5 // a transaction
	const learning = 4 * nodes
	budget := int64(crowdOf(20_000, 100_000))
	tail := 4 * nodes * (1 + math.Log(want))
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			setUp := func(o *models.Offer) {
				o.Mode, o.Budget, o.BudgetTarget, o.LeaseSize, o.Adaptive = mode, budget, budget, 1000, true
			}
			inFleet(t, nodes, setUp, func(t *testing.T, f *fleet) {
				hot := f.count("Grant", "Recall", "ReturnLeases")
				start, shop := time.Now(), &shop{f: f}
				for i := 0; !shop.soldOut.Load(); i++ {
					node := 0
					if i%10 == 9 {
						node = 1 + i/10%(nodes-1)
					}
					shop.visit(f.nodes[node], fmt.Sprint(i))
					if i%rate == 0 && f.unallocated() > tailAt {
						if most := learning + nodes*time.Since(start).Seconds()/perNode.Seconds(); float64(hot.Load()) > most {
							t.Fatalf("after %s: %d transactions on the offer's row, more than %.0f", time.Since(start), hot.Load(), most)
						}
					}
					time.Sleep(time.Second / rate)
				}
				shop.visitors.Wait()
				most := learning + tail + nodes*time.Since(start).Seconds()/perNode.Seconds()
				if float64(hot.Load()) > most {
					t.Errorf("%d transactions on the offer's row, more than %.0f", hot.Load(), most)
				}
				time.Sleep(time.Second)
				if b := f.balance(); shop.sold.Load() != budget || b.Redeemed != budget || b.Outstanding != 0 {
					t.Errorf("sold %d: %+v", shop.sold.Load(), b)
				}
			})
		})
	}
}

// shop is visitors who want one unit each, and come back when they are told to.
type shop struct {
	f        *fleet
	visitors sync.WaitGroup
	sold     atomic.Int64
	soldOut  atomic.Bool
}

func (s *shop) visit(n *testNode, key string) {
	s.visitors.Go(func() {
		for {
			_, err := n.redeem(key, "u", 1)
			switch {
			case err == nil:
				s.sold.Add(1)
			case errors.Is(err, models.ErrBudgetHeld):
				time.Sleep(250 * time.Millisecond)
				continue
			case errors.Is(err, models.ErrBudgetExhausted):
				if b := s.f.balance(); !s.soldOut.Swap(true) && b.Unallocated()+b.Outstanding > 0 {
					s.f.t.Errorf("heard that the budget is exhausted: %+v", b)
				}
			default:
				s.f.t.Error(err)
			}
			return
		}
	})
}
