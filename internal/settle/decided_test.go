package settle

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/lease"
	"tranche/models"
)

// redeemWith is redeem with a hook.
func (b *settlerOnFake) redeemWith(key string, timeout time.Duration, decided func()) (models.Verdict, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), timeout)
	defer cancel()
	b.block.Spend(1, time.Now())
	return b.settler.Settle(ctx, lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem(key)}, decided)
}

// attempts is how many were made, the one under way included.
func (f *faulty) attempts() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.sizes)
}

func TestDecidedIsCalledOnceBeforeAnAnswerThatIsFinal(t *testing.T) {
	for name, c := range map[string]struct {
		arrange func(b *settlerOnFake)
		want    error
	}{
		"booked": {func(*settlerOnFake) {}, nil},
		"failed": {func(b *settlerOnFake) {
			b.ledger.before = func(models.Batch) error { return models.ErrLedgerUnavailable }
		}, models.ErrLedgerUnavailable},
		"lease closed": {func(b *settlerOnFake) {
			_, _, _ = b.fake.CloseLease(b.t.Context(), "o", b.block.LeaseID, models.LeaseReclaimed, nil)
		}, models.ErrLeaseClosed},
		"withdrawn": {func(b *settlerOnFake) {
			b.ledger.slow = 2 * time.Second
			go func() { _, _ = b.redeem("before it", 5*time.Second) }()
			synctest.Wait()
		}, models.ErrLedgerUnavailable},
		"draining": {func(b *settlerOnFake) { b.settler.Stop(b.t.Context()) }, models.ErrDraining},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
				c.arrange(b)
				var calls atomic.Int64
				_, err := b.redeemWith("a", time.Second, func() { calls.Add(1) })
				if !errors.Is(err, c.want) || calls.Load() != 1 {
					t.Errorf("%v, decided %d times", err, calls.Load())
				}
				b.settler.running.Wait()
				if calls.Load() != 1 {
					t.Errorf("decided %d times", calls.Load())
				}
			})
		})
	}
}

func TestDecidedIsCalledWhenAnUnknownOutcomeIsKnown(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		var away atomic.Bool
		away.Store(true)
		b.ledger.after = func(models.Batch) error {
			if away.Load() {
				return models.ErrOutcomeUnknown
			}
			return nil
		}
		var calls atomic.Int64
		if _, err := b.redeemWith("a", time.Second, func() { calls.Add(1) }); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if calls.Load() != 0 {
			t.Fatal("called decided, and the commit may still be on its way")
		}
		away.Store(false)
		b.settler.running.Wait()
		if calls.Load() != 1 {
			t.Errorf("decided %d times", calls.Load())
		}
		b.check(1)
	})
}

// The ledger sends no COMMIT after the deadline, so what it says then is final.
func TestNothingIsAppliedAfterItsTime(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = 4 * time.Second
		var decided atomic.Bool
		if _, err := b.redeemWith("a", 10*time.Millisecond, func() { decided.Store(true) }); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Error(err)
		}
		b.settler.running.Wait()
		if !decided.Load() {
			t.Error("it is decided: dropped")
		}
		b.check(0)
	})
}

// The last deadline of a batch counts, and one that has none has no end.
func TestABatchHasTheTimeOfItsLastRequester(t *testing.T) {
	at := time.Unix(1000, 0)
	first, last, never := &submission{deadline: at}, &submission{deadline: at.Add(time.Second)}, &submission{}
	for _, c := range []struct {
		items []*submission
		want  time.Time
	}{
		{[]*submission{first, last}, last.deadline}, {[]*submission{last, first}, last.deadline}, {[]*submission{first, never, last}, time.Time{}},
	} {
		if got := (&batch{items: c.items}).deadline(); !got.Equal(c.want) {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestANotSettledEntryIsAskedForAgainWhileItsTimeLasts(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = 300 * time.Millisecond
		b.ledger.before = func(batch models.Batch) error { // nothing is written, whatever is asked
			for i := range batch.Wanted {
				batch.Wanted[i].CheckOnly = true
			}
			return nil
		}
		var decided atomic.Bool
		_, err := b.redeemWith("a", time.Second, func() { decided.Store(true) })
		if err == nil {
			t.Error("nothing was written")
		}
		b.settler.running.Wait()
		if n := b.ledger.attempts(); n != 4 || !decided.Load() {
			t.Errorf("asked %d times in a second, at 0.3 s each; decided: %v", n, decided.Load())
		}
		b.check(0)
	})
}

// What the journal holds is asked for until it is booked, and not in a hot loop.
func TestWhatWasAcknowledgedIsAskedForWithPauses(t *testing.T) {
	fail := func(err error) func(b *settlerOnFake) {
		return func(b *settlerOnFake) { b.ledger.before = func(models.Batch) error { return err } }
	}
	for name, arrange := range map[string]func(b *settlerOnFake){
		"refused": func(b *settlerOnFake) {
			b.ledger.judge = func(verdicts []models.Verdict) {
				for i := range verdicts {
					verdicts[i] = models.Verdict{Err: models.ErrUserLimitReached}
				}
			}
		},
		"not settled": func(b *settlerOnFake) {
			b.ledger.judge = func(verdicts []models.Verdict) {
				for i := range verdicts {
					verdicts[i] = models.Verdict{Err: models.ErrNotSettled}
				}
			}
		},
		"lease closed": fail(models.ErrLeaseClosed),
		"away":         fail(models.ErrLedgerUnavailable),
		"busy":         fail(models.ErrBusy),
		"fault":        fail(errors.New("a fault")),
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
				arrange(b)
				var booked atomic.Int64
				b.block.Spend(1, time.Now())
				b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem("a")}, hearing(func(v models.Verdict) {
					booked.Add(1)
					if v.Err != nil {
						t.Error(v.Err)
					}
				}))
				time.Sleep(30 * time.Second)
				most := 60
				if name == "not settled" { // each attempt has another number, and may be the last
					most = int(30 * time.Second / gatherFor)
				}
				if n := b.ledger.attempts(); n < 20 || n > most {
					t.Errorf("%d attempts in half a minute", n)
				}
				if booked.Load() != 0 {
					t.Error("given up")
				}
				b.ledger.mu.Lock()
				b.ledger.before, b.ledger.judge = nil, nil
				b.ledger.mu.Unlock()
				b.settler.running.Wait()
				if booked.Load() != 1 {
					t.Errorf("booked %d times", booked.Load())
				}
			})
		})
	}
}

