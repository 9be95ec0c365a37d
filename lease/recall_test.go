package lease

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/internal/storetest"
	"tranche/models"
)

// recall raises the offer's number in the database, and gives the offer.
func (b *keeperOnFake) recall() *models.Offer {
	b.t.Helper()
	offer, err := b.fake.Recall(b.t.Context(), "o", b.balance().Recall)
	if err != nil {
		b.t.Fatal(err)
	}
	return &offer
}

// A recalled lease is not spent from any more, and goes back as soon as what was spent from it is settled: maintenance need not come by.
func TestARecalledLeaseGoesBackAtOnce(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		offer := b.recall()
		b.keeper.hear(offer, false)
		if block.Spend(1, time.Now()) {
			t.Error("spent from a recalled lease")
		}
		synctest.Wait()
		if got := b.balance(); got.Recalled != 10 {
			t.Errorf("returned with a unit pending: %+v", got)
		}
		b.settle(block, 1)
		synctest.Wait()
		if got := b.balance(); got.LeasesActive != 0 || got.Allocated != 1 {
			t.Errorf("not returned: %+v", got)
		}
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
		b.keeper.hear(offer, false) // again
		if err := b.spend(1); err != nil || b.balance().LeasesActive != 1 {
			t.Errorf("a lease of the new number was recalled, too: %v", err)
		}
		b.keeper.Drain(t.Context())
	})
}

func TestAPoolFromBeforeARecallIsNotSpentFrom(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{OfferID: "o", ID: models.NewID(), NodeID: b.keeper.cfg.NodeID, Epoch: 1, TTLSeconds: 60})
		if err != nil {
			t.Fatal(err)
		}
		pool := NewBlock(&opened, time.Now().Add(time.Minute))
		b.keeper.Adopt(pool, b.recall(), time.Now())
		synctest.Wait()
		if !pool.Sealed() || b.keeper.Pool("o") != nil || b.balance().LeasesActive != 0 {
			t.Error("a recalled pool is open")
		}
		b.keeper.Drain(t.Context())
	})
}

// A lease that had lapsed is known to be recalled before it can be spent from again.
func TestARenewalTellsOfARecall(t *testing.T) {
	inBubble(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.fail(func(call string) error {
			if call == "Renew" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		time.Sleep(59 * time.Second)
		b.recall()
		b.fail(nil)
		for range 100 {
			if block.Spend(1, time.Now()) {
				t.Fatal("spent from a recalled lease")
			}
			time.Sleep(10 * time.Millisecond)
		}
		b.settle(block, 1)
		time.Sleep(time.Second)
		if got := b.balance(); got.LeasesActive != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// The reply to a grant was missing, and meanwhile its leases were recalled.
func TestAGrantFoundAfterARecallIsReturned(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) { // else maintenance might find it before the recall
		b.loseReplies(1, true)
		if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Fatal(err)
		}
		b.recall()
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		leases, err := b.fake.ActiveLeases(t.Context(), "o")
		if err != nil || len(leases) != 1 || leases[0].Recall != 1 {
			t.Errorf("%+v, %v", leases, err)
		}
		b.keeper.Drain(t.Context())
	})
}

// trio is three keepers on one store. What one of them raises, the second hears in a moment, and the third never: it is dead.
func trio(t *testing.T, test func(t *testing.T, asks, alive, dead *keeperOnFake)) {
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(time.Now)
		asks, alive, dead := newKeeperOnFake(t, fake, testOffer(300, 10)), newKeeperOnFake(t, fake, testOffer(300, 10)), newKeeperOnFake(t, fake, testOffer(300, 10))
		fake.After = func(call string) error {
			if call == "Recall" {
				time.AfterFunc(50*time.Millisecond, func() {
					offer, err := fake.Offer(t.Context(), "o")
					if err != nil {
						t.Error(err)
					}
					alive.keeper.hear(&offer, false)
				})
			}
			return nil
		}
		for _, b := range []*keeperOnFake{alive, dead} {
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
		}
		if err := asks.spend(asks.unallocated()); err != nil {
			t.Fatal(err)
		}
		test(t, asks, alive, dead)
		for _, b := range []*keeperOnFake{asks, alive, dead} {
			b.fail(nil)
			b.keeper.Drain(t.Context())
		}
	})
}

