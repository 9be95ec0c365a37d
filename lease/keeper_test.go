package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/internal/storetest"
	"tranche/models"
)

func TestABurstOfThreeBlocksWhileAGrantIsSlow(t *testing.T) {
	inBubble(t, testOffer(100_000, 1000), func(t *testing.T, b *keeperOnFake) {
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(300 * time.Millisecond)
			}
			return nil
		})
		var failed atomic.Int64
		var wg sync.WaitGroup
		for range 3000 {
			wg.Go(func() {
				if err := b.spend(1); err != nil {
					failed.Add(1)
				}
			})
		}
		wg.Wait()
		if failed.Load() != 0 {
			t.Errorf("%d of 3000 were turned away with budget left", failed.Load())
		}
		if got := b.balance(); got.Redeemed != 3000 {
			t.Errorf("redeemed %d", got.Redeemed)
		}
	})
}

func TestAGrantThatFailsOrPanicsDoesNotStopTheNext(t *testing.T) {
	for name, fault := range map[string]func() error{
		"fails":  func() error { return models.ErrLedgerUnavailable },
		"panics": func() error { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, testOffer(10_000, 100), func(t *testing.T, b *keeperOnFake) {
				if err := b.spend(1); err != nil {
					t.Fatal(err)
				}
				var broken atomic.Int64
				b.fail(func(call string) error {
					if call == "Grant" && broken.Add(1) <= 3 {
						return fault()
					}
					return nil
				})
				for i := range 400 { // prefetches break on the way; the block in hand hides it
					if err := b.spend(1); err != nil && !errors.Is(err, models.ErrLedgerUnavailable) {
						t.Fatalf("spend %d: %v", i, err)
					}
					time.Sleep(time.Millisecond)
				}
				if broken.Load() < 3 {
					t.Fatalf("only %d grants were broken", broken.Load())
				}
				if err := b.spend(1); err != nil {
					t.Errorf("after the faults: %v", err)
				}
			})
		})
	}
}

func TestTheNextBlockIsThereBeforeTheCurrentOneIsEmpty(t *testing.T) {
	inBubble(t, testOffer(100_000, 100), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		var waited time.Duration
		for range 1000 { // one every millisecond: a block lasts five times as long as a grant
			start := time.Now()
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			waited += time.Since(start)
			time.Sleep(time.Millisecond)
		}
		if waited != 0 {
			t.Errorf("requests waited %s for grants", waited)
		}
	})
}

func TestARenewalMovesTheDeadline(t *testing.T) {
	inBubble(t, testOffer(1000, 1000), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.settle(block, 1)
		first := time.Now().Add(60*time.Second - Margin(60*time.Second))
		for range 20 { // used all the time
			time.Sleep(4 * time.Second)
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
		}
		if !time.Now().After(first) || block.ExpiredAt(time.Now()) || block.Sealed() {
			t.Errorf("the lease in use was not renewed")
		}
		if got := b.balance(); got.LeasesActive != 1 {
			t.Errorf("%d leases", got.LeasesActive)
		}
	})
}

func TestTheDeadlineIsLookedAtWhileRenewalsFail(t *testing.T) {
	inBubble(t, testOffer(1000, 1000), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		b.fail(func(call string) error { return models.ErrLedgerUnavailable })
		time.Sleep(50 * time.Second)
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatalf("within the lease: %v", err)
		}
		block.Unspend(1)
		time.Sleep(7*time.Second + time.Millisecond) // 57 s is the local end of a lease of 60 s
		if _, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now()); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Errorf("after the deadline: %v", err)
		}
		b.fail(nil)
		time.Sleep(time.Second)
		if err := b.spend(1); err != nil {
			t.Errorf("after the outage: %v", err)
		}
	})
}

func TestAnIdleLeaseGoesBackWhenItExpires(t *testing.T) {
	inBubble(t, testOffer(1000, 100), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		if got := b.balance(); got.Outstanding != 99 || got.Allocated != 100 {
			t.Fatalf("after the first: %+v", got)
		}
		time.Sleep(2 * time.Minute)
		got := b.balance()
		if got.Outstanding != 0 || got.Allocated != 1 || got.LeasesActive != 0 {
			t.Errorf("after two minutes: %+v", got)
		}
		if held(b.keeper) > 0 {
			t.Error("the keeper still holds it")
		}
		b.keeper.leases.Range(func(any, any) bool { t.Error("an offer that nobody redeems stays in memory"); return false })
		if err := b.spend(1); err != nil {
			t.Errorf("and again: %v", err)
		}
	})
}

func TestEverythingIsSoldWhateverTheLeaseSize(t *testing.T) {
	for _, size := range []int64{1, 7, 1000, 1_000_000} {
		inBubble(t, testOffer(500, size), func(t *testing.T, b *keeperOnFake) {
			var sold, short atomic.Int64
			var wg sync.WaitGroup
			for range 800 {
				wg.Go(func() {
					switch err := b.spend(1); {
					case err == nil:
						sold.Add(1)
					case errors.Is(err, ErrShort):
						short.Add(1)
					default:
						t.Errorf("lease size %d: %v", size, err)
					}
				})
			}
			wg.Wait()
			if sold.Load() != 500 || short.Load() != 300 {
				t.Errorf("lease size %d: sold %d, turned away %d", size, sold.Load(), short.Load())
			}
		})
	}
}

