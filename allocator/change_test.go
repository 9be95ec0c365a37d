package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

// load redeems on all nodes, some requests at a time, until it is ended.
type load struct {
	f     *fleet
	end   atomic.Bool
	wg    sync.WaitGroup
	sold  atomic.Int64
	after atomic.Pointer[time.Time] // acknowledged later than that is wrong
}

func (f *fleet) load(perNode int) *load {
	l := &load{f: f}
	for i, n := range f.nodes {
		for j := range perNode {
			l.wg.Go(func() { l.redeem(n, fmt.Sprint(i, " ", j, " ")) })
		}
	}
	return l
}

func (l *load) redeem(n *testNode, name string) {
	for i := 0; !l.end.Load(); i++ {
		_, err := n.redeem(fmt.Sprint(name, i), "u", 1)
		last := l.after.Load()
		switch {
		case err == nil && last != nil && time.Now().After(*last):
			l.f.t.Errorf("redeemed %s after the answer", time.Since(*last))
		case err == nil:
			l.sold.Add(1)
		case errors.Is(err, models.ErrOfferNotActive), errors.Is(err, models.ErrBudgetHeld), errors.Is(err, models.ErrBudgetExhausted):
		default:
			l.f.t.Error(err)
		}
		time.Sleep(time.Millisecond + rand.N(5*time.Millisecond))
	}
}

func (l *load) stop() {
	l.end.Store(true)
	l.wg.Wait()
}

// slowly makes the store take its time.
func (f *fleet) slowly() {
	f.fail(func(string) error { time.Sleep(rand.N(5 * time.Millisecond)); return nil })
}

// patch changes the offer on the first node, which answers at once or when all have applied it.
func (f *fleet) patch(change func(*models.Offer)) allocator.Applied {
	f.t.Helper()
	start := time.Now()
	applied, err := f.nodes[0].ChangeOffer(f.t.Context(), "o", nil, func(o *models.Offer) error { change(o); return nil }, models.Audit{})
	if err != nil {
		f.t.Fatal(err)
	}
	if took := time.Since(start); took > 1100*time.Millisecond {
		f.t.Errorf("the answer took %s", took)
	}
	return applied
}

func (f *fleet) owners(nodes ...*testNode) (owners []allocator.Owner) {
	for _, n := range nodes {
		owners = append(owners, allocator.Owner{NodeID: n.id, NodeName: "n"})
	}
	slices.SortFunc(owners, func(a, b allocator.Owner) int { return slices.Compare(a.NodeID[:], b.NodeID[:]) })
	return owners
}

func TestAfterAPauseIsAnsweredNothingIsRedeemed(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			setUp := func(o *models.Offer) {
				o.Mode, o.Budget, o.BudgetTarget, o.LeaseSize = mode, 1_000_000, 1_000_000, 1000
			}
			inFleet(t, 3, setUp, func(t *testing.T, f *fleet) {
				f.slowly()
				l := f.load(8)
				for range 3 {
					sold := l.sold.Load()
					time.Sleep(2 * time.Second)
					if l.sold.Load() < sold+1000 {
						t.Errorf("sold %d in two seconds", l.sold.Load()-sold)
					}
					applied := f.patch(func(o *models.Offer) { o.Status = models.StatusPaused })
					now, paused := time.Now(), f.balance()
					l.after.Store(&now)
					if len(applied.Pending) > 0 || !slices.Equal(applied.Applied, f.owners(f.nodes...)) {
						t.Fatalf("applied %v, pending %v", applied.Applied, applied.Pending)
					}
					time.Sleep(2 * time.Second)
					if b := f.balance(); b.Redeemed != paused.Redeemed || b.Outstanding != 0 {
						t.Errorf("booked %d after the answer: %+v", b.Redeemed-paused.Redeemed, b)
					}
					l.after.Store(nil)
					f.patch(func(o *models.Offer) { o.Status = models.StatusActive })
				}
				l.stop()
			})
		})
	}
}

