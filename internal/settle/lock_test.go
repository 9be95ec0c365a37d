package settle

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

	"tranche/lease"
	"tranche/models"
)

// The times of a database in trouble: one lock wait, and a commit that is slow but not stuck.
const (
	lockWait   = 2 * time.Second
	slowCommit = 14 * time.Millisecond
)

// stuck makes the ledger as slow as it really is when somebody holds one of these locks. It gives how many attempts met one.
func (b *settlerOnFake) stuck(holds func(models.Wanted) bool) *atomic.Int64 {
	var met atomic.Int64
	b.ledger.before = func(batch models.Batch) error {
		for _, w := range batch.Wanted {
			if holds(w) {
				met.Add(1)
				time.Sleep(lockWait)
				return models.ErrBusy
			}
		}
		time.Sleep(slowCommit)
		return nil
	}
	return &met
}

func key(key string) func(models.Wanted) bool {
	return func(w models.Wanted) bool { return w.IdempotencyKey == key }
}

func TestOneStuckRowHoldsUpNobodyElse(t *testing.T) {
	for _, place := range []int{0, 17, 63} {
		inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
			b.stuck(key(fmt.Sprint(place)))
			var wg sync.WaitGroup
			for i := range 64 {
				wg.Go(func() {
					_, err := b.redeem(fmt.Sprint(i), 5*time.Second)
					if stuck := i == place; stuck && !errors.Is(err, models.ErrBusy) || !stuck && err != nil {
						t.Errorf("stuck %d, got %d: %v", place, i, err)
					}
				})
			}
			for i := range 9 { // and those who come while the lane is slow
				time.Sleep(time.Second)
				wg.Go(func() {
					if _, err := b.redeem(fmt.Sprint("later", i), 5*time.Second); err != nil {
						t.Errorf("stuck %d, came %d s later: %v", place, i+1, err)
					}
				})
			}
			wg.Wait()
			b.settler.running.Wait()
			b.check(63 + 9)
		})
	}
}

func TestAStuckUserIsOnePartyWhereUsersAreLimited(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		limit := int64(1000)
		b.offer.UserLimitUnits = &limit
		met := b.stuck(func(w models.Wanted) bool { return w.UserID == "u" })
		redeem := func(user, key string) error {
			b.block.Spend(1, time.Now())
			e := redeem(key)
			e.UserID = user
			_, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, nil)
			return err
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := redeem("u", fmt.Sprint("u", i)); !errors.Is(err, models.ErrBusy) {
					t.Error("the stuck user:", err)
				}
			})
			synctest.Wait()
			wg.Go(func() {
				if err := redeem(fmt.Sprint(i), fmt.Sprint(i)); err != nil {
					t.Error(i, err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		// The first was alone with the lock, and the nine after it were set apart together.
		if met.Load() != 2 {
			t.Errorf("waited for the same lock %d times", met.Load())
		}
		b.check(10)
	})
}

func TestOfALargeBatchOnlyThePieceOfTheStuckOneMayRunOutOfTime(t *testing.T) {
	inBubble(t, 600, func(t *testing.T, b *settlerOnFake) {
		met := b.stuck(key("170"))
		var lost atomic.Int64
		var wg sync.WaitGroup
		for i := range 449 {
			wg.Go(func() {
				if _, err := b.redeem(fmt.Sprint(i), 5*time.Second); err != nil {
					lost.Add(1)
				}
			})
			if i == 0 {
				synctest.Wait() // the first is under way alone: a batch of 448, in pieces of 7
			}
		}
		time.Sleep(500 * time.Millisecond)
		if _, err := b.redeem("later", 5*time.Second); err != nil {
			t.Error("came later, and has to wait for the stuck piece to be told apart:", err)
		}
		wg.Wait()
		b.settler.running.Wait()
		if n := lost.Load(); n < 1 || n > 7 {
			t.Errorf("%d were lost with the stuck one", n-1)
		}
		if met.Load() > 3 {
			t.Errorf("waited for the lock %d times", met.Load())
		}
		b.check(450 - lost.Load())
	})
}

// A checkout that retries on behalf of the stuck user again and again costs the others a lock wait now and then, and no request.
func TestTheNextEntriesOfAStuckPartyRunApart(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		b.stuck(key("stuck"))
		var wg sync.WaitGroup
		for i := range 200 { // 20 s
			if i%5 == 0 {
				wg.Go(func() {
					if _, err := b.redeem("stuck", 5*time.Second); err == nil {
						t.Error("redeemed over a lock")
					}
				})
			}
			wg.Go(func() {
				if _, err := b.redeem(fmt.Sprint(i), 5*time.Second); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			})
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		b.settler.running.Wait()
		b.check(200)
	})
}

