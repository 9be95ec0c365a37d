package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/allocator"
	"tranche/models"
)

// A batch ends in the dark, and its client hangs up. Until it is known what became of it, a retry on this node hears that the request
// is under way: neither "not redeemed", nor a final refusal for a reason that came up meanwhile.
func TestARetryWaitsForABatchOfUnknownOutcome(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		var dark atomic.Bool
		dark.Store(true)
		f.fail(func(call string) error {
			if call == "Settle" && dark.Load() {
				return models.ErrOutcomeUnknown
			}
			return nil
		})
		ctx, hangUp := context.WithTimeout(t.Context(), 5*time.Second)
		time.AfterFunc(100*time.Millisecond, hangUp)
		request := allocator.RedeemRequest{Key: "k", UserID: "u", Units: 1}
		if _, err := n.Redeem(ctx, "o", request); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Errorf("the first: %v", err)
		}
		f.change(func(o *models.Offer) { o.Status = models.StatusEnded })
		soon, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := n.Redeem(soon, "o", request); !errors.Is(err, models.ErrRequestInFlight) {
			t.Errorf("the retry: %v", err)
		}
		dark.Store(false)
		if r, err := n.redeem("k", "u", 1); err != nil || !r.Replayed {
			t.Errorf("once it is known: %+v, %v", r, err)
		}
	})
}

// Its grant tells the node of the limit, though no sync has yet.
func TestALimitHoldsOnANodeThatHasNotHeardOfIt(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { limitOne(o); return nil }, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("a", "alice", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("b", "alice", 1); !errors.Is(err, models.ErrUserLimitReached) {
			t.Errorf("a second time: %v", err)
		}
	})
}

func TestADuplicateThatWaitedActsOnTheOfferAsItIs(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		if _, err := n.redeem("warm", "u", 1); err != nil {
			t.Fatal(err)
		}
		var first atomic.Bool
		f.fail(func(call string) error {
			if call == "Settle" && first.CompareAndSwap(false, true) {
				time.Sleep(2 * time.Second)
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = n.redeem("k", "u", 1) })
		synctest.Wait()
		wg.Go(func() {
			if _, err := n.redeem("k", "u", 1); !errors.Is(err, models.ErrOfferNotActive) {
				t.Errorf("two seconds after the pause: %v", err)
			}
		})
		synctest.Wait()
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		wg.Wait()
	})
}

// A node is cut off for longer than a sync looks back, while an admin pauses the offer. When it is back, it renews its lease, and
// must not act on terms that are older than that.
func TestANodeThatWasCutOffHearsOfAChangeBeforeItGoesOn(t *testing.T) {
	setUp := func(o *models.Offer) { o.LeaseTTLSeconds, o.Budget, o.BudgetTarget, o.LeaseSize = 13, 1000, 1000, 30 }
	inFleet(t, 2, setUp, func(t *testing.T, f *fleet) {
		cut := f.nodes[1]
		time.Sleep(500 * time.Millisecond) // just after a read of everything
		for i := range 3 {
			if _, err := cut.redeem(fmt.Sprint("before", i), "u", 1); err != nil {
				t.Fatal(err)
			}
		}
		cut.link.cut.Store(true)
		applied, err := f.nodes[0].ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.Status = models.StatusPaused; return nil }, models.Audit{})
		if err != nil || len(applied.Pending) != 1 {
			t.Fatal(applied, err)
		}
		time.Sleep(10 * time.Second)
		cut.link.cut.Store(false)
		for i := range 20 {
			if _, err := cut.redeem(fmt.Sprint("after", i), "u", 1); err == nil && models.MicrosOf(time.Now()) > applied.Pending[0].Until {
				t.Errorf("redeemed %s after pending.until", models.MicrosOf(time.Now()).Sub(applied.Pending[0].Until))
			}
			time.Sleep(500 * time.Millisecond)
		}
		if _, err := cut.redeem("late", "u", 1); !errors.Is(err, models.ErrOfferNotActive) {
			t.Errorf("in the end: %v", err)
		}
	})
}

func TestAChangeThatWasMadeIsNotCalledUnmade(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.fail(func(call string) error {
			if call == "ActiveLeases" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		_, err := f.nodes[0].ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.Status = models.StatusPaused; return nil }, models.Audit{})
		if !errors.Is(err, models.ErrOutcomeUnknown) || errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
	})
}

func TestAnEndedOfferUnderLoadCostsFewReads(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.change(func(o *models.Offer) { o.Status = models.StatusEnded })
		time.Sleep(2 * time.Minute) // it has left the catalogue
		var reads atomic.Int64
		f.fail(func(call string) error {
			if call == "Offer" || call == "Histories" {
				reads.Add(1)
			}
			return nil
		})
		for i := range 1000 {
			if _, err := f.nodes[0].redeem(fmt.Sprint(i%10), "u", 1); !errors.Is(err, models.ErrOfferNotActive) {
				t.Fatal(err)
			}
			if i == 0 {
				reads.Store(0)
			}
		}
		if reads.Load() > 1010 { // each refusal looks its key up; the offer is known after the first
			t.Errorf("%d reads", reads.Load())
		}
	})
}

// A database too slow for the load must go on answering those whom it can.
func TestLookUpsOfThoseWhoHaveGoneAreNotMade(t *testing.T) {
	inFleet(t, 1, func(o *models.Offer) { o.Status = models.StatusPaused }, func(t *testing.T, f *fleet) {
		f.fail(func(call string) error {
			if call == "Histories" {
				time.Sleep(1900 * time.Millisecond)
			}
			return nil
		})
		var wg sync.WaitGroup
		var answered atomic.Int64
		for second := range 20 {
			for i := range 1000 {
				wg.Go(func() {
					_, err := f.nodes[0].redeem(fmt.Sprint(second, "-", i), "u", 1)
					if errors.Is(err, models.ErrOfferNotActive) && second >= 10 {
						answered.Add(1)
					}
				})
			}
			time.Sleep(time.Second)
		}
		wg.Wait()
		if answered.Load() < 2000 {
			t.Errorf("%d answered in ten seconds, in which 2600 could have been", answered.Load())
		}
	})
}

// While a budget runs out, what an admin changes is known sooner.
func TestTheCatalogueHurriesInTheTail(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		var syncs atomic.Int64
		f.fail(func(call string) error {
			if call == "SyncOffers" {
				syncs.Add(1)
			}
			return nil
		})
		sellFor := func(rounds int, name string) int64 { // one unit every tenth of a second
			syncs.Store(0)
			for i := range rounds {
				_, _ = f.nodes[0].redeem(fmt.Sprint(name, i), "u", 1)
				time.Sleep(100 * time.Millisecond)
			}
			return syncs.Load()
		}
		if n := sellFor(10, "a"); n > 5 {
			t.Errorf("%d syncs in a second with most of the budget left", n)
		}
		if _, err := f.nodes[0].redeem("most", "u", 60); err != nil {
			t.Fatal(err)
		}
		sellFor(5, "b")
		if n := sellFor(10, "c"); n < 15 {
			t.Errorf("%d syncs in a second in the tail", n)
		}
	})
}