func TestABudgetLoweredUnderLoadComesDownAsLeasesReturn(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			setUp := func(o *models.Offer) {
				o.Mode, o.Budget, o.BudgetTarget, o.LeaseSize = mode, 1_000_000, 1_000_000, 5000
			}
			inFleet(t, 3, setUp, func(t *testing.T, f *fleet) {
				f.slowly()
				l := f.load(8)
				time.Sleep(2 * time.Second)
				spent := f.balance().NetSpent()
				_, err := f.nodes[1].ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.BudgetTarget = spent - 1; return nil }, models.Audit{})
				var below *models.BudgetBelowSpentError
				if !errors.As(err, &below) || below.Minimum < spent {
					t.Errorf("below what is spent: %v", err)
				}
				target := f.balance().NetSpent() + 2500
				applied := f.patch(func(o *models.Offer) { o.BudgetTarget = target })
				if most := applied.Offer.Allocated; applied.Offer.Budget != most || len(applied.Pending) > 0 {
					t.Errorf("%+v", applied)
				}
				time.Sleep(5 * time.Second)
				l.stop()
				time.Sleep(time.Second)
				b := f.balance()
				if b.Budget != max(target, b.NetSpent()) || b.NetSpent() > applied.Offer.Allocated || b.Allocated != b.NetSpent() || b.NetSpent() < target {
					t.Errorf("target %d, then allocated %d: %+v", target, applied.Offer.Allocated, b)
				}
				f.patch(func(o *models.Offer) { o.BudgetTarget = target + 5 })
				if _, err := f.nodes[2].redeem("raised", "u", 1); err != nil {
					t.Errorf("after it was raised again: %v", err)
				}
			})
		})
	}
}

// All nodes act on a change when it is answered, although they hold leases from before.
func TestAChangeReachesAllNodes(t *testing.T) {
	inFleet(t, 3, func(o *models.Offer) { o.Budget, o.BudgetTarget, o.Mode = 1000, 1000, models.ModeAvailable }, func(t *testing.T, f *fleet) {
		two := int64(2)
		limit := func(n *models.Offer) { n.UserLimitUnits = &two }
		f.patch(limit) // before the first redemption
		for i, n := range f.nodes {
			if _, err := n.redeem(fmt.Sprint(i), fmt.Sprint("user ", i), 2); err != nil {
				t.Fatal(err)
			}
			if _, err := n.redeem(fmt.Sprint("more ", i), fmt.Sprint("user ", i), 1); !errors.Is(err, models.ErrUserLimitReached) {
				t.Fatal(err)
			}
		}
		three, ends := int64(3), models.MicrosOf(time.Now().Add(time.Hour))
		applied := f.patch(func(o *models.Offer) {
			o.UserLimitUnits, o.EndsAt, o.LeaseSize, o.LeaseTTLSeconds, o.Mode = &three, &ends, 7, 9, models.ModeStrict
		})
		if len(applied.Pending) > 0 || len(applied.Applied) != 3 || f.balance().LeasesActive != 0 {
			t.Fatalf("%+v", applied)
		}
		for i, n := range f.nodes {
			if _, err := n.redeem(fmt.Sprint("more ", i), fmt.Sprint("user ", i), 1); err != nil {
				t.Errorf("with the limit raised: %v", err)
			}
		}
		leases, err := f.fake.ActiveLeases(t.Context(), "o")
		if err != nil || len(leases) != 3 {
			t.Fatal(len(leases), err)
		}
		for _, l := range leases {
			if l.Mode != models.ModeStrict || l.Granted > 7 || l.TTL() != 9*time.Second {
				t.Errorf("on the old terms: %+v", l)
			}
		}
		start := time.Now()
		renamed := f.patch(func(o *models.Offer) { o.Name = "other" }) // which concerns no lease
		if len(renamed.Pending) > 0 || len(renamed.Applied) != 3 || f.balance().LeasesActive != 3 || time.Since(start) > 0 {
			t.Errorf("after %s: %+v", time.Since(start), renamed)
		}
		if recalled := f.patch(func(o *models.Offer) { o.Recall++ }); len(recalled.Pending) > 0 || f.balance().LeasesActive != 0 || recalled.Offer.Version != renamed.Offer.Version {
			t.Errorf("a recall: %+v", recalled)
		}
	})
}