func (b *keeperOnFake) unallocated() int64 {
	balance := b.balance()
	return balance.Unallocated()
}

func TestManyWhoWaitRaiseOneRecall(t *testing.T) {
	trio(t, func(t *testing.T, asks, alive, _ *keeperOnFake) {
		var wg sync.WaitGroup
		var sold atomic.Int64
		for range 6 {
			wg.Go(func() {
				if err := asks.spend(1); err == nil {
					sold.Add(1)
				}
			})
		}
		wg.Wait()
		if number := asks.balance().Recall; sold.Load() != 6 || number != 1 {
			t.Errorf("sold %d of 6 after %d recalls", sold.Load(), number)
		}
	})
}

// Units that a dead node was asked for before don't keep others from being asked for theirs.
func TestADeadOwnerDoesNotStopARecall(t *testing.T) {
	trio(t, func(t *testing.T, asks, alive, _ *keeperOnFake) {
		offer := asks.recall()
		alive.keeper.hear(offer, false)
		synctest.Wait()
		block, err := alive.keeper.Spend(t.Context(), alive.offer, 9, time.Now()) // a lease of the new number
		if err != nil {
			t.Fatal(err)
		}
		block.Unspend(9)
		if rest := asks.unallocated(); rest > 0 {
			if err := asks.spend(rest); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second)
		before := asks.balance()
		if before.Outstanding == before.Recalled || before.Recalled == 0 {
			t.Fatalf("%+v", before)
		}
		if err := asks.spend(1); err != nil {
			t.Errorf("%v with %+v", err, before)
		}
	})
}

func TestNobodyIsRecalledForMoreThanThereIs(t *testing.T) {
	trio(t, func(t *testing.T, asks, _, _ *keeperOnFake) {
		start := time.Now()
		if err := asks.spend(100); !errors.Is(err, ErrShort) || time.Since(start) > 0 || asks.balance().Recall > 0 {
			t.Errorf("%v after %s: %+v", err, time.Since(start), asks.balance())
		}
		if err := asks.spend(100); !errors.Is(err, ErrShort) { // from memory
			t.Error(err)
		}
		if err := asks.spend(2); err != nil { // which says nothing about less
			t.Error(err)
		}
	})
}

// Who waits for units that don't come back hears so within the time that is set for it, and others need not wait as long again.
func TestWaitingForUnitsToComeBackIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(time.Now)
		dead, asks := newKeeperOnFake(t, fake, testOffer(10, 10)), newKeeperOnFake(t, fake, testOffer(10, 10))
		block, err := dead.keeper.Spend(t.Context(), dead.offer, 10, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if err := asks.spend(1); !errors.Is(err, ErrShort) || time.Since(start) < recallWithin || time.Since(start) > recallWithin+lookEvery {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		start = time.Now()
		if err := asks.spend(1); !errors.Is(err, ErrShort) || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		if got := asks.balance(); got.Recall != 1 {
			t.Errorf("recalled %d times", got.Recall)
		}
		block.Unspend(10)
		dead.keeper.Drain(t.Context())
		asks.keeper.Drain(t.Context())
	})
}

// One request for more than there is must not cost the others their next block, nor a look at the books each time they spend.
func TestARequestForTooMuchStopsNoPrefetch(t *testing.T) {
	withoutLoops(t, testOffer(10_000, 100), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		if err := b.spend(20_000); !errors.Is(err, ErrShort) {
			t.Fatal(err)
		}
		time.Sleep(shortFor)
		var looks atomic.Int64
		b.fail(func(call string) error {
			switch call {
			case "Grant":
				time.Sleep(10 * time.Millisecond)
			case "Balance":
				looks.Add(1)
			}
			return nil
		})
		for range 1000 {
			start := time.Now()
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 0 {
				t.Errorf("waited %s", took)
			}
			time.Sleep(time.Millisecond)
		}
		if looks.Load() > 1 {
			t.Errorf("looked at the books %d times", looks.Load())
		}
		b.keeper.Drain(t.Context())
	})
}
