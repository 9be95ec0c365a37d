package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

// away lets every call to the store fail; back heals it.
func (f *fleet) away() {
	f.fake.SetAvailable(false)
	f.fail(func(string) error { return models.ErrLedgerUnavailable })
}

func (f *fleet) back() {
	f.fake.SetAvailable(true)
	f.fail(nil)
	f.lose(nil)
}

// hold makes a node lease a block and spend one unit of it.
func hold(t *testing.T, n *testNode, key string) {
	t.Helper()
	if _, err := n.redeem(key, "first", 1); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
}

func fixedBlocks(m models.Mode, size int64) func(*models.Offer) {
	return func(o *models.Offer) { o.Mode, o.LeaseSize, o.Adaptive = m, size, false }
}

func TestFastAnswersFromTheJournalAndSettlesBehind(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(time.Second)
			}
			return nil
		})
		start := time.Now()
		r, err := n.redeem("b", "u", 2)
		if err != nil || !r.Redemption.Journaled || time.Since(start) > 0 {
			t.Fatalf("%+v, %v after %s", r, err, time.Since(start))
		}
		if again, err := n.redeem("b", "u", 2); err != nil || !again.Replayed || !again.Redemption.Journaled {
			t.Errorf("repeated before it is settled: %+v, %v", again, err)
		}
		if _, err := n.redeem("b", "u", 3); !errors.Is(err, models.ErrKeyReused) {
			t.Errorf("its key for another request: %v", err)
		}
		if found, err := n.Redemption(t.Context(), r.Redemption.RedemptionID); err != nil || !found.Journaled {
			t.Errorf("looked up before it is settled: %+v, %v", found, err)
		}
		time.Sleep(3 * time.Second)
		again, err := n.redeem("b", "u", 2)
		if err != nil || !again.Replayed || again.Redemption.Journaled || again.Redemption.CreatedAt != r.Redemption.CreatedAt {
			t.Errorf("repeated after: %+v, %v", again, err)
		}
		if b := f.balance(); b.Redeemed != 3 || n.journal.backlog() != 0 {
			t.Errorf("%+v, backlog %d", b, n.journal.backlog())
		}
	})
}

func TestFastGoesOnWithinItsLeasesWhileTheDatabaseIsAway(t *testing.T) {
	for _, m := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		inFleet(t, 1, fixedBlocks(m, 25), func(t *testing.T, f *fleet) {
			n := f.nodes[0]
			hold(t, n, "a")
			f.away()
			for i := range 24 {
				r, err := n.redeem(fmt.Sprint(i), "u", 1)
				if err != nil || !r.Redemption.Journaled {
					t.Fatalf("%s: %d: %+v, %v", m, i, r, err)
				}
			}
			if _, err := n.redeem("more", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Errorf("%s: beyond the lease: %v", m, err)
			}
			if r, err := n.redeem("3", "u", 1); err != nil || !r.Replayed {
				t.Errorf("%s: a repeated one: %+v, %v", m, r, err)
			}
			f.back()
			time.Sleep(10 * time.Second)
			if b := f.balance(); b.Redeemed != 25 || b.Overspend() != 0 || b.LateUnits != 0 || n.journal.backlog() != 0 {
				t.Errorf("%s: afterwards %+v, backlog %d", m, b, n.journal.backlog())
			}
		})
	}
}

// An offer that its window or an admin has closed stays closed when the database goes away, though the node has units of it.
func TestAnOutageOpensNoOfferThatIsNotActive(t *testing.T) {
	ending := func(o *models.Offer) {
		ends := models.MicrosOf(time.Now().Add(10 * time.Second))
		fixedBlocks(models.ModeAvailable, 25)(o)
		o.EndsAt = &ends
	}
	inFleet(t, 1, ending, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.away()
		if _, err := n.redeem("in time", "u", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Second)
		if r, err := n.redeem("b", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Errorf("after its window: %+v, %v", r, err)
		}
		if r, err := n.redeem("in time", "u", 1); err != nil || !r.Replayed {
			t.Errorf("repeated after its window: %+v, %v", r, err)
		}
	})
	inFleet(t, 1, fixedBlocks(models.ModeAvailable, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		if _, err := n.refund("a", "r", 0); err != nil { // into a pool that is leased after the pause
			t.Fatal(err)
		}
		f.away()
		if r, err := n.redeem("b", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Errorf("while it is paused: %+v, %v", r, err)
		}
	})
}

func TestStrictDoesNotGoOn(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeStrict, 25), func(t *testing.T, f *fleet) {
		hold(t, f.nodes[0], "a")
		f.away()
		if _, err := f.nodes[0].redeem("b", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
	})
}

