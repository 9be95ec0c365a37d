package lease

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/models"
)

// gate holds back the replies to grants: each waits until it is let through.
type gate chan struct{}

func (b *keeperOnFake) gate() gate {
	g := make(gate)
	b.fake.After = func(call string) error {
		if call == "Grant" {
			<-g
		}
		return nil
	}
	return g
}

// let lets one reply through, and those it serves go on.
func (g gate) let() {
	g <- struct{}{}
	synctest.Wait()
}

// open lets all replies through from now on.
func (g gate) open() { close(g) }

// crowd is requests that are made one after the other, each with a name.
type crowd struct {
	b    *keeperOnFake
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs map[string]error
}

func (c *crowd) ask(name string, units int64, timeout time.Duration) {
	c.wg.Go(func() {
		ctx, cancel := context.WithTimeout(c.b.t.Context(), timeout)
		defer cancel()
		block, err := c.b.keeper.Spend(ctx, c.b.offer, units, time.Now())
		if err == nil {
			c.b.settle(block, units)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.errs[name] = err
	})
	synctest.Wait()
}

func TestWhoCameLaterIsAskedForNext(t *testing.T) {
	inBubble(t, testOffer(1000, 1), func(t *testing.T, b *keeperOnFake) {
		g := b.gate()
		c := &crowd{b: b, errs: map[string]error{}}
		c.ask("first", 20, time.Minute)
		c.ask("gone 1", 20, 300*time.Millisecond)
		c.ask("gone 2", 20, 300*time.Millisecond)
		for i := range 3 {
			c.ask(fmt.Sprint("asked for ", i), 20, time.Minute)
		}
		g.let() // the second grant asks for five
		c.ask("late 300", 300, time.Minute)
		c.ask("late 40", 40, time.Minute)
		time.Sleep(500 * time.Millisecond) // two of the five hang up
		g.open()
		c.wg.Wait()
		for name, err := range c.errs {
			if gone := name == "gone 1" || name == "gone 2"; (err != nil) != gone {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A grant failed, and meanwhile there is something to spend: units came back.
func TestWhoWaitsIsServedFromWhatCameBackWhenTheGrantFails(t *testing.T) {
	inBubble(t, testOffer(2, 1), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(time.Second)
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		time.AfterFunc(500*time.Millisecond, func() { block.Unspend(1) })
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
	})
}

// A request that finds others waiting queues behind them, even if units have come back that would do for it.
func TestNobodyJumpsTheQueue(t *testing.T) {
	inBubble(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 10, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		g := b.gate()
		c := &crowd{b: b, errs: map[string]error{}}
		c.ask("first", 50, time.Minute)
		block.Unspend(5)
		ol := b.keeper.leasesOf("o")
		w := &waiter{offer: b.offer, units: 5, outcome: make(chan served, 1)}
		if _, done, _ := ol.enqueue(w); done {
			t.Fatal("served before one that waits")
		}
		g.open()
		c.wg.Wait()
		got := <-w.outcome
		if got.err != nil || c.errs["first"] != nil {
			t.Fatal(got.err, c.errs)
		}
		b.settle(got.block, 5)
		block.Unspend(5)
	})
}

func TestTheQueueOfWaitersIsBounded(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(time.Second)
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		ol := b.keeper.leasesOf("o")
		for range maxWaiting {
			if _, done, err := ol.enqueue(&waiter{offer: b.offer, units: 1, outcome: make(chan served, 1)}); done {
				t.Fatal(err)
			}
		}
		start := time.Now()
		if err := b.spend(1); !errors.Is(err, models.ErrOverloaded) || time.Since(start) > 0 {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		time.Sleep(2 * time.Second)
	})
}

// grants records the sizes that were granted.
func (b *keeperOnFake) grants() func() []int64 {
	var mu sync.Mutex
	var sizes []int64
	seen := map[models.ID]bool{}
	b.fake.After = func(call string) error {
		if call != "Grant" {
			return nil
		}
		leases, err := b.fake.ActiveLeases(context.Background(), "o")
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		for _, l := range leases {
			if !seen[l.ID] {
				seen[l.ID] = true
				sizes = append(sizes, l.Granted)
			}
		}
		return nil
	}
	return func() []int64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(sizes)
	}
}

func TestAnAdaptiveBlockFollowsTheRate(t *testing.T) {
	offer := testOffer(1_000_000, 1000)
	offer.Adaptive = true
	inBubble(t, offer, func(t *testing.T, b *keeperOnFake) {
		sizes := b.grants()
		for range 20 * 120 { // 20 a second for two minutes
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		got := sizes()
		last := got[len(got)-1]
		if last < 150 || last > 250 {
			t.Errorf("at 20 units a second a block has %d, which should last for %s: %v", last, horizon, got)
		}
		if len(got) > 60 {
			t.Errorf("%d grants in two minutes: %v", len(got), got)
		}
	})
}

// Half a block is used up before a slow grant has come back.
func TestTheNextBlockIsAskedForInTimeWhenGrantsAreSlow(t *testing.T) {
	inBubble(t, testOffer(1_000_000, 100), func(t *testing.T, b *keeperOnFake) {
		b.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(80 * time.Millisecond)
			}
			return nil
		})
		var waited time.Duration
		for i := range 20_000 { // a block lasts 100 ms
			start := time.Now()
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			if i > 10_000 { // the rate is known by then
				waited += time.Since(start)
			}
			time.Sleep(time.Millisecond)
		}
		if waited > 0 {
			t.Errorf("waited %s for grants in ten seconds", waited)
		}
	})
}

