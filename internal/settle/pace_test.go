package settle

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tranche/lease"
	"tranche/models"
)

// acknowledge books so many entries, one every so often.
func (b *bench) acknowledge(name string, n int, every time.Duration) {
	b.acknowledgeOn(b.block, name, n, every)
}

func (b *bench) acknowledgeOn(block *lease.Block, name string, n int, every time.Duration) {
	for i := range n {
		if !block.Spend(1, time.Now()) {
			b.t.Error("the block is empty")
			return
		}
		b.settler.Book(&lease.Posting{Block: block, Offer: b.offer, Entry: redeem(fmt.Sprint(name, i))}, hearing(func(v models.Verdict) {
			if v.Err != nil {
				b.t.Error(v.Err)
			}
		}))
		time.Sleep(every)
	}
}

// raise adds to the budget.
func (b *bench) raise(units int64) {
	b.t.Helper()
	if _, err := b.fake.ChangeOffer(b.t.Context(), "o", nil, func(o *models.Offer) error {
		o.Budget, o.BudgetTarget = o.Budget+units, o.BudgetTarget+units
		return nil
	}, models.Audit{}); err != nil {
		b.t.Fatal(err)
	}
}

// bookHold books a hold that was acknowledged.
func (b *bench) bookHold(key string) {
	b.block.Spend(1, time.Now())
	e := redeem(key)
	ends := models.MicrosOf(time.Now().Add(time.Hour))
	e.Kind, e.HoldExpiresAt = models.KindHold, &ends
	b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, hearing(func(models.Verdict) {}))
}

// booked is how many entries the ledger has.
func (b *bench) booked() int64 {
	b.t.Helper()
	balance, err := b.fake.Balance(b.t.Context(), "o")
	if err != nil {
		b.t.Fatal(err)
	}
	return balance.Redeemed
}

const (
	fast = 200 * time.Microsecond // between entries of a burst
	slow = 5 * time.Millisecond
)

func TestABurstOnBusyProcessorsIsSettledAfterIt(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		b.acknowledge("burst", 20_000, fast)
		if got := b.booked(); got > maxBatchEntries { // the first batch goes before it can be seen that there is a burst
			t.Errorf("%d were booked while requests had to wait", got)
		}
		b.busy.Store(false)
		time.Sleep(3 * gatherFor)
		b.check(20_000)
	})
}

// While settling yields, processors are short less often: that is no reason to start.
func TestABurstLastsThoughProcessorsAreShortOnlyNowAndThen(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		for i := range 4 {
			b.busy.Store(true)
			b.acknowledge(fmt.Sprint("short", i, "-"), 500, fast)
			b.busy.Store(false)
			b.acknowledge(fmt.Sprint("spare", i, "-"), 7500, fast)
		}
		if got := b.booked(); got > 4*maxBatchEntries {
			t.Errorf("%d were booked meanwhile", got)
		}
		b.acknowledge("spare", 10_000, fast)
		if got := b.booked(); got < 20_000 {
			t.Errorf("%d were booked, and there are processors to spare", got)
		}
	})
}

// What lasts longer than a burst is settled meanwhile, but not by all lanes at once.
func TestWhileRequestsComeABacklogIsSettledByFewLanes(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		const leases, each = 12, 10_000
		b.raise(leases * each)
		b.busy.Store(true)
		for i := range leases - 1 {
			b.acknowledgeOn(b.grant(each), fmt.Sprint("burst", i, "-"), each, fast/4)
		}
		b.ledger.takes(40 * time.Millisecond)
		before := b.booked()
		b.acknowledgeOn(b.grant(each), "then", each, 9*time.Second/each) // the ten seconds pass
		if got := b.booked() - before; got < 40_000 || got > 60_000 {
			t.Errorf("%d were booked when it had lasted for ten seconds", got)
		}
		if n := b.ledger.atOnce(); n > backlogsAtOnce+1 { // one may be of the lease in use, which is no backlog
			t.Errorf("%d batches ran at once while requests came", n)
		}
		b.settler.running.Wait()
		if n := b.ledger.atOnce(); n < bookingsAtOnce {
			t.Errorf("%d batches ran at once when none came any more", n)
		}
	})
}

// With a database so slow that a transaction takes longer than calm has to last, what lasts is kept up with all the same.
func TestSlowTransactionsAreNotTakenForCalm(t *testing.T) {
	inBubble(t, 1_000_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		b.acknowledge("first", 11*2000, 500*time.Microsecond)
		b.ledger.takes(1200 * time.Millisecond)
		before := b.booked()
		b.acknowledge("then", 20*2000, 500*time.Microsecond)
		if got := b.booked() - before; got < 14*maxBatchEntries {
			t.Errorf("%d were booked in 20 s, by transactions of 1.2 s for %d each", got, maxBatchEntries)
		}
		b.ledger.takes(0)
	})
}