// A block that was leased while the offer was strict may not be spent from the journal: nobody counts it as exposed.
func TestALeaseKeepsItsMode(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeStrict, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		fast, err := f.fake.Offer(t.Context(), "o")
		if err != nil {
			t.Fatal(err)
		}
		fast.Mode, fast.Version = models.ModeFast, fast.Version+1
		n.catalogue.Learn(fast, time.Now()) // and the leases are not back yet
		if r, err := n.redeem("b", "u", 1); err != nil || r.Redemption.Journaled {
			t.Errorf("%+v, %v", r, err)
		}
		f.away()
		if _, err := n.redeem("c", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
	})
}

func TestAvailableIsAsStrictWhileTheDatabaseIsThere(t *testing.T) {
	inFleet(t, 2, func(o *models.Offer) { limitOne(o); o.Mode = models.ModeAvailable }, func(t *testing.T, f *fleet) {
		for i, n := range f.nodes {
			r, err := n.redeem(fmt.Sprint(i), "u", 1)
			if i == 0 && (err != nil || r.Redemption.Journaled) {
				t.Errorf("%+v, %v", r, err)
			}
			if i == 1 && !errors.Is(err, models.ErrUserLimitReached) {
				t.Errorf("the second node: %+v, %v", r, err)
			}
		}
	})
}

// In an outage a node can only know what it has seen itself. A redemption over the limit is booked, and listed.
func TestAvailableKeepsUserLimitsAsFarAsItKnows(t *testing.T) {
	limits := func(o *models.Offer) { limitOne(o); fixedBlocks(models.ModeAvailable, 25)(o) }
	inFleet(t, 2, limits, func(t *testing.T, f *fleet) {
		for i, n := range f.nodes {
			hold(t, n, fmt.Sprint("hold", i))
			f.change(func(o *models.Offer) { two := int64(2); o.UserLimitRedemptions = &two })
		}
		if _, err := f.nodes[0].redeem("before", "u", 1); err != nil {
			t.Fatal(err)
		}
		f.away()
		if _, err := f.nodes[0].redeem("one", "u", 1); err != nil {
			t.Errorf("the second of two: %v", err)
		}
		if _, err := f.nodes[0].redeem("two", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Errorf("a third on the node that knows of two: %v", err)
		}
		if _, err := f.nodes[1].redeem("three", "u", 1); err != nil {
			t.Errorf("on the node that knows of none: %v", err)
		}
		f.back()
		time.Sleep(10 * time.Second)
		exceptions, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{})
		if err != nil || len(exceptions) != 1 || exceptions[0].Reason != models.ReasonUserLimit || exceptions[0].UserID != "u" {
			t.Errorf("%+v, %v", exceptions, err)
		}
		if b := f.balance(); b.Redeemed != 5 {
			t.Errorf("%+v", b)
		}
	})
}

func TestTheSameKeyOnTwoNodesIsOneRedemption(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		for i, n := range f.nodes {
			hold(t, n, fmt.Sprint("hold", i))
		}
		f.away()
		for _, n := range f.nodes {
			if _, err := n.redeem("same", "u", 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.nodes[0].redeem("other", "u", 1); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("other", "v", 1); err != nil { // can't be known yet
			t.Fatal(err)
		}
		f.back()
		time.Sleep(10 * time.Second)
		if b := f.balance(); b.Redeemed != 4 {
			t.Errorf("%+v", b)
		}
		exceptions, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{})
		if err != nil || len(exceptions) != 1 || exceptions[0].Reason != models.ReasonKeyReused {
			t.Errorf("%+v, %v", exceptions, err)
		}
		// One of the two nodes has lost, and both know by now whose key it is.
		for _, n := range f.nodes {
			for user, want := range map[string]error{"u": nil, "v": models.ErrKeyReused} {
				if exceptions[0].UserID == "u" {
					want = map[string]error{"u": models.ErrKeyReused, "v": nil}[user]
				}
				if r, err := n.redeem("other", user, 1); !errors.Is(err, want) || err == nil && !r.Replayed {
					t.Errorf("%s again: %v", user, err)
				}
			}
		}
		for _, n := range f.nodes {
			if n.journal.backlog() != 0 {
				t.Errorf("backlog %d", n.journal.backlog())
			}
		}
	})
}