func TestWhatWasAcknowledgedOutlastsALock(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		free := time.Now().Add(20 * time.Second)
		b.stuck(func(w models.Wanted) bool { return w.IdempotencyKey == "7" && time.Now().Before(free) })
		var booked atomic.Int64
		for i := range 20 {
			b.block.Spend(1, time.Now())
			b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem(fmt.Sprint(i))}, hearing(func(v models.Verdict) {
				booked.Add(1)
				if v.Err != nil {
					t.Error(i, v.Err)
				}
			}))
		}
		time.Sleep(5 * time.Second)
		if booked.Load() != 19 {
			t.Errorf("%d of the 19 others are booked", booked.Load())
		}
		time.Sleep(25 * time.Second)
		if booked.Load() != 20 {
			t.Error("the lock is gone, and the entry is not booked")
		}
		b.settler.running.Wait()
		b.check(20)
	})
}

// The requester has heard that the outcome is unknown; when the attempt has certainly failed, its entry must not be tried again.
func TestAnEntryWhoseTimeEndedDuringAFailedAttemptIsDropped(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.stuck(func(models.Wanted) bool { return b.ledger.attempts() == 2 })
		var decided atomic.Bool
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.redeem("before them", time.Second) })
		synctest.Wait()
		for _, timeout := range []time.Duration{time.Second, 5 * time.Second} {
			wg.Go(func() {
				hook := func() { decided.Store(true) }
				if _, err := b.redeemWith(fmt.Sprint(timeout), timeout, hook); (err == nil) != (timeout > lockWait) {
					t.Error(timeout, err)
				}
			})
		}
		time.Sleep(1500 * time.Millisecond)
		if decided.Load() {
			t.Error("called decided while an attempt was under way")
		}
		wg.Wait()
		b.settler.running.Wait()
		if n := b.ledger.attempts(); n != 3 {
			t.Errorf("%d attempts: the first, the one that met the lock, and the one for who still waits", n)
		}
		b.check(2)
	})
}

// A user whose row is locked was told apart on one lease. Its next requests come to a busy queue, of that lease or of another one,
// and no other user waits for the lock with it.
func TestAStuckUserHoldsUpNobodyElse(t *testing.T) {
	for _, other := range []bool{false, true} {
		inBubble(t, 20_000, func(t *testing.T, b *settlerOnFake) {
			limit := int64(100_000)
			b.offer.UserLimitUnits = &limit
			b.stuck(func(w models.Wanted) bool { return w.UserID == "stuck" })
			redeemOn := func(block *lease.Block, user, key string) (time.Duration, error) {
				block.Spend(1, time.Now())
				e := redeem(key)
				e.UserID = user
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				_, err := b.settler.Settle(ctx, lease.Posting{Block: block, Offer: b.offer, Entry: e}, nil)
				return time.Since(began), err
			}
			busy := b.block
			if other {
				b.raise(20_000)
				busy = b.grant(20_000)
			}
			if _, err := redeemOn(b.block, "stuck", "first"); !errors.Is(err, models.ErrBusy) {
				t.Fatal(err)
			}
			var wg sync.WaitGroup
			for i := range 1000 { // a request every 4 ms, so the queue is never idle
				if i == 100 {
					wg.Go(func() { _, _ = redeemOn(busy, "stuck", "again") })
				}
				wg.Go(func() {
					took, err := redeemOn(busy, fmt.Sprint("u", i), fmt.Sprint("k", i))
					if err != nil || took > time.Second {
						t.Errorf("another lease: %t: another user heard %v after %v", other, err, took)
					}
				})
				time.Sleep(4 * time.Millisecond)
			}
			wg.Wait()
			b.settler.running.Wait()
		})
	}
}

// shop is a stream of other users on a busy queue, beside a user whose counters a client keeps locked.
type shop struct {
	*settlerOnFake
	free time.Time // until then the user is locked
	met  atomic.Int64
}

// openShop locks the user, where the ledger can say so.
func openShop(b *settlerOnFake, locked time.Duration) *shop {
	limit := int64(100_000)
	b.offer.UserLimitUnits = &limit
	s := &shop{settlerOnFake: b, free: time.Now().Add(locked)}
	isLocked := func(w models.Wanted) bool { return w.UserID == "stuck" && time.Now().Before(s.free) }
	b.ledger.locks = isLocked
	b.ledger.before = func(batch models.Batch) error {
		if slices.ContainsFunc(batch.Wanted, isLocked) {
			s.met.Add(1)
			time.Sleep(time.Second) // the lock wait of the database's sessions
			return models.ErrBusy
		}
		time.Sleep(slowCommit)
		return nil
	}
	return s
}

func (s *shop) redeem(block *lease.Block, user, key string, within time.Duration) (time.Duration, error) {
	block.Spend(1, time.Now())
	e := redeem(key)
	e.UserID = user
	ctx, cancel := context.WithTimeout(s.t.Context(), within)
	defer cancel()
	began := time.Now()
	_, err := s.settler.Settle(ctx, lease.Posting{Block: block, Offer: s.offer, Entry: e}, nil)
	return time.Since(began), err
}

