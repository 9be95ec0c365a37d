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
func (b *settlerOnFake) acknowledge(name string, n int, every time.Duration) {
	b.acknowledgeOn(b.block, name, n, every)
}

func (b *settlerOnFake) acknowledgeOn(block *lease.Block, name string, n int, every time.Duration) {
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
		if every > 0 {
			time.Sleep(every)
		}
	}
}

// raise adds to the budget.
func (b *settlerOnFake) raise(units int64) {
	b.t.Helper()
	if _, err := b.fake.ChangeOffer(b.t.Context(), "o", nil, func(o *models.Offer) error {
		o.Budget, o.BudgetTarget = o.Budget+units, o.BudgetTarget+units
		return nil
	}, models.Audit{}); err != nil {
		b.t.Fatal(err)
	}
}

// booked is how many redemptions the ledger has.
func (b *settlerOnFake) booked() int64 {
	b.t.Helper()
	balance, err := b.fake.Balance(b.t.Context(), "o")
	if err != nil {
		b.t.Fatal(err)
	}
	return balance.Redeemed
}

func TestEntriesThatNobodyWaitsForShareTransactions(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		b.acknowledge("a", 100, time.Millisecond)
		time.Sleep(gatherFor)
		if n := b.ledger.attempts(); n != 2 || b.booked() != 100 {
			t.Errorf("%d entries in %d transactions, want 100 in 2", b.booked(), n)
		}
	})
}

func TestGatheringEnds(t *testing.T) {
	for name, end := range map[string]func(b *settlerOnFake){
		"with a request": func(b *settlerOnFake) {
			if _, err := b.redeem("waits", time.Second); err != nil {
				b.t.Error(err)
			}
		},
		"with a full batch": func(b *settlerOnFake) { b.acknowledge("more", maxBatchEntries-1, 0) },
		"with a drain":      func(b *settlerOnFake) { b.settler.Stop(b.t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
				b.acknowledge("a", 1, 0)
				synctest.Wait() // it gathers
				began := time.Now()
				end(b)
				synctest.Wait()
				if took := time.Since(began); took > 0 || b.block.Pending() > 0 {
					t.Errorf("after %s, %d are pending", took, b.block.Pending())
				}
			})
		})
	}
}

// An outage leaves hundreds of queues with a backlog each. When it is over, they must not take all connections at once.
func TestBatchesThatNobodyWaitsForTakeTurns(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		const leases, each, commit = 100, 600, 20 * time.Millisecond
		b.raise(leases * each)
		blocks := make([]*lease.Block, leases)
		for i := range blocks {
			blocks[i] = b.grant(each)
		}
		b.ledger.takes(commit)
		for i, block := range blocks {
			b.acknowledgeOn(block, fmt.Sprint("owed", i, "-"), each, 0)
		}
		for range 20 {
			began := time.Now()
			if _, err := b.redeem(fmt.Sprint(began.UnixNano()), time.Second); err != nil {
				t.Error(err)
			}
			if took := time.Since(began); took > 2*commit { // one may be under way
				t.Errorf("a request waited for %s behind what nobody waits for", took)
			}
		}
		b.settler.running.Wait()
		if n := b.ledger.atOnce(); n != unattendedAtOnce+1 {
			t.Errorf("%d batches ran at once, want %d and the one of requests", n, unattendedAtOnce)
		}
		for _, block := range blocks {
			if block.Pending() > 0 {
				t.Fatalf("%d of a lease are pending", block.Pending())
			}
		}
	})
}

