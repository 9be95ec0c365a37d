package allocator_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"tranche/models"
)

// burst redeems a lot at a node whose processors are busy.
func (f *fleet) burst(n *testNode, orders int) {
	f.busy.Store(true)
	for i := range orders {
		if _, err := n.redeem(fmt.Sprint("burst-", i), "u", 1); err != nil {
			f.t.Error(err)
			return
		}
		time.Sleep(200 * time.Microsecond) // 5000 a second
	}
}

// In a burst, redemptions are settled later. One that its own node is asked to give back is not waited for as long as that.
func TestARefundInABurstHurriesItsSettling(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 100_000), func(t *testing.T, f *fleet) {
		f.change(func(o *models.Offer) { o.Budget, o.BudgetTarget = 1_000_000, 1_000_000 })
		n := f.nodes[0]
		hold(t, n, "a")
		var crowd sync.WaitGroup
		crowd.Go(func() { f.burst(n, 15_000) })
		time.Sleep(time.Second) // some thousand have come by then
		if behind := n.journal.backlog(); behind < 3000 {
			t.Errorf("only %d are not settled: this is no test", behind)
		}
		if _, err := n.refund("burst-4000", "r", 1); err != nil {
			t.Error(err)
		}
		crowd.Wait()
		f.busy.Store(false)
		time.Sleep(5 * time.Second) // all is settled before the drain looks
	})
}

// A node serves only when its journal is settled, so at a start nothing yields.
func TestARecoveryDoesNotYield(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 100_000), func(t *testing.T, f *fleet) {
		f.change(func(o *models.Offer) { o.Budget, o.BudgetTarget = 1_000_000, 1_000_000 })
		n := f.nodes[0]
		hold(t, n, "a")
		f.burst(n, 4000)
		n.journal = n.journal.copy()
		began := time.Now()
		f.restart(n)
		if took := time.Since(began); took > 40*time.Millisecond || n.journal.backlog() != 0 {
			t.Errorf("it took %v, though the database took no time; backlog %d", took, n.journal.backlog())
		}
		f.busy.Store(false)
		time.Sleep(5 * time.Second) // all is settled before the drain looks
	})
}