func TestC4ALockedUserHoldsUpOthersOnce(t *testing.T) {
	for _, other := range []bool{false, true} {
		inBubble(t, 20_000, func(t *testing.T, b *settlerOnFake) {
			s := openShop(b, 30*time.Second)
			blocks := []*lease.Block{b.block, b.block}
			if other { // of the same node
				b.raise(20_000)
				blocks[1] = b.grant(20_000)
			}
			met := time.Now()
			var wg sync.WaitGroup
			for i := range 10_000 { // 40 s
				if i%500 == 50 {
					wg.Go(func() {
						_, err := s.redeem(blocks[i%2], "stuck", fmt.Sprint("stuck", i), 5*time.Second)
						if gone := time.Now().After(s.free.Add(askEvery + slowCommit)); gone && err != nil || !gone && !errors.Is(err, models.ErrBusy) {
							t.Errorf("%s after the lock, its user hears %v", time.Since(met), err)
						}
					})
				}
				wg.Go(func() {
					came := time.Since(met)
					took, err := s.redeem(blocks[i%2], fmt.Sprint("u", i), fmt.Sprint("k", i), 5*time.Second)
					if once := came < 1500*time.Millisecond; err != nil || took > 1500*time.Millisecond || !once && took > 200*time.Millisecond {
						t.Errorf("another lease: %t: another user, who came after %s, hears %v after %s", other, came, err, took)
					}
				})
				time.Sleep(4 * time.Millisecond)
			}
			wg.Wait()
			s.settler.running.Wait()
			if n := s.met.Load(); n != 1 {
				t.Errorf("waited for the lock %d times", n)
			}
		})
	}
}

func TestC4ALockedUserIsServedWhenTheLockIsGone(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		s := openShop(b, 3*time.Second)
		took, err := s.redeem(b.block, "stuck", "k", 5*time.Second)
		if err != nil || took > 3*time.Second+askEvery+slowCommit {
			t.Errorf("%v after %s", err, took)
		}
		if took, err := s.redeem(b.block, "stuck", "again", 5*time.Second); err != nil || took > slowCommit {
			t.Errorf("afterwards %v after %s", err, took)
		}
		b.settler.running.Wait()
		b.check(2)
	})
}

// Clients that wait for 200 ms give up before the database does. Their batch tells nothing of the lock, and the next one must not meet it.
func TestC4TheLockIsFoundAlsoWhenRequestsAreShort(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		s := openShop(b, 30*time.Second)
		before := b.ledger.before
		b.ledger.before = func(batch models.Batch) error {
			done := make(chan error, 1)
			go func() { done <- before(batch) }()
			select {
			case err := <-done:
				return err
			case <-time.After(201 * time.Millisecond): // its context has ended
				return models.ErrLedgerUnavailable
			}
		}
		var refused atomic.Int64
		var wg sync.WaitGroup
		for i := range 200 {
			user := fmt.Sprint("u", i)
			if i%10 == 0 {
				user = "stuck"
			}
			wg.Go(func() {
				if _, err := s.redeem(b.block, user, fmt.Sprint("k", i), 200*time.Millisecond); err != nil && user != "stuck" {
					refused.Add(1)
				}
			})
			time.Sleep(20 * time.Millisecond)
		}
		wg.Wait()
		b.settler.running.Wait()
		if n := refused.Load(); n > 10 {
			t.Errorf("%d others were refused", n)
		}
		if n := s.met.Load(); n != 1 {
			t.Errorf("waited for the lock %d times", n)
		}
	})
}

func TestC4WhatWasAcknowledgedOutlastsALock(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		openShop(b, 20*time.Second)
		var booked atomic.Int64
		for i := range 20 {
			b.block.Spend(1, time.Now())
			e := redeem(fmt.Sprint(i))
			e.UserID = fmt.Sprint("u", i)
			if i == 7 {
				e.UserID = "stuck"
			}
			b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, hearing(func(v models.Verdict) {
				booked.Add(1)
				if v.Err != nil {
					t.Error(i, v.Err)
				}
			}))
		}
		time.Sleep(1500 * time.Millisecond)
		if booked.Load() != 19 {
			t.Errorf("%d of the 19 others are booked", booked.Load())
		}
		time.Sleep(20 * time.Second)
		if booked.Load() != 20 {
			t.Error("the lock is gone, and the entry is not booked")
		}
		b.settler.running.Wait()
		b.check(20)
	})
}

func TestC4AStopWaitsForNoLock(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		s := openShop(b, time.Hour)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := s.redeem(b.block, "stuck", "k", 5*time.Second); !errors.Is(err, models.ErrDraining) {
				t.Error(err)
			}
		})
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.settler.Stop(ctx)
		wg.Wait()
		b.check(0)
	})
}