// A burst on an offer with small leases leaves hundreds of queues. They must not take all connections when it is over, at once.
func TestAfterABurstBookingsTakeTurns(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *bench) {
		const leases, each = 100, 1000
		b.raise(leases * each)
		b.ledger.takes(20 * time.Millisecond)
		b.busy.Store(true)
		b.acknowledge("before", 100, fast)
		blocks := make([]*lease.Block, leases)
		for i := range blocks {
			blocks[i] = b.grant(each)
			b.acknowledgeOn(blocks[i], fmt.Sprint("burst", i, "-"), each, fast/4)
		}
		b.busy.Store(false)
		for range 20 {
			began := time.Now()
			if _, err := b.redeem(fmt.Sprint(began.UnixNano()), time.Second); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*20*time.Millisecond { // one may be under way
				t.Errorf("a request waited for %s behind what nobody waits for", took)
			}
		}
		b.settler.running.Wait()
		if n := b.ledger.atOnce(); n > bookingsAtOnce+1 {
			t.Errorf("%d batches ran at once", n)
		}
		for _, block := range blocks {
			if block.Pending() > 0 {
				t.Fatalf("%d of a lease are pending", block.Pending())
			}
		}
	})
}

// What was kept back, or is left of an outage, may be a lot. Whoever waits for an answer, or is going to confirm a hold, must not stand
// behind it.
func TestABacklogIsOvertaken(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		const commit = 20 * time.Millisecond
		b.ledger.takes(commit)
		b.block.Mode = models.ModeAvailable
		b.acknowledge("backlog", 20_000, 0)
		began := time.Now()
		if _, err := b.redeem("waits", 5*time.Second); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*commit {
			t.Errorf("a request waited for %s", took)
		}
		b.bookHold("hold")
		time.Sleep(2*commit + time.Millisecond)
		balance, err := b.fake.Balance(t.Context(), "o")
		if err != nil || balance.Held != 1 {
			t.Errorf("%d are held (%v)", balance.Held, err)
		}
		if balance.Redeemed > 19_000 {
			t.Errorf("%d are booked already: there was no backlog", balance.Redeemed)
		}
		b.settler.running.Wait()
		b.check(20_001)
	})
}

// When all connections are in use, more and smaller transactions would be the worst answer.
func TestABatchThatFoundNoConnectionIsNotDivided(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *bench) {
		crowded := time.Now().Add(10 * time.Second)
		b.ledger.before = func(models.Batch) error {
			if time.Now().Before(crowded) {
				time.Sleep(4 * time.Second)
				return models.ErrOverloaded
			}
			return nil
		}
		b.acknowledge("owed", 100, 0)
		if _, err := b.redeem("waits", 5*time.Second); !errors.Is(err, models.ErrOverloaded) {
			t.Errorf("want ErrOverloaded: %v", err)
		}
		b.settler.running.Wait()
		if n := b.ledger.attempts(); n > 5 {
			t.Errorf("%d attempts", n)
		}
		b.check(100)
	})
}

// Whoever waits is admitted however much is acknowledged and kept back, and does not wait with it.
func TestABacklogTurnsNobodyAway(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		b.acknowledge("burst", 2*maxQueued, fast/4)
		before, began := b.booked(), time.Now()
		if _, err := b.redeem("waits", 5*time.Second); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); before > 4*maxBatchEntries || took > 0 {
			t.Errorf("waited for %s, and %d of the burst were booked before", took, before)
		}
	})
}

// Whoever has taken a hold will soon confirm or cancel it, on any node, and that needs its entry.
func TestABurstOfHoldsIsSettledMeanwhile(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		for i := range 2000 {
			b.bookHold(fmt.Sprint(i))
			time.Sleep(fast)
		}
		balance, err := b.fake.Balance(t.Context(), "o")
		if err != nil || balance.Held < 1500 {
			t.Errorf("%d of 2000 are held (%v)", balance.Held, err)
		}
		b.busy.Store(false)
		time.Sleep(2 * gatherFor)
		b.check(0) // redeemed: they are all held
	})
}

// Only redemptions from fast blocks yield: refunds are booked on pools, and in another mode who waits would stand behind them.
func TestOnlyFastBlocksYield(t *testing.T) {
	for name, change := range map[string]func(b *bench){
		"pool":      func(b *bench) { b.block.Kind = models.KindRefundPool },
		"available": func(b *bench) { b.block.Mode = models.ModeAvailable },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 100_000, func(t *testing.T, b *bench) {
				change(b)
				b.busy.Store(true)
				b.acknowledge("burst", 5000, fast)
				if got := b.booked(); got < 4500 {
					t.Errorf("%d of 5000 were booked", got)
				}
			})
		})
	}
}

// A request that was set apart for a lock is not forgotten in a burst: it is tried again when its time apart is over.
func TestWhoIsSetApartIsNotForgottenInABurst(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		free := time.Now().Add(2500 * time.Millisecond)
		b.stuck(func(w models.Wanted) bool { return w.IdempotencyKey == "stuck" && time.Now().Before(free) })
		if _, err := b.redeem("stuck", 5*time.Second); err == nil {
			t.Error("redeemed over a lock")
		}
		b.busy.Store(true)
		var crowd sync.WaitGroup
		crowd.Go(func() { b.acknowledge("burst", 30_000, fast) })
		time.Sleep(600 * time.Millisecond)
		if _, err := b.redeem("stuck", apartFor); err != nil { // the party runs apart until that long after it was told apart
			t.Error("the lock is gone:", err)
		}
		crowd.Wait()
	})
}

