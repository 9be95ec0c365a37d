package allocator_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func TestARetriedSuccessNeverHearsSoldOut(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		for i := range 100 {
			if _, err := f.nodes[0].redeem(fmt.Sprint(i), "u", 1); err != nil {
				t.Fatal(i, err)
			}
		}
		for _, n := range f.nodes {
			if _, err := n.redeem("new", "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
				t.Errorf("sold out: %v", err)
			}
			if r, err := n.redeem("99", "u", 1); err != nil || !r.Replayed {
				t.Errorf("the retry of the last success: %+v, %v", r, err)
			}
			if _, err := n.redeem("99", "other", 1); !errors.Is(err, models.ErrKeyReused) {
				t.Errorf("its key for another user: %v", err)
			}
		}
	})
}

func TestARetriedSuccessIsAnsweredWhateverBecameOfTheOffer(t *testing.T) {
	end := func(o *models.Offer) { o.Status = models.StatusEnded }
	pause := func(o *models.Offer) { o.Status = models.StatusPaused }
	for _, change := range []func(*models.Offer){pause, end} {
		inFleet(t, 2, limitOne, func(t *testing.T, f *fleet) {
			if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
				t.Fatal(err)
			}
			f.change(change)
			for _, n := range f.nodes {
				if _, err := n.redeem("b", "v", 1); !errors.Is(err, models.ErrOfferNotActive) {
					t.Errorf("a new one: %v", err)
				}
				if r, err := n.redeem("a", "u", 1); err != nil || !r.Replayed {
					t.Errorf("the retry: %+v, %v", r, err)
				}
			}
			if r, err := f.nodes[1].refund("a", "r", 0); err != nil || r.Refund.Units != 1 {
				t.Errorf("a refund afterwards: %+v, %v", r, err)
			}
		})
	}
}

