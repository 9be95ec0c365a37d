package allocator_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/models"
)

// buyer redeems one unit after the other on a node, as a shop does that comes back when it is told to, until the budget is called
// exhausted.
func (f *fleet) buyer(n *testNode, name string) (bought int64) {
	for i := 0; ; i++ {
		_, err := n.redeem(fmt.Sprint(name, i), "u", 1)
		switch {
		case err == nil:
			bought++
		case errors.Is(err, models.ErrBudgetHeld), errors.Is(err, models.ErrLedgerUnavailable):
			time.Sleep(250 * time.Millisecond)
		case errors.Is(err, models.ErrBudgetExhausted):
			if b := f.balance(); b.Unallocated()+b.Outstanding > 0 {
				f.t.Errorf("%s heard that the budget is exhausted: %+v", name, b)
			}
			return bought
		default:
			f.t.Error(name, err)
			return bought
		}
	}
}

// sellRest buys what is left on the first node, and wants all of it to be sold within three seconds.
func (f *fleet) sellRest(buyers int) {
	f.t.Helper()
	time.Sleep(time.Second) // until all is settled
	before := f.balance()
	start := time.Now()
	var sold atomic.Int64
	var wg sync.WaitGroup
	for i := range buyers {
		wg.Go(func() { sold.Add(f.buyer(f.nodes[0], fmt.Sprint("buyer ", i, " "))) })
	}
	wg.Wait()
	if left := before.Budget - before.NetSpent(); sold.Load() != left {
		f.t.Errorf("sold %d of the last %d: %+v", sold.Load(), left, f.balance())
	}
	if took := time.Since(start); took > 3*time.Second {
		f.t.Errorf("selling the rest took %s", took)
	}
}

var modes = []models.Mode{models.ModeStrict, models.ModeAvailable, models.ModeFast}

func TestTheLastUnitsOfTwentyNodesAreSoldOnOne(t *testing.T) {
	for _, mode := range modes {
		for _, buyers := range []int{1, 7} {
			t.Run(fmt.Sprint(mode, " to ", buyers), func(t *testing.T) {
				setUp := func(o *models.Offer) { o.Mode, o.Budget, o.BudgetTarget, o.LeaseSize = mode, 10_000, 10_000, 6 }
				inFleet(t, 20, setUp, func(t *testing.T, f *fleet) {
					for i, n := range f.nodes {
						for j := range 3 { // each holds a few
							if _, err := n.redeem(fmt.Sprint(i, " ", j), "u", 1); err != nil {
								t.Fatal(err)
							}
						}
					}
					rest := f.balance()
					if _, err := f.nodes[0].redeem("all that no node has", "u", rest.Unallocated()); err != nil {
						t.Fatal(err)
					}
					if left := f.balance(); left.Unallocated() != 0 || left.Outstanding < 50 || left.LeasesActive < 20 {
						t.Fatalf("%+v", left)
					}
					f.sellRest(buyers)
				})
			})
		}
	}
}

func TestTheLastUnitsInTheRefundPoolsOfTwentyNodesAreSoldOnOne(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			inFleet(t, 20, func(o *models.Offer) { o.Mode = mode }, func(t *testing.T, f *fleet) {
				if _, err := f.nodes[0].redeem("all", "u", 100); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				for i, n := range f.nodes[1:] {
					if _, err := n.refund("all", fmt.Sprint(i), 2+int64(i%2)); err != nil {
						t.Fatal(err)
					}
				}
				if b := f.balance(); b.Outstanding < 40 || b.Unallocated() != 0 {
					t.Fatalf("%+v", b)
				}
				f.sellRest(3)
			})
		})
	}
}

func TestAllIsSoldWithBlocksLargerThanTheBudget(t *testing.T) {
	for _, adaptive := range []bool{true, false} {
		setUp := func(o *models.Offer) { o.Budget, o.BudgetTarget, o.LeaseSize, o.Adaptive = 50, 50, 1_000_000, adaptive }
		inFleet(t, 20, setUp, func(t *testing.T, f *fleet) {
			for i, n := range f.nodes {
				if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
					t.Fatal(err)
				}
			}
			f.sellRest(3)
		})
	}
}

// A sold-out offer that has nothing outstanding is never recalled, and its row is left alone.
func TestASoldOutOfferIsLeftAlone(t *testing.T) {
	inFleet(t, 3, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("all", "u", 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second) // until what is used up has been returned
		number := f.balance().Recall
		for _, n := range f.nodes { // each finds out
			if _, err := n.redeem("more", "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
				t.Fatal(err)
			}
		}
		hot := f.count("Grant", "Recall", "ReturnLeases")
		for i := range 200 {
			if _, err := f.nodes[i%3].redeem(fmt.Sprint(i), "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
				t.Fatal(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		if b := f.balance(); b.Recall != number || hot.Load() > 0 {
			t.Errorf("%d transactions on the row of a sold-out offer, recalled %d times", hot.Load(), b.Recall-number)
		}
	})
}

// One who wants nearly all that is left, and comes back again and again, takes no node its blocks all the time.
func TestOneWhoWantsTooMuchRaisesNoStorm(t *testing.T) {
	setUp := func(o *models.Offer) { o.Budget, o.BudgetTarget, o.LeaseSize = 100_000, 100_000, 1000 }
	inFleet(t, 5, setUp, func(t *testing.T, f *fleet) {
		f.slowly()
		l := f.load(1)
		time.Sleep(time.Second)
		start, number := time.Now(), f.balance().Recall
		for i := 0; time.Since(start) < 5*time.Second; i++ {
			b := f.balance()
			if _, err := f.nodes[0].redeem(fmt.Sprint("most ", i), "u", b.Unallocated()+b.Outstanding*3/4); !errors.Is(err, models.ErrBudgetHeld) {
				t.Error(err)
			}
			time.Sleep(250 * time.Millisecond)
		}
		l.stop()
		if b := f.balance(); b.Recall-number > 6 || b.Unallocated() <= 0 {
			t.Errorf("recalled %d times in %s: %+v", b.Recall-number, time.Since(start), b)
		}
	})
}

// count counts calls of the store from now on.
func (f *fleet) count(calls ...string) *atomic.Int64 {
	var n atomic.Int64
	f.fail(func(call string) error {
		for _, c := range calls {
			if c == call {
				n.Add(1)
			}
		}
		return nil
	})
	return &n
}

// The reply to the opening of a pool takes its time, and meanwhile the node hears of a recall, with nothing of the offer to return yet.
func TestAPoolThatArrivesAfterARecallIsReturned(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("a", "u", 100); err != nil {
			t.Fatal(err)
		}
		f.fake.After = func(call string) error {
			if call == "OpenPool" {
				time.Sleep(time.Second)
			}
			return nil
		}
		var refunded sync.WaitGroup
		refunded.Go(func() {
			if _, err := f.nodes[1].refund("a", "r", 1); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(100 * time.Millisecond)
		if _, err := f.fake.Recall(t.Context(), "o", f.balance().Recall); err != nil {
			t.Fatal(err)
		}
		refunded.Wait()
		time.Sleep(time.Second)
		if b := f.balance(); b.Recalled > 0 {
			t.Errorf("a recalled pool is kept: %+v", b)
		}
	})
}
