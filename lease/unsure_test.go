package lease

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/internal/storetest"
	"tranche/models"
)

// loseReplies makes the next n grants end without a reply, after they committed or before.
func (b *keeperOnFake) loseReplies(n int64, committed bool) {
	var lost atomic.Int64
	lose := func(call string) error {
		if call == "Grant" && lost.Add(1) <= n {
			return models.ErrOutcomeUnknown
		}
		return nil
	}
	if committed {
		b.fake.After = lose
	} else {
		b.fail(lose)
	}
}

func TestAGrantWithoutReplyIsFoundByTheNext(t *testing.T) {
	for _, committed := range []bool{true, false} {
		inBubble(t, testOffer(1, 10), func(t *testing.T, b *keeperOnFake) {
			b.loseReplies(1, committed)
			if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) || errors.Is(err, models.ErrOutcomeUnknown) {
				t.Errorf("nothing of the request is on its way: %v", err)
			}
			if err := b.spend(1); err != nil {
				t.Errorf("committed %v: a lease of this very node has the unit: %v", committed, err)
			}
		})
	}
}

func TestAGrantWithoutReplyIsFoundWithoutARequest(t *testing.T) {
	inBubble(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(3, true)
		if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		if !b.keeper.HasUnits() || b.balance().LeasesActive != 1 {
			t.Errorf("held: %v, %+v", b.keeper.HasUnits(), b.balance())
		}
	})
}

// While nobody knows, an outage tells nothing about the request that may have committed.
func TestAGrantWithoutReplyOutlastsAnOutage(t *testing.T) {
	withoutLoops(t, testOffer(1, 10), func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(1, true)
		if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		b.fail(func(string) error { return models.ErrLedgerUnavailable })
		for range 20 {
			if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		b.fail(nil)
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
	})
}

// A panic says as little about the request as a missing reply.
func TestAGrantThatPanickedAfterItsCommitIsFound(t *testing.T) {
	inBubble(t, testOffer(1, 10), func(t *testing.T, b *keeperOnFake) {
		var panicked atomic.Bool
		b.fake.After = func(call string) error {
			if call == "Grant" && panicked.CompareAndSwap(false, true) {
				panic("boom")
			}
			return nil
		}
		if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
	})
}

// The deadline of what is found counts from the first request, as the database's end may.
func TestALeaseFoundLaterEndsNoLater(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(1, true)
		_ = b.spend(1)
		time.Sleep(50 * time.Second)
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		block.Unspend(1)
		if block.ExpiredAt(time.Now().Add(7*time.Second)) || !block.ExpiredAt(time.Now().Add(7*time.Second+1)) {
			t.Error("a lease of 60 s that was asked for 50 s ago ends here in 7 s")
		}
	})
}

// What is found was made for others: who asks for more than that was not refused anything yet. Nor if nothing is left of it.
func TestWhatIsFoundRefusesNobody(t *testing.T) {
	for _, reclaimed := range []bool{false, true} {
		withoutLoops(t, testOffer(1000, 10), func(t *testing.T, b *keeperOnFake) {
			b.loseReplies(1, true)
			_ = b.spend(1)
			leases, err := b.fake.ActiveLeases(t.Context(), "o")
			if err != nil || len(leases) != 1 {
				t.Fatal(leases, err)
			}
			if reclaimed {
				_, _, _ = b.fake.CloseLease(t.Context(), "o", leases[0].ID, models.LeaseReclaimed, nil)
			}
			if err := b.spend(500); err != nil {
				t.Errorf("500 of 1000, reclaimed %v: %v", reclaimed, err)
			}
		})
	}
}

// A lease that was granted without a reply, and reclaimed before it was found, was never spent from: the books need not expect anything.
func TestAGrantThatIsFoundTooLateExposesNothing(t *testing.T) {
	offer := testOffer(100, 10)
	offer.Mode = models.ModeFast
	withoutLoops(t, offer, func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(1, true)
		_ = b.spend(1)
		leases, err := b.fake.ActiveLeases(t.Context(), "o")
		if err != nil || len(leases) != 1 {
			t.Fatal(leases, err)
		}
		if _, _, err := b.fake.CloseLease(t.Context(), "o", leases[0].ID, models.LeaseReclaimed, nil); err != nil {
			t.Fatal(err)
		}
		b.fail(func(call string) error {
			if call == "Acquit" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		if err := b.spend(1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		b.fail(nil)
		if err := b.spend(1); err != nil {
			t.Error(err)
		}
		b.keeper.Drain(t.Context())
		if got := b.balance(); got.OverspendBound != 0 {
			t.Errorf("%+v", got)
		}
	})
}

func TestADrainReturnsAGrantWithoutReply(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(2, true)
		_ = b.spend(1)
		if left, _ := drain(t, b.keeper); left != 0 {
			t.Errorf("%d leases left", left)
		}
		if got := b.balance(); got.Allocated != 0 || got.LeasesActive != 0 {
			t.Errorf("stranded: %+v", got)
		}
	})
}

// One that never committed is not made up for by the drain.
func TestADrainAsksForNothingNew(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		b.loseReplies(1, false)
		_ = b.spend(1)
		if left, _ := drain(t, b.keeper); left != 0 {
			t.Errorf("%d leases left", left)
		}
		if leases, err := b.fake.Leases(t.Context(), "o", 10, models.ID{}); err != nil || len(leases) != 0 {
			t.Errorf("granted in a drain: %+v %v", leases, err)
		}
	})
}

// withoutLoops is inBubble without maintenance, and without a drain.
func withoutLoops(t *testing.T, offer models.Offer, test func(t *testing.T, b *keeperOnFake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newKeeperOnFake(t, storetest.NewFake(time.Now), offer)) })
}

// What is pending on a lease keeps it from going back when the database is away, but not from ending.
func TestALeaseIsHeldUntilItsDeadline(t *testing.T) {
	inBubble(t, testOffer(1000, 100), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.fail(func(string) error { return models.ErrLedgerUnavailable })
		time.Sleep(50 * time.Second)
		if !b.keeper.HasUnits() {
			t.Error("no lease is held before its deadline")
		}
		time.Sleep(30 * time.Second)
		if held(b.keeper) == 0 || b.keeper.HasUnits() {
			t.Errorf("past the deadline, with something pending: %d leases, held: %v", held(b.keeper), b.keeper.HasUnits())
		}
		b.fail(nil)
		time.Sleep(30 * time.Second)
		if !b.keeper.HasUnits() {
			t.Error("no lease is held after it was renewed")
		}
		b.settle(block, 1)
	})
}