func TestRefundsAndLookUpsElsewhereWaitForTheJournal(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		hold(t, f.nodes[0], "a")
		var slow atomic.Int64
		slow.Store(int64(500 * time.Millisecond))
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(time.Duration(slow.Load()))
			}
			return nil
		})
		if _, err := f.nodes[0].redeem("b", "u", 1); err != nil {
			t.Fatal(err)
		}
		if r, err := f.nodes[1].Redemption(t.Context(), models.RedemptionIDOf("o", "b")); err != nil || r.Journaled {
			t.Errorf("look-up: %+v, %v", r, err)
		}
		slow.Store(0)
		if _, err := f.nodes[1].refund("b", "r", 0); err != nil {
			t.Errorf("refund: %v", err)
		}
		start := time.Now()
		_, err := f.nodes[1].Redemption(t.Context(), models.RedemptionIDOf("o", "nothing"))
		if !errors.Is(err, models.ErrRedemptionUnsettled) || time.Since(start) > 1100*time.Millisecond {
			t.Errorf("what is nowhere: %v after %s", err, time.Since(start))
		}
	})
}

// A node that was cut off and reclaimed comes back: what it has acknowledged is booked late and listed, and never more than the
// bound had said.
func TestLateEntriesStayWithinTheBound(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		cut, other := f.nodes[0], f.nodes[1]
		hold(t, cut, "a")
		cut.link.cut.Store(true)
		for i := range 10 {
			if _, err := cut.redeem(fmt.Sprint("cut", i), "u", 1); err != nil {
				t.Fatal(err)
			}
		}
		leases, err := f.fake.ActiveLeases(t.Context(), "o")
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		for _, l := range leases { // the reapers of others
			if _, _, err := f.fake.CloseLease(t.Context(), "o", l.ID, models.LeaseReclaimed, nil); err != nil {
				t.Fatal(err)
			}
		}
		bound := f.balance().OverspendBound
		for i := 0; ; i++ { // the other sells everything that the database has
			if _, err := other.redeem(fmt.Sprint("other", i), "v", 1); err != nil {
				break
			}
		}
		cut.link.cut.Store(false)
		time.Sleep(2 * time.Minute)
		b := f.balance()
		if b.Redeemed != 110 || b.Overspend() != 10 || b.LateUnits != 10 {
			t.Errorf("after all: %+v", b)
		}
		if b.Overspend() > bound {
			t.Errorf("overspend %d, the bound had said %d", b.Overspend(), bound)
		}
		if b.OverspendBound != b.Overspend() {
			t.Errorf("with everything settled the bound is %d, the overspend %d", b.OverspendBound, b.Overspend())
		}
		exceptions, err := f.fake.Exceptions(t.Context(), "o", 100, models.ID{})
		if err != nil || len(exceptions) != 10 {
			t.Errorf("%d listed, %v", len(exceptions), err)
		}
		f.overspent = true
	})
}

func TestAJournalThatFailsAcknowledgesNothing(t *testing.T) {
	for _, keeps := range []bool{false, true} {
		inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
			n := f.nodes[0]
			hold(t, n, "a")
			n.journal.keeps, n.journal.broken = keeps, models.ErrOverloaded
			if keeps {
				n.journal.broken = models.ErrOutcomeUnknown
			}
			if _, err := n.redeem("b", "u", 1); !errors.Is(err, n.journal.broken) {
				t.Errorf("keeps %v: %v", keeps, err)
			}
			n.journal.broken = nil
			if keeps {
				f.restart(n)
				f.stranded = true
			}
			want := int64(1)
			if keeps {
				want = 2 // it was written, though nobody could know
			}
			if b := f.balance(); b.Redeemed != want {
				t.Errorf("keeps %v: %+v", keeps, b)
			}
		})
	}
}

// The database is back, a lease is renewed in time, and no sync has been made yet: that is no reason to turn anybody away.
func TestNobodyIsTurnedAwayWhenTheDatabaseIsBack(t *testing.T) {
	setUp := func(o *models.Offer) { fixedBlocks(models.ModeFast, 80)(o); o.Budget, o.BudgetTarget = 1000, 1000 }
	inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.away()
		for i := range 400 { // 20 s away, at a third of the time to live the lease is due
			if i == 390 {
				f.fake.SetAvailable(true)
				f.fail(func(call string) error {
					if call == "SyncOffers" {
						return models.ErrLedgerUnavailable
					}
					return nil
				})
			}
			if i%10 == 0 || i >= 390 {
				if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
					t.Errorf("after %d ms: %v", 50*i, err)
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
	})
}

// The first attempt ended in the dark, and the user's limit, as far as this node knows, lets no second one through: that is no refusal,
// for the first may still be committed.
func TestAvailableDoesNotRefuseWhatMayComeTrue(t *testing.T) {
	limits := func(o *models.Offer) { limitOne(o); fixedBlocks(models.ModeAvailable, 25)(o) }
	inFleet(t, 1, limits, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		if _, err := n.redeem("first", "u", 1); err != nil {
			t.Fatal(err)
		}
		f.change(func(o *models.Offer) { two := int64(2); o.UserLimitRedemptions = &two })
		f.fail(func(call string) error {
			if call == "Settle" {
				return models.ErrOutcomeUnknown
			}
			return nil
		})
		f.change(func(o *models.Offer) { limitOne(o) })
		if _, err := n.redeem("second", "u", 1); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Errorf("got %v", err)
		}
	})
}