func TestTheSameCheckoutAtOnceCountsOnce(t *testing.T) {
	inFleet(t, 3, limitOne, func(t *testing.T, f *fleet) {
		var first atomic.Int64
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				r, err := f.nodes[i%3].redeem("a", "u", 1)
				if err != nil {
					t.Error(err)
				}
				if !r.Replayed {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if b := f.balance(); b.Redeemed != 1 || first.Load() != 1 {
			t.Errorf("redeemed %d, called new %d times", b.Redeemed, first.Load())
		}
	})
}

// The first holds the last unit; its duplicate must hear of that success, not that there is none left.
func TestADuplicateOfTheLastUnitUnderWay(t *testing.T) {
	inFleet(t, 1, func(o *models.Offer) { o.Budget, o.BudgetTarget = 1, 1 }, func(t *testing.T, f *fleet) {
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(time.Second) // so that the second request comes while the first is under way
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestAUserLimitHoldsOverNodes(t *testing.T) {
	inFleet(t, 3, limitOne, func(t *testing.T, f *fleet) {
		var won, lost atomic.Int64
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				_, err := f.nodes[i%3].redeem(fmt.Sprint(i), "u", 1)
				var limit *models.UserLimitError
				switch {
				case err == nil:
					won.Add(1)
				case errors.As(err, &limit) && limit.Usage.Redemptions == 1:
					lost.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 || lost.Load() != 29 {
			t.Errorf("%d won, %d lost", won.Load(), lost.Load())
		}
	})
}

func TestAThousandUnitsForFiveThousandUsers(t *testing.T) {
	inFleet(t, 3, func(o *models.Offer) { limitOne(o); o.Budget, o.BudgetTarget, o.LeaseSize = 1000, 1000, 100 }, func(t *testing.T, f *fleet) {
		var sold, turnedAway atomic.Int64
		var wg sync.WaitGroup
		for i := range 5000 {
			wg.Go(func() {
				_, err := f.nodes[i%3].redeem(fmt.Sprint(i), fmt.Sprint("user", i), 1)
				switch {
				case err == nil:
					sold.Add(1)
				case errors.Is(err, models.ErrBudgetExhausted), errors.Is(err, models.ErrBudgetHeld):
					turnedAway.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if b := f.balance(); sold.Load() != 1000 || b.Redeemed != 1000 || b.Allocated != 1000 || turnedAway.Load() != 4000 {
			t.Errorf("sold %d, turned away %d, books %+v", sold.Load(), turnedAway.Load(), b)
		}
	})
}

func TestUnitsHeldByAnotherNodeAreNotCalledExhausted(t *testing.T) {
	inFleet(t, 2, func(o *models.Offer) { o.Budget, o.BudgetTarget = 10, 10 }, func(t *testing.T, f *fleet) {
		block, err := f.nodes[0].keeper.Spend(t.Context(), &models.Offer{ID: "o"}, 10, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("a", "u", 1); !errors.Is(err, models.ErrBudgetHeld) {
			t.Errorf("with 10 held by the other node: %v", err)
		}
		block.Unspend(10)
		if _, err := f.nodes[0].redeem("b", "u", 10); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) // longer than a balance is good for
		if _, err := f.nodes[1].redeem("a", "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
			t.Errorf("with all redeemed: %v", err)
		}
	})
}

func TestSoldOutGoesAway(t *testing.T) {
	sellAll := func(t *testing.T, f *fleet) {
		t.Helper()
		if _, err := f.nodes[0].redeem("all", "u", 100); err != nil {
			t.Fatal(err)
		}
		for _, n := range f.nodes {
			if _, err := n.redeem("more", "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
				t.Fatal(err)
			}
		}
	}
	t.Run("when the budget is raised", func(t *testing.T) {
		inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
			sellAll(t, f)
			f.change(func(o *models.Offer) { o.BudgetTarget = 105 })
			for i, n := range f.nodes {
				if _, err := n.redeem(fmt.Sprint(i), "u", 2); err != nil {
					t.Error(err)
				}
			}
		})
	})
	t.Run("when a refund arrives, at once on its node", func(t *testing.T) {
		inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
			sellAll(t, f)
			if _, err := f.nodes[1].refund("all", "r", 3); err != nil {
				t.Fatal(err)
			}
			if _, err := f.nodes[1].redeem("b", "u", 3); err != nil {
				t.Error(err)
			}
		})
	})
	t.Run("when a refund arrives, on the others as soon as its pool is called back", func(t *testing.T) {
		inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
			sellAll(t, f)
			if _, err := f.nodes[1].refund("all", "r", 3); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // longer than "sold out" may be remembered
			if _, err := f.nodes[0].redeem("b", "u", 3); err != nil && !errors.Is(err, models.ErrBudgetHeld) {
				t.Error(err)
			} else if err != nil {
				time.Sleep(time.Second) // what was called back has come by then
				_, err = f.nodes[0].redeem("b", "u", 3)
				if err != nil {
					t.Error(err)
				}
			}
		})
	})
}

func TestRefunds(t *testing.T) {
	inFleet(t, 2, limitOne, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("a", "u", 10); err != nil {
			t.Fatal(err)
		}
		var refunded atomic.Int64
		var wg sync.WaitGroup
		for i := range 20 { // ten refunds of 3, each asked for on both nodes
			wg.Go(func() {
				r, err := f.nodes[i%2].refund("a", fmt.Sprint("r", i/2), 3)
				var exceeds *models.RefundExceedsError
				switch {
				case err == nil && !r.Replayed:
					refunded.Add(r.Refund.Units)
				case err == nil:
				case !errors.As(err, &exceeds) || exceeds.Remaining >= 3:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if b := f.balance(); refunded.Load() != 9 || b.Refunded != 9 {
			t.Errorf("refunded %d, booked %d", refunded.Load(), b.Refunded)
		}
		if _, err := f.nodes[0].redeem("b", "u", 1); !errors.Is(err, models.ErrUserLimitReached) {
			t.Errorf("a redemption with units left counts: %v", err)
		}
		if r, err := f.nodes[1].refund("a", "rest", 0); err != nil || r.Refund.Units != 1 || r.Redemption.Remaining() != 0 {
			t.Errorf("all that is left: %+v, %v", r, err)
		}
		if _, err := f.nodes[0].refund("a", "more", 0); !errors.Is(err, models.ErrRefundExceeds) {
			t.Errorf("nothing is left: %v", err)
		}
		if _, err := f.nodes[0].redeem("b", "u", 1); err != nil {
			t.Errorf("the user's redemption came back with its last unit: %v", err)
		}
		if _, err := f.nodes[0].refund("nothing", "r", 0); !errors.Is(err, models.ErrRedemptionNotFound) {
			t.Error(err)
		}
	})
}

// A refund gives back exactly what the offer's policy says.
func TestTheRefundPolicyIsKept(t *testing.T) {
	for _, policy := range []struct{ budget, limit bool }{{true, true}, {true, false}, {false, true}, {false, false}} {
		setUp := func(o *models.Offer) {
			limitOne(o)
			o.Budget, o.BudgetTarget, o.RefundRestoresBudget, o.RefundRestoresUserLimit = 1, 1, policy.budget, policy.limit
		}
		inFleet(t, 2, setUp, func(t *testing.T, f *fleet) {
			if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
				t.Fatal(err)
			}
			r, err := f.nodes[1].refund("a", "r", 0)
			if err != nil || r.Refund.RestoresBudget != policy.budget || r.Refund.RestoresUserLimit != policy.limit {
				t.Errorf("%+v: refunded %+v, %v", policy, r.Refund, err)
			}
			_, err = f.nodes[1].redeem("again", "u", 1)
			switch {
			case !policy.budget && !errors.Is(err, models.ErrBudgetExhausted):
				t.Errorf("%+v: a unit that the budget did not get back: %v", policy, err)
			case policy.budget && !policy.limit && !errors.Is(err, models.ErrUserLimitReached):
				t.Errorf("%+v: a limit that the user did not get back: %v", policy, err)
			case policy.budget && policy.limit && err != nil:
				t.Errorf("%+v: %v", policy, err)
			}
			if b := f.balance(); !policy.budget && (b.Forfeited != 1 || b.NetSpent() != 1) {
				t.Errorf("%+v: %+v", policy, b)
			}
		})
	}
}

func TestAPoolThatWasReclaimedIsReplaced(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		for _, key := range []string{"a", "b"} {
			if _, err := n.redeem(key, "u", 5); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.refund("a", "r", 2); err != nil {
			t.Fatal(err)
		}
		pool := n.keeper.Pool("o")
		if _, did, err := f.fake.CloseLease(t.Context(), "o", pool.LeaseID, models.LeaseReclaimed, nil); err != nil || !did {
			t.Fatal(did, err)
		}
		if _, err := n.refund("b", "r", 2); err != nil {
			t.Error(err)
		}
		if b := f.balance(); b.Refunded != 4 {
			t.Errorf("%+v", b)
		}
	})
}

func TestAPoolThatReachesTheLeaseSizeIsReturned(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		if _, err := n.redeem("a", "u", 50); err != nil {
			t.Fatal(err)
		}
		if _, err := n.refund("a", "r1", 30); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // for the keeper to return it
		if b := f.balance(); b.Allocated-b.Outstanding != 20 || n.keeper.Pool("o") != nil {
			t.Errorf("the pool of 30 was not returned: %+v", b)
		}
		if _, err := n.refund("a", "r2", 1); err != nil {
			t.Fatal(err)
		}
	})
}

func TestTheLedgerAwayIsNeverARefusal(t *testing.T) {
	inFleet(t, 1, limitOne, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
			t.Fatal(err)
		}
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		f.fail(func(string) error { return models.ErrLedgerUnavailable })
		for _, call := range []func() error{
			func() error { _, err := f.nodes[0].redeem("a", "u", 1); return err }, // paused, and perhaps a retry
			func() error { _, err := f.nodes[0].redeem("b", "v", 1); return err },
			func() error { _, err := f.nodes[0].refund("a", "r", 0); return err },
			func() error { _, err := f.nodes[0].refund("unknown", "r", 0); return err },
		} {
			if err := call(); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestASoldOutOfferUnderLoadCostsFewReads(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("all", "u", 100); err != nil {
			t.Fatal(err)
		}
		var calls, grants atomic.Int64
		f.fail(func(call string) error {
			switch call {
			case "Grant":
				grants.Add(1)
			case "Balance", "Histories":
				calls.Add(1)
				time.Sleep(5 * time.Millisecond) // as a database takes
			}
			return nil
		})
		var wg sync.WaitGroup
		for i := range 2000 {
			wg.Go(func() {
				if _, err := f.nodes[0].redeem(fmt.Sprint(i), "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if grants.Load() > 2 || calls.Load() > 20 {
			t.Errorf("2000 refusals cost %d grants and %d reads", grants.Load(), calls.Load())
		}
	})
}

// The books contradict the keeper's memory of a shortage: the request is served, without waiting for that memory to fade.
func TestUnitsThatComeBackWhileARefusalIsPrepared(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("all", "u", 100); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second) // longer than a balance is good for
		f.fail(func(call string) error {
			if call == "Balance" {
				time.Sleep(80 * time.Millisecond) // and in the midst of it the budget is raised
			}
			return nil
		})
		var raise sync.WaitGroup
		raise.Go(func() {
			time.Sleep(40 * time.Millisecond) // half of what reading the balance takes
			f.change(func(o *models.Offer) { o.BudgetTarget = 110 })
		})
		start := time.Now()
		if _, err := f.nodes[0].redeem("a", "u", 10); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > 200*time.Millisecond {
			t.Errorf("took %s", took)
		}
		raise.Wait()
	})
}

func TestARedemptionOutlivesItsLease(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
			t.Fatal(err)
		}
		leases, err := f.fake.ActiveLeases(t.Context(), "o")
		if err != nil || len(leases) == 0 {
			t.Fatal(leases, err)
		}
		for _, l := range leases { // this node is taken for dead
			if _, _, err := f.fake.CloseLease(t.Context(), "o", l.ID, models.LeaseReclaimed, nil); err != nil {
				t.Fatal(err)
			}
		}
		if r, err := f.nodes[0].redeem("b", "u", 1); err != nil || r.Replayed {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestAnOfferActsOnItsWindowByTheDatabaseClock(t *testing.T) {
	opens := func(o *models.Offer) {
		starts, ends := models.MicrosOf(time.Now().Add(time.Minute)), models.MicrosOf(time.Now().Add(2*time.Minute))
		o.StartsAt, o.EndsAt = &starts, &ends
	}
	inFleet(t, 1, opens, func(t *testing.T, f *fleet) {
		var inactive *models.NotActiveError
		if _, err := f.nodes[0].redeem("a", "u", 1); !errors.As(err, &inactive) || inactive.Status != models.StatusScheduled {
			t.Error(err)
		}
		time.Sleep(time.Minute + time.Millisecond) // to the window
		if _, err := f.nodes[0].redeem("a", "u", 1); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Minute) // past the window
		if _, err := f.nodes[0].redeem("b", "u", 1); !errors.As(err, &inactive) || inactive.Status != models.StatusEnded {
			t.Error(err)
		}
	})
}

func TestAnOfferMadeOnAnotherNodeIsKnownAtOnce(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		offer := models.Offer{
			ID: "new", Name: "N", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 5, BudgetTarget: 5,
			Status: models.StatusActive, LeaseSize: 10, LeaseTTLSeconds: 60,
		}
		if _, isNew, err := f.nodes[0].CreateOffer(t.Context(), offer, models.Audit{}); err != nil || !isNew {
			t.Fatal(isNew, err)
		}
		if _, err := f.nodes[1].Redeem(t.Context(), "new", allocator.RedeemRequest{Key: "k", UserID: "u", Units: 5}); err != nil {
			t.Error(err)
		}
		if _, err := f.nodes[1].Redeem(t.Context(), "none", allocator.RedeemRequest{Key: "k", UserID: "u", Units: 1}); !errors.Is(err, models.ErrOfferNotFound) {
			t.Error(err)
		}
	})
}