// At the end of a budget, others may be waiting for what would be fetched ahead.
func TestNothingIsFetchedAheadInTheTail(t *testing.T) {
	inBubble(t, testOffer(100, 1000), func(t *testing.T, b *keeperOnFake) {
		sizes := b.grants()
		for i := range 25 { // a quarter of the budget
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if got := sizes(); len(got) != 1 || got[0] != 25 {
				t.Fatalf("after %d of the first 25: %v", i+1, got)
			}
		}
		if err := b.spend(1); err != nil || len(sizes()) != 2 {
			t.Errorf("the next block: %v %v", err, sizes())
		}
	})
}

// While a grant is under way, requests find out without the lock that they need not ask for one.
func TestASpendTakesNoLockWhileAGrantIsUnderWay(t *testing.T) {
	inBubble(t, testOffer(10_000, 100), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		g := b.gate()
		if err := b.spend(60); err != nil { // below low water
			t.Fatal(err)
		}
		synctest.Wait()
		ol := b.keeper.leasesOf("o")
		if !ol.granting.Load() {
			t.Fatal("no grant is under way")
		}
		ol.mu.Lock()
		block := ol.spend(1, time.Now()) // would wait for ever
		ol.mu.Unlock()
		b.settle(block, 1)
		g.open()
	})
}

// What a grant brings goes to those who waited for it, before anybody else can see it: they ask for nothing more.
func TestWhoWaitsIsServedFromTheGrantUnderWay(t *testing.T) {
	inBubble(t, testOffer(10_000, 100), func(t *testing.T, b *keeperOnFake) {
		var grants, looks atomic.Int64
		b.fail(func(call string) error {
			switch call {
			case "Grant":
				grants.Add(1)
				time.Sleep(300 * time.Millisecond)
			case "Balance":
				looks.Add(1)
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				if err := b.spend(1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if grants.Load() != 1 || looks.Load() != 0 {
			t.Errorf("%d grants, and %d looks at the books, for 40 of 100 units", grants.Load(), looks.Load())
		}
	})
}

// Batches are larger, and so fewer, where all spend from the same lease.
func TestYoungerBlocksWaitTheirTurn(t *testing.T) {
	inBubble(t, testOffer(10_000, 100), func(t *testing.T, b *keeperOnFake) {
		spends := func(n int) (from []*Block) {
			for range n {
				block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
				if err != nil {
					t.Fatal(err)
				}
				from = append(from, block)
			}
			return from
		}
		spent := spends(60) // half of the block and more: the next one is fetched
		time.Sleep(100 * time.Millisecond)
		if n := held(b.keeper); n != 2 {
			t.Fatalf("%d leases after 60 of 100 units", n)
		}
		spent = append(spent, spends(41)...)
		for i, block := range spent {
			if (block == spent[0]) != (i < 100) {
				t.Errorf("spend %d is not from the oldest block that has units", i)
			}
			b.settle(block, 1)
		}
	})
}

// What was refunded goes first: a pool that is used up needs no return.
func TestThePoolIsSpentFirst(t *testing.T) {
	inBubble(t, testOffer(10_000, 1000), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(10); err != nil {
			t.Fatal(err)
		}
		opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{
			OfferID: "o", ID: models.NewID(), NodeID: b.keeper.cfg.NodeID, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := NewBlock(&opened, time.Now().Add(time.Minute))
		b.keeper.Adopt(pool, b.offer, time.Now())
		pool.Refund(3)
		for range 3 {
			block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
			if err != nil || block != pool {
				t.Errorf("spent from %v: %v", block, err)
			}
			block.Settled(1)
		}
		if block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now()); err != nil || block == pool {
			t.Errorf("the fourth: %v", err)
		} else {
			block.Unspend(1)
		}
	})
}

// A prefetch that failed is tried again by the next request, at most one at a time.
func TestOneGrantIsUnderWayAtATime(t *testing.T) {
	inBubble(t, testOffer(100_000, 100), func(t *testing.T, b *keeperOnFake) {
		var underWay, most atomic.Int64
		b.fail(func(call string) error {
			if call == "Grant" {
				most.Store(max(most.Load(), underWay.Add(1)))
				time.Sleep(10 * time.Millisecond)
				underWay.Add(-1)
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 500 {
			wg.Go(func() {
				if err := b.spend(1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if most.Load() != 1 {
			t.Errorf("%d grants of one offer at once", most.Load())
		}
	})
}