// The ledger counts another node's redemption to the user's limit, and goes away before the key can be looked up. It has decided, so this
// node, which knows nothing of the other redemption, must not acknowledge one more.
func TestAvailableDoesNotRedeemWhatTheLedgerHasRefused(t *testing.T) {
	limits := func(o *models.Offer) { limitOne(o); fixedBlocks(models.ModeAvailable, 25)(o) }
	inFleet(t, 2, limits, func(t *testing.T, f *fleet) {
		for _, n := range f.nodes {
			if _, err := n.redeem(fmt.Sprint("warm", n.id), fmt.Sprint(n.id), 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.nodes[0].redeem("first", "u", 1); err != nil {
			t.Fatal(err)
		}
		f.fail(func(call string) error {
			if call == "Histories" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		n := f.nodes[1]
		if r, err := n.redeem("second", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) || n.journal.last != 0 {
			t.Errorf("%+v, %v, %d records", r, err, n.journal.last)
		}
		f.fail(nil)
		if _, err := n.redeem("second", "u", 1); !errors.Is(err, models.ErrUserLimitReached) {
			t.Errorf("when it is back: %v", err)
		}
	})
}

// once makes the first Settle end with an error after a while, before it did anything.
func (f *fleet) once(after time.Duration, err error) {
	var done atomic.Bool
	f.fail(func(call string) error {
		if call == "Settle" && done.CompareAndSwap(false, true) {
			time.Sleep(after)
			return err
		}
		return nil
	})
}

func TestA6ASlowTransactionIsNoOutage(t *testing.T) {
	limits := func(o *models.Offer) { limitOne(o); fixedBlocks(models.ModeAvailable, 25)(o) }
	inFleet(t, 1, limits, func(t *testing.T, f *fleet) {
		hold(t, f.nodes[0], "a")
		f.once(4*time.Second, nil)
		if r, err := f.nodes[0].redeem("b", "u", 1); err != nil || r.Redemption.Journaled {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

func TestA6WhatIsNotDecidedInTimeIsNoOutage(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeAvailable, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.once(10*time.Second, nil)
		if r, err := n.redeem("b", "u", 1); !errors.Is(err, models.ErrOutcomeUnknown) || n.journal.last != 0 {
			t.Errorf("%+v, %v, %d records", r, err, n.journal.last)
		}
	})
}

func TestA6OneLostConnectionIsTriedAgain(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeAvailable} {
		for _, lost := range []error{models.ErrLedgerUnavailable, models.ErrOutcomeUnknown} {
			inFleet(t, 1, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
				hold(t, f.nodes[0], "a")
				f.once(0, lost)
				if r, err := f.nodes[0].redeem("b", "u", 1); err != nil || r.Redemption.Journaled {
					t.Errorf("%s, %v: %+v, %v", mode, lost, r, err)
				}
			})
		}
	}
}

// A shop waits for 200 ms. While the ledger leaves all calls without an answer, it is refused for half a second, and then served.
func TestA6AFrozenLedgerRefusesForHalfASecond(t *testing.T) {
	setUp := func(o *models.Offer) { fixedBlocks(models.ModeAvailable, 80)(o); o.Budget, o.BudgetTarget = 1000, 1000 }
	inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		f.fail(func(string) error {
			n.ledger.Asked()
			defer n.ledger.Ended(false)
			time.Sleep(2 * time.Second)
			return models.ErrLedgerUnavailable
		})
		frozen := time.Now()
		for i := range 10 {
			ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			began := time.Since(frozen)
			r, err := n.Redeem(ctx, "o", allocator.RedeemRequest{Key: fmt.Sprint(i), UserID: "u", Units: 1})
			switch {
			case ctx.Err() != nil:
				t.Errorf("after %s it was not answered in time", began)
			case err == nil && !r.Redemption.Journaled:
				t.Errorf("after %s the ledger has it", began)
			case err != nil && time.Since(frozen) > 550*time.Millisecond:
				t.Errorf("after %s it was refused: %v", began, err)
			}
			<-ctx.Done()
			cancel()
		}
		f.fail(nil)
		time.Sleep(10 * time.Second)
		if b := f.balance(); b.Redeemed < 8 || b.Redeemed > 11 {
			t.Errorf("afterwards %+v", b)
		}
	})
}