// In an outage the requests behind an acknowledged entry hear of it, instead of waiting for that entry.
func TestARequestIsNotHeldUpByWhatWasAcknowledged(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.before = func(models.Batch) error { return models.ErrLedgerUnavailable }
		b.block.Spend(1, time.Now())
		b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem("acknowledged")}, hearing(func(models.Verdict) {}))
		time.Sleep(10 * time.Second)
		start := time.Now()
		if _, err := b.redeem("a", 5*time.Second); !errors.Is(err, models.ErrLedgerUnavailable) || time.Since(start) > 2*time.Second {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		b.ledger.mu.Lock()
		b.ledger.before = nil
		b.ledger.mu.Unlock()
		b.settler.running.Wait()
		b.check(1)
	})
}

func TestTheOfferOfABatchIsTheNewestKnown(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = time.Second
		var versions []int64
		b.ledger.before = func(batch models.Batch) error {
			versions = append(versions, batch.Offer.Version)
			return nil
		}
		var wg sync.WaitGroup
		for i, version := range []int64{1, 3, 2} { // the last was looked up before the second
			offer := *b.offer
			offer.Version = version
			wg.Go(func() {
				b.block.Spend(1, time.Now())
				if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.block, Offer: &offer, Entry: redeem(fmt.Sprint(i))}, nil); err != nil {
					t.Error(err)
				}
			})
			synctest.Wait()
		}
		wg.Wait()
		if fmt.Sprint(versions) != "[1 3]" {
			t.Errorf("settled with versions %v", versions)
		}
	})
}

func TestWhoHasGoneTakesNoRoomInABatch(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = time.Second
		text := strings.Repeat("x", models.MaxMetadataBytes)
		var wg sync.WaitGroup
		submit := func(i int, timeout time.Duration) {
			wg.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				b.block.Spend(1, time.Now())
				e := redeem(fmt.Sprint(i))
				e.Metadata = &text
				_, _ = b.settler.Settle(ctx, lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, nil)
			})
			synctest.Wait()
		}
		for i := range 1 + 600 { // the first is under way; more than a batch's bytes and entries behind it give up
			submit(i, 1500*time.Millisecond/time.Duration(1+min(1, i)))
		}
		for i := range 50 {
			submit(1000+i, 5*time.Second)
		}
		wg.Wait()
		if got := fmt.Sprint(b.ledger.sizes); got != "[1 50]" {
			t.Errorf("batches of %s", got)
		}
		b.check(51)
	})
}

func TestAForfeitedRefundFillsNoPool(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		if _, err := b.redeem("a", time.Second); err != nil {
			t.Fatal(err)
		}
		b.offer.RefundRestoresBudget = false
		opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{
			OfferID: "o", ID: models.NewID(), NodeID: b.node, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := lease.NewBlock(&opened, time.Now().Add(time.Minute))
		refund := models.Entry{
			OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", "a").Hash, Kind: models.KindRefund, IdempotencyKey: "r",
		}
		v, err := b.settler.Settle(t.Context(), lease.Posting{Block: pool, Offer: b.offer, Entry: refund}, nil)
		if err != nil || v.Entry.Units != 1 || pool.Left() != 0 {
			t.Errorf("%+v %v: the pool has %d", v.Entry, err, pool.Left())
		}
	})
}