// What was put back because a transaction failed counts as before, or nothing would ever yield again, or everything.
func TestWhatIsPutBackCountsAsBefore(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		failing := time.Now().Add(2 * time.Second)
		b.ledger.before = func(models.Batch) error {
			if time.Now().Before(failing) {
				return models.ErrLedgerUnavailable
			}
			return nil
		}
		for i := range 10 {
			b.bookHold(fmt.Sprint("hold", i))
		}
		time.Sleep(5 * time.Second)
		b.check(0)
		b.busy.Store(true)
		b.acknowledge("burst", 5000, fast)
		if got := b.booked(); got > maxBatchEntries {
			t.Errorf("%d were booked in a burst after all holds were", got)
		}
		b.busy.Store(false)
	})
}

// Calm is what looks have seen, each for the time since the one before. A transaction that takes long keeps others from looking.
func TestABurstIsNewOnlyAfterCalm(t *testing.T) {
	var b burst
	now := time.Now()
	look := func(passed time.Duration, many, busy bool) {
		now = now.Add(passed)
		b.look(now, passed, many, busy)
	}
	look(gatherFor, true, true)
	first := b.since
	look(busyFor+gatherFor, true, false) // many came: the processors may have been short until just now
	look(gatherFor, true, true)
	if b.since != first {
		t.Error("a slow transaction was taken for calm")
	}
	for range 10 {
		look(gatherFor, true, false)
	}
	look(gatherFor, true, true)
	if b.since != first {
		t.Error("half a second was taken for calm")
	}
	look(time.Minute, false, false)
	look(gatherFor, true, true)
	if b.since != now {
		t.Error("after a quiet minute, it is the same burst")
	}
}

func TestABurstIsOverWhenNothingComesAnyMore(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.busy.Store(true) // with something else
		b.acknowledge("burst", 1000, fast)
		time.Sleep(3 * gatherFor)
		b.check(1000)
	})
}

func TestWhatIsNoBurstIsSettledOnBusyProcessorsToo(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		b.acknowledge("some", 400, slow)
		if got := b.booked(); got < 380 {
			t.Errorf("%d of 400 were booked", got)
		}
	})
}

func TestABurstOnIdleProcessorsIsSettledMeanwhile(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *bench) {
		b.acknowledge("burst", 5000, fast)
		if got := b.booked(); got < 4500 {
			t.Errorf("%d of 5000 were booked", got)
		}
	})
}

// What lasts longer than a burst is settled as fast as it comes in, until the processors have been idle for a while.
func TestNothingYieldsForLong(t *testing.T) {
	inBubble(t, 1_000_000, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		perSecond := int(time.Second / fast)
		b.acknowledge("first", 9*perSecond, fast)
		if got := b.booked(); got > maxBatchEntries {
			t.Errorf("%d were booked in the first 9 s", got)
		}
		b.acknowledge("then", 11*perSecond, fast)
		if got := int(b.booked()); got < 19*perSecond {
			t.Errorf("%d were booked after 20 s, of %d", got, 20*perSecond)
		}
		b.busy.Store(false) // for a moment, which is no end
		b.acknowledge("idle", perSecond/10, fast)
		b.busy.Store(true)
		b.acknowledge("on", perSecond, fast)
		if got := int(b.booked()); got < 20*perSecond {
			t.Errorf("%d were booked after 21 s, of %d", got, 21*perSecond)
		}
		time.Sleep(2 * calmFor)
		before := b.booked()
		b.acknowledge("another", perSecond, fast)
		if got := b.booked() - before; got > maxBatchEntries {
			t.Errorf("%d of another burst were booked meanwhile", got)
		}
	})
}

func TestANodeKeepsOnlySoManyEntriesBack(t *testing.T) {
	inBubble(t, 2*maxYielding, func(t *testing.T, b *bench) {
		b.busy.Store(true)
		for range 4 {
			b.acknowledge(fmt.Sprint(time.Now()), maxYielding/2, fast/10)
			// It looks once in gatherFor.
			if owed := b.settler.owed.Load(); owed > maxYielding+2*int64(gatherFor/(fast/10)) {
				t.Errorf("%d are kept back", owed)
			}
		}
	})
}

func TestWhatEndsTheYielding(t *testing.T) {
	for name, end := range map[string]func(t *testing.T, b *bench){
		"a recall": func(_ *testing.T, b *bench) {
			b.block.Hurry()
			time.Sleep(2 * gatherFor)
		},
		"a drain": func(t *testing.T, b *bench) { b.settler.Stop(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 100_000, func(t *testing.T, b *bench) {
				b.busy.Store(true)
				var crowd sync.WaitGroup
				crowd.Go(func() { b.acknowledge("burst", 2000, fast) })
				time.Sleep(200 * time.Millisecond)
				synctest.Wait()
				before := b.booked()
				end(t, b)
				if got := b.booked(); before > 300 || got < 900 {
					t.Errorf("%d were booked before, %d after", before, got)
				}
				crowd.Wait()
			})
		})
	}
}