func TestARequestLargerThanAnyBlockIsServedInOnePiece(t *testing.T) {
	inBubble(t, testOffer(1000, 100), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		if err := b.spend(700); err != nil {
			t.Errorf("700 of 999: %v", err)
		}
		// What is left is in this node's blocks and in the budget, in pieces too small for the next one.
		if err := b.spend(299); err != nil {
			t.Errorf("the last 299: %v", err)
		}
		if err := b.spend(1); !errors.Is(err, ErrShort) {
			t.Errorf("sold out: %v", err)
		}
	})
}

func TestTwoNodesAreBothAskedForMoreThanEitherHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(time.Now)
		one := newKeeperOnFake(t, fake, testOffer(3000, 1500))
		two := newKeeperOnFake(t, fake, testOffer(3000, 1500))
		for _, b := range []*keeperOnFake{one, two} { // each holds blocks of its own now
			for range 4 {
				if err := b.spend(1); err != nil {
					t.Fatal(err)
				}
			}
		}
		var wg sync.WaitGroup
		var sold atomic.Int64
		for _, b := range []*keeperOnFake{one, two} {
			wg.Go(func() {
				if err := b.spend(2900); err == nil {
					sold.Add(1)
				} else if !errors.Is(err, ErrShort) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := one.balance(); sold.Load() > 1 || got.Redeemed != 8+2900*sold.Load() || got.Redeemed > 3000 {
			t.Errorf("sold %d times: %+v", sold.Load(), got)
		}
		for _, b := range []*keeperOnFake{one, two} {
			b.keeper.Drain(t.Context())
		}
	})
}

func TestAShortageIsNotBelievedForLong(t *testing.T) {
	inBubble(t, testOffer(1, 10), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		var grants atomic.Int64
		b.fail(func(call string) error {
			if call == "Grant" {
				grants.Add(1)
			}
			return nil
		})
		for range 100 {
			if err := b.spend(1); !errors.Is(err, ErrShort) {
				t.Fatal(err)
			}
		}
		if grants.Load() > 1 {
			t.Errorf("%d grants were asked of a sold-out offer at one moment", grants.Load())
		}
		raise := func(o *models.Offer) error { o.BudgetTarget += 5; return nil }
		if _, err := b.fake.ChangeOffer(t.Context(), b.offer.ID, nil, raise, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(shortFor)
		if err := b.spend(5); err != nil {
			t.Errorf("after the budget was raised: %v", err)
		}
	})
}

func TestWhoStopsWaitingGivesBackWhatArrives(t *testing.T) {
	inBubble(t, testOffer(100, 100), func(t *testing.T, b *keeperOnFake) {
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(time.Second)
			}
			return nil
		})
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		if _, err := b.keeper.Spend(ctx, b.offer, 40, time.Now()); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Fatal(err)
		}
		if err := b.spend(100); err != nil {
			t.Errorf("all 100 must still be there: %v", err)
		}
	})
}

// A request can be served at the very moment it gives up.
func TestWhoIsServedWhileGivingUpGivesBack(t *testing.T) {
	inBubble(t, testOffer(100, 100), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 40, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		w := &waiter{offer: b.offer, units: 40, outcome: make(chan served, 1)}
		w.outcome <- served{block: block}
		b.keeper.leasesOf(b.offer.ID).abandon(w)
		if err := b.spend(100); err != nil {
			t.Errorf("all 100 must still be there: %v", err)
		}
	})
}

func TestAPausedOfferIsGrantedNothing(t *testing.T) {
	inBubble(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		pause := func(o *models.Offer) error { o.Status = models.StatusPaused; return nil }
		if _, err := b.fake.ChangeOffer(t.Context(), b.offer.ID, nil, pause, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		var inactive *models.NotActiveError
		if err := b.spend(1); !errors.As(err, &inactive) || inactive.Status != models.StatusPaused {
			t.Errorf("got %v", err)
		}
	})
}

func TestDrainWaitsForWhatIsPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newKeeperOnFake(t, storetest.NewFake(time.Now), testOffer(100, 10))
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			time.Sleep(2 * time.Second)
			b.settle(block, 1)
		}()
		start := time.Now()
		if left := b.keeper.Drain(t.Context()); left != 0 {
			t.Errorf("%d leases left", left)
		}
		if time.Since(start) < 2*time.Second {
			t.Error("returned a lease with units pending")
		}
		if got := b.balance(); got.Allocated != 1 || got.Redeemed != 1 {
			t.Errorf("%+v", got)
		}
		if _, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now()); !errors.Is(err, models.ErrDraining) {
			t.Errorf("after the drain: %v", err)
		}
	})
}

func TestAReclaimedLeaseIsForgotten(t *testing.T) {
	inBubble(t, testOffer(100, 100), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.settle(block, 1)
		if _, did, err := b.fake.CloseLease(t.Context(), b.offer.ID, block.LeaseID, models.LeaseReclaimed, nil); err != nil || !did {
			t.Fatal(did, err)
		}
		second, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now()) // it can't know yet; the fence would refuse the entry
		if err != nil || second != block {
			t.Fatal(second, err)
		}
		time.Sleep(25 * time.Second) // a renewal
		if !block.Sealed() {
			t.Error("a lease that the database knows as closed is still open here")
		}
		block.Unspend(1)
		if err := b.spend(1); err != nil {
			t.Errorf("from the next lease: %v", err)
		}
	})
}