// A node that is cut off is pending, and what it may still do it does until then at the latest.
func TestANodeThatIsCutOffIsPending(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		setUp := func(o *models.Offer) { o.Mode, o.Budget, o.BudgetTarget, o.LeaseTTLSeconds = mode, 10_000, 10_000, 10 }
		inFleet(t, 3, setUp, func(t *testing.T, f *fleet) {
			f.overspent = true
			cut := f.nodes[2]
			for i, n := range f.nodes {
				for j := range 25 { // with a rest of a lease: a node that has none concerns nobody
					if _, err := n.redeem(fmt.Sprint(i, " ", j), "u", 1); err != nil {
						t.Fatal(err)
					}
				}
			}
			time.Sleep(time.Second)
			cut.link.cut.Store(true)
			time.Sleep(time.Second)
			start := time.Now()
			applied := f.patch(func(o *models.Offer) { o.Status = models.StatusPaused })
			if time.Since(start) < time.Second {
				t.Errorf("it waited only %s", time.Since(start))
			}
			if len(applied.Pending) != 1 || applied.Pending[0].NodeID != cut.id || !slices.Equal(applied.Applied, f.owners(f.nodes[:2]...)) {
				t.Fatalf("%+v", applied)
			}
			until, late := applied.Pending[0].Until.Time(), 0
			if until.Before(time.Now()) || until.After(time.Now().Add(10*time.Second)) {
				t.Errorf("pending until %s", until)
			}
			for i := 0; time.Now().Before(until.Add(5 * time.Second)); i++ {
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
				_, err := cut.Redeem(ctx, "o", allocator.RedeemRequest{Key: fmt.Sprint("cut ", i), UserID: "u", Units: 1})
				cancel()
				if err == nil && time.Now().After(until) {
					t.Errorf("redeemed %s after pending.until", time.Since(until))
				}
				if err == nil {
					late++
				}
				time.Sleep(100 * time.Millisecond)
			}
			if mode == models.ModeFast && late == 0 {
				t.Error("a node that is cut off goes on for a while")
			}
			cut.link.cut.Store(false)
		})
	}
}

// A node that has not heard of a change hears of it with the next lease, pools too: it doesn't spend from that on the old terms, and
// doesn't refund on them either.
func TestALeaseBringsTheTerms(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[1]
		if _, err := n.redeem("a", "u", 10); err != nil {
			t.Fatal(err)
		}
		if _, err := n.redeem("b", "u", 10); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // nothing is leased
		n.link.deaf.Store(true)
		f.patch(func(o *models.Offer) { o.Status, o.RefundRestoresUserLimit = models.StatusPaused, false })
		r, err := n.refund("a", "r", 3)
		if err != nil || r.Refund.RestoresUserLimit {
			t.Errorf("refunded on the old terms: %+v, %v", r, err)
		}
		if _, err := n.redeem("c", "u", 1); !errors.Is(err, models.ErrOfferNotActive) {
			t.Errorf("from the pool: %v", err)
		}
		f.patch(func(o *models.Offer) { o.Status = models.StatusActive })
		if _, err := f.nodes[0].redeem("c", "u", 1); err != nil {
			t.Errorf("on the other node: %v", err)
		}
		n.link.deaf.Store(false)
	})
}

// A's payment failed, and A's unit was the last one. B is on another node.
func TestALastUnitThatComesBackIsSoldOnAnotherNode(t *testing.T) {
	for _, mode := range modes {
		inFleet(t, 2, func(o *models.Offer) { o.Mode, o.Budget, o.BudgetTarget = mode, 1, 1 }, func(t *testing.T, f *fleet) {
			if _, err := f.nodes[0].redeem("A", "a", 1); err != nil {
				t.Fatal(err)
			}
			if _, err := f.nodes[1].redeem("B", "b", 1); !errors.Is(err, models.ErrBudgetExhausted) {
				t.Errorf("%s: %v", mode, err)
			}
			time.Sleep(time.Second)
			if _, err := f.nodes[0].refund("A", "r", 0); err != nil {
				t.Fatal(err)
			}
			_, err := f.nodes[1].redeem("B", "b", 1)
			if errors.Is(err, models.ErrBudgetHeld) {
				time.Sleep(250 * time.Millisecond)
				_, err = f.nodes[1].redeem("B", "b", 1)
			}
			if err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		})
	}
}