// In an outage of the database, the batches of all leases may be of unknown outcome. They must not take all connections when it is back.
func TestRepeatsTakeTurns(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		const leases = 40
		b.raise(leases)
		blocks := make([]*lease.Block, leases)
		for i := range blocks {
			blocks[i] = b.grant(1)
		}
		b.ledger.after = func(models.Batch) error { return models.ErrOutcomeUnknown }
		var wg sync.WaitGroup
		for i, block := range blocks {
			block.Spend(1, time.Now())
			wg.Go(func() {
				p := lease.Posting{Block: block, Offer: b.offer, Entry: redeem(fmt.Sprint(i))}
				if _, err := b.settler.Settle(t.Context(), p, nil); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait() // all first attempts ended
		b.ledger.mu.Lock()
		b.ledger.after, b.ledger.slow, b.ledger.most = nil, time.Second, 0
		b.ledger.mu.Unlock()
		wg.Wait()
		if n := b.ledger.atOnce(); n != unattendedAtOnce {
			t.Errorf("%d repeats ran at once", n)
		}
	})
}

// An outage may leave a long backlog. Requests must not stand behind it.
func TestABacklogIsOvertaken(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *settlerOnFake) {
		const commit = 20 * time.Millisecond
		b.ledger.takes(commit)
		b.acknowledge("backlog", 2*maxQueued, 0)
		began := time.Now()
		if _, err := b.redeem("waits", 5*time.Second); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took > 2*commit {
			t.Errorf("a request waited for %s", took)
		}
		if n := b.booked(); n > maxQueued {
			t.Errorf("%d are booked already: there was no backlog", n)
		}
		b.settler.running.Wait()
		b.check(2*maxQueued + 1)
	})
}

func TestANodeOwesOnlySoMuch(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.settler.owed.Store(maxOwed - 3)
		b.acknowledge("owed", 2, 0)
		if b.settler.Overloaded() {
			t.Error("overloaded below the bound")
		}
		b.acknowledge("one more", 1, 0)
		if !b.settler.Overloaded() {
			t.Error("not overloaded at the bound")
		}
		time.Sleep(2 * gatherFor)
		if b.settler.Overloaded() || b.settler.owed.Load() != maxOwed-3 {
			t.Errorf("%d are owed after all were booked", b.settler.owed.Load()-maxOwed+3)
		}
		b.settler.owed.Store(0)
	})
}

// When all connections are in use, more and smaller transactions would be the worst answer.
func TestABatchThatFoundNoConnectionIsNotDivided(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
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

// A request that was set apart for a lock is tried again in time, though there is always something else to do.
func TestASubmissionThatIsSetApartIsNotForgotten(t *testing.T) {
	inBubble(t, 100_000, func(t *testing.T, b *settlerOnFake) {
		free := time.Now().Add(2500 * time.Millisecond)
		b.stuck(func(w models.Wanted) bool { return w.IdempotencyKey == "stuck" && time.Now().Before(free) })
		if _, err := b.redeem("stuck", 5*time.Second); err == nil {
			t.Error("redeemed over a lock")
		}
		var crowd sync.WaitGroup
		crowd.Go(func() { b.acknowledge("crowd", 30_000, 200*time.Microsecond) })
		time.Sleep(600 * time.Millisecond)
		if _, err := b.redeem("stuck", apartFor); err != nil { // the party runs apart until that long after it was told apart
			t.Error("the lock is gone:", err)
		}
		crowd.Wait()
	})
}

// Each batch of a lease has the next number, also when the queue was empty meanwhile, and after a restart.
func TestBatchNumbersLiveAsLongAsTheLease(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		for i := range 3 {
			if _, err := b.redeem(fmt.Sprint(i), time.Second); err != nil {
				t.Error(err)
			}
			synctest.Wait()
			if n := len(b.settler.queues); n != 0 {
				t.Fatalf("%d queues are kept, and all are empty", n)
			}
		}
		leases, err := b.fake.LeaseStates(t.Context(), "o", []models.ID{b.block.LeaseID})
		if err != nil || leases[0].Batch != 3 {
			t.Fatal(leases, err)
		}
		b.block = lease.NewBlock(&leases[0], time.Now().Add(time.Hour)) // as after a restart
		if _, err := b.redeem("after", time.Second); err != nil {
			t.Error(err)
		}
		if n := b.ledger.attempts(); n != 4 {
			t.Errorf("4 redemptions took %d attempts", n)
		}
		b.check(4)
	})
}
