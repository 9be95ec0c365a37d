package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func (n *testNode) hold(key, user string, units int64, holdFor time.Duration) (allocator.Redeemed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Redeem(ctx, "o", allocator.RedeemRequest{Key: key, UserID: user, Units: units, HoldFor: holdFor})
}

func (n *testNode) confirm(key string, units int64) (models.Redemption, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Confirm(ctx, models.RedemptionIDOf("o", key), units)
}

func (n *testNode) cancel(key string) (models.Redemption, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Cancel(ctx, models.RedemptionIDOf("o", key))
}

func (f *fleet) state(key string) models.RedemptionState {
	f.t.Helper()
	r, err := f.nodes[0].Redemption(f.t.Context(), models.RedemptionIDOf("o", key))
	if err != nil {
		f.t.Fatal(err)
	}
	return r.State
}

func TestHoldsInAllModes(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeAvailable, models.ModeFast} {
		inFleet(t, 2, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			here, there := f.nodes[0], f.nodes[1]
			hold(t, here, "a")
			taken, err := here.hold("k", "u", 4, time.Minute)
			if r := taken.Redemption; err != nil || r.State != models.StateHeld || r.Journaled != (mode == models.ModeFast) || r.ResolvedAt != nil ||
				r.HoldExpiresAt == nil || r.HoldExpiresAt.Sub(r.CreatedAt) != time.Minute {
				t.Fatalf("%s: %+v, %v", mode, taken, err)
			}
			for _, n := range f.nodes { // the same again, in whatever form
				for _, units := range []int64{3, 3} {
					if r, err := n.confirm("k", units); err != nil || r.State != models.StateRedeemed || r.Units != 3 {
						t.Errorf("%s: confirmed: %+v, %v", mode, r, err)
					}
				}
				if _, err := n.cancel("k"); !errors.Is(err, models.ErrHoldResolved) {
					t.Errorf("%s: cancelled after that: %v", mode, err)
				}
				if n != here && mode == models.ModeFast {
					continue // it knows the keys of its own journal
				}
				if r, err := n.hold("k", "u", 4, time.Minute); err != nil || !r.Replayed || r.Redemption.State != models.StateRedeemed || r.Redemption.Units != 3 {
					t.Errorf("%s: held again: %+v, %v", mode, r, err)
				}
				if _, err := n.hold("k", "u", 4, time.Hour); !errors.Is(err, models.ErrKeyReused) {
					t.Errorf("%s: held for longer: %v", mode, err)
				}
			}
			if _, err := there.hold("l", "u", 5, time.Minute); err != nil {
				t.Fatal(err)
			}
			if r, err := here.cancel("l"); err != nil || r.State != models.StateCancelled {
				t.Errorf("%s: cancelled: %+v, %v", mode, r, err)
			}
			if _, err := here.hold("m", "u", 1, 10*time.Second); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			if b := f.balance(); f.state("m") != models.StateExpired || b.Held != 0 || b.Redeemed != 4 || b.LateUnits != 0 {
				t.Errorf("%s: m is %s, and the books are %+v", mode, f.state("m"), b)
			}
		})
	}
}

func TestB3ARetryOfAHoldThatEndedIsNoSuccess(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeAvailable, models.ModeFast} {
		inFleet(t, 2, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			here, there := f.nodes[0], f.nodes[1]
			hold(t, here, "a")
			for _, key := range []string{"cancelled", "expired"} {
				if _, err := here.hold(key, "u", 4, 10*time.Second); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := there.cancel("cancelled"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(20 * time.Second)
			for key, state := range map[string]models.RedemptionState{"cancelled": models.StateCancelled, "expired": models.StateExpired} {
				for _, n := range f.nodes {
					if n == there && mode == models.ModeFast {
						continue // it knows the keys of its own journal
					}
					_, err := n.hold(key, "u", 4, 10*time.Second)
					resolved, ok := errors.AsType[*models.HoldResolvedError](err)
					if !ok || resolved.Redemption.State != state || resolved.Redemption.RedemptionID != models.RedemptionIDOf("o", key) {
						t.Errorf("%s: %s: %v", mode, key, err)
					}
				}
			}
			f.change(func(o *models.Offer) { o.Status = models.StatusEnded }) // which is a reason to look the key up
			if _, err := there.hold("expired", "u", 4, 10*time.Second); !errors.Is(err, models.ErrHoldResolved) {
				t.Errorf("%s: after the offer's end: %v", mode, err)
			}
		})
	}
}

func TestB3WithTheLedgerAwayAHoldIsNotAnsweredFromMemory(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeAvailable, models.ModeFast} {
		inFleet(t, 2, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			here, there := f.nodes[0], f.nodes[1]
			hold(t, here, "a")
			if _, err := here.hold("k", "u", 4, time.Minute); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second) // by now it is settled
			if _, err := there.cancel("k"); err != nil {
				t.Fatal(err)
			}
			f.away()
			if r, err := here.hold("k", "u", 4, time.Minute); !errors.Is(err, models.ErrOutcomeUnknown) {
				t.Errorf("%s: %+v, %v", mode, r.Redemption, err)
			}
			if r, err := here.redeem("a", "first", 1); err != nil || !r.Replayed {
				t.Errorf("%s: what is no hold: %+v, %v", mode, r.Redemption, err)
			}
			f.back()
		})
	}
}

// slowReply lets the next batch commit, and its node hear of that two seconds later.
func (f *fleet) slowReply() {
	var settles atomic.Int64
	f.lose(func(call string) error {
		if call == "Settle" && settles.Add(1) == 1 {
			time.Sleep(2 * time.Second)
		}
		return nil
	})
}

// Between the commit of an acknowledged redemption and the node's hearing of it, something may follow on it. What is asked of the node then
// must not be older.
func TestWhatFollowedIsNotForgottenForWhatWasAcknowledged(t *testing.T) {
	id := models.RedemptionIDOf("o", "k")
	confirmed := func(r models.Redemption) bool { return r.State == models.StateRedeemed && r.Units == 3 }
	cancelled := func(r models.Redemption) bool { return r.State == models.StateCancelled }
	for name, c := range map[string]struct {
		follow func(here, there *testNode) error
		is     func(models.Redemption) bool
		again  error
	}{
		"confirmed here": {func(here, _ *testNode) error { _, err := here.confirm("k", 3); return err }, confirmed, nil},
		"cancelled there, which here is refused for": {func(here, there *testNode) error {
			if _, err := there.cancel("k"); err != nil {
				return err
			}
			if _, err := here.confirm("k", 3); !errors.Is(err, models.ErrHoldResolved) {
				return fmt.Errorf("confirmed: %w", err)
			}
			return nil
		}, cancelled, models.ErrHoldResolved},
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
				here, there := f.nodes[0], f.nodes[1]
				hold(t, here, "a")
				f.slowReply()
				if r, err := here.hold("k", "u", 4, time.Minute); err != nil || !r.Redemption.Journaled {
					t.Fatalf("held: %+v, %v", r, err)
				}
				time.Sleep(time.Second) // by now it is in the ledger
				if err := c.follow(here, there); err != nil {
					t.Fatal(err)
				}
				if r, err := here.Redemption(t.Context(), id); err != nil || !c.is(r) || r.Journaled {
					t.Errorf("looked up: %+v, %v", r, err)
				}
				if r, err := here.hold("k", "u", 4, time.Minute); !errors.Is(err, c.again) || err == nil && (!r.Replayed || !c.is(r.Redemption)) {
					t.Errorf("held again: %+v, %v", r.Redemption, err)
				}
			})
		})
	}
}

// The same when the ledger has another node's redemption of that key.
func TestWhatFollowedOnAnothersRedemptionIsNotForgotten(t *testing.T) {
	id := models.RedemptionIDOf("o", "k")
	for user, again := range map[string]error{"first": nil, "another": models.ErrKeyReused} {
		inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
			here, there := f.nodes[0], f.nodes[1]
			hold(t, here, "a")
			hold(t, there, "k")
			f.slowReply()
			if r, err := here.redeem("k", user, 1); err != nil || r.Replayed {
				t.Fatalf("here: %+v, %v", r, err)
			}
			time.Sleep(time.Second) // by now it is known there, and not yet here, that it was redeemed before
			if _, err := here.Refund(t.Context(), id, allocator.RefundRequest{Key: "refund", Units: 1}); err != nil {
				t.Fatal(err)
			}
			if r, err := here.Redemption(t.Context(), id); err != nil || r.RefundedUnits != 1 || r.UserID != "first" || r.Journaled {
				t.Errorf("looked up: %+v, %v", r, err)
			}
			if r, err := here.redeem("k", user, 1); !errors.Is(err, again) || err == nil && (!r.Replayed || r.Redemption.RefundedUnits != 1) {
				t.Errorf("%s once more: %+v, %v", user, r.Redemption, err)
			}
		})
	}
}

// The second request hears how the hold ended, whether three nodes are asked or it runs out meanwhile.
func TestConfirmAgainstCancelAgainstExpiry(t *testing.T) {
	const holds = 3000
	setUp := func(o *models.Offer) {
		users := int64(holds)
		o.Budget, o.BudgetTarget, o.LeaseSize, o.UserLimitUnits = 3*holds, 3*holds, 1000, &users
	}
	inFleet(t, 3, setUp, func(t *testing.T, f *fleet) {
		time.Sleep(10 * time.Second) // the sweepers have begun
		f.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(3 * time.Millisecond)
			}
			return nil
		})
		var wg sync.WaitGroup
		for i := range holds {
			wg.Go(func() {
				if _, err := f.nodes[i%3].hold(fmt.Sprint(i), fmt.Sprint("user", i%9), 2, time.Second); err != nil {
					t.Error(i, err)
				}
			})
		}
		wg.Wait()
		var confirmed, cancelled, late atomic.Int64
		for i := range holds {
			key := fmt.Sprint(i)
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 1000)
				switch r, err := f.nodes[i%3].confirm(key, 1); {
				case err == nil && r.State == models.StateRedeemed && r.Units == 1:
					confirmed.Add(1)
				case errors.Is(err, models.ErrHoldResolved):
					late.Add(1)
				default:
					t.Error(i, r, err)
				}
			})
			wg.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 1000)
				switch r, err := f.nodes[(i+1)%3].cancel(key); {
				case err == nil && r.State == models.StateCancelled:
					cancelled.Add(1)
				case errors.Is(err, models.ErrHoldResolved):
					late.Add(1)
				default:
					t.Error(i, r, err)
				}
			})
		}
		wg.Wait()
		time.Sleep(10 * time.Second)
		states := map[models.RedemptionState]int64{}
		for i := range holds {
			states[f.state(fmt.Sprint(i))]++
		}
		b := f.balance()
		if states[models.StateRedeemed] != confirmed.Load() || states[models.StateCancelled] != cancelled.Load() ||
			states[models.StateHeld] != 0 || confirmed.Load()+cancelled.Load()+late.Load() != 2*holds {
			t.Errorf("%v; told %d confirmed, %d cancelled, %d late", states, confirmed.Load(), cancelled.Load(), late.Load())
		}
		if b.Held != 0 || b.Redeemed != confirmed.Load() || b.NetSpent() != b.Redeemed {
			t.Errorf("%d were confirmed, the books are %+v", confirmed.Load(), b)
		}
		for _, state := range []models.RedemptionState{models.StateRedeemed, models.StateCancelled, models.StateExpired} {
			if states[state] < holds/100 {
				t.Errorf("the race is none: %v", states)
			}
		}
	})
}

// A holds the last unit, and B is turned away. A's payment fails, and B gets it.
func TestTheLastUnitComesBackFromAHold(t *testing.T) {
	for name, end := range map[string]func(f *fleet) error{
		"cancelled": func(f *fleet) error { _, err := f.nodes[0].cancel("A"); return err },
		"run out":   func(*fleet) error { time.Sleep(70 * time.Second); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 1, func(o *models.Offer) { o.Budget, o.BudgetTarget = 5, 5 }, func(t *testing.T, f *fleet) {
				time.Sleep(10 * time.Second)
				if _, err := f.nodes[0].redeem("before", "u", 4); err != nil {
					t.Fatal(err)
				}
				held, err := f.nodes[0].hold("A", "A", 1, time.Minute)
				if err != nil {
					t.Fatal(err)
				}
				_, err = f.nodes[0].redeem("B", "B", 1)
				var short *models.ShortError
				if !errors.As(err, &short) || !errors.Is(err, models.ErrBudgetHeld) || short.Balance.Held != 1 ||
					short.NextReleaseAt == nil || *short.NextReleaseAt != *held.Redemption.HoldExpiresAt {
					t.Fatalf("while A holds the last unit, B hears %v", err)
				}
				if err := end(f); err != nil {
					t.Fatal(err)
				}
				if _, err := f.nodes[0].redeem("B", "B", 1); err != nil {
					t.Errorf("B's retry: %v", err)
				}
				time.Sleep(time.Second)
				if _, err := f.nodes[0].redeem("C", "C", 1); !errors.Is(err, models.ErrBudgetExhausted) {
					t.Errorf("C hears %v", err)
				}
			})
		})
	}
}

// On another node, the unit is there when the pool that it came back to is returned.
func TestTheLastUnitComesBackToAnotherNode(t *testing.T) {
	inFleet(t, 2, func(o *models.Offer) { o.Budget, o.BudgetTarget = 1, 1 }, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].hold("A", "A", 1, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("B", "B", 1); !errors.Is(err, models.ErrBudgetHeld) {
			t.Fatal(err)
		}
		if _, err := f.nodes[0].cancel("A"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := f.nodes[1].redeem("B", "B", 1); err != nil {
			t.Error(err)
		}
	})
}

func TestAHoldAndItsConfirmationCountOnceForTheirUser(t *testing.T) {
	inFleet(t, 2, limitOne, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].hold("confirmed", "u", 2, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].redeem("more", "u", 1); !errors.Is(err, models.ErrUserLimitReached) {
			t.Errorf("beside the hold: %v", err)
		}
		for _, n := range f.nodes {
			if _, err := n.confirm("confirmed", 0); err != nil {
				t.Error(err)
			}
		}
		u, err := f.fake.Usage(t.Context(), "o", "u")
		if err != nil || u.Redemptions != 1 || u.Units != 2 || u.HeldUnits != 0 {
			t.Errorf("%+v, %v", u, err)
		}
		if _, err := f.nodes[0].hold("cancelled", "v", 1, time.Hour); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[1].cancel("cancelled"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.nodes[0].redeem("instead", "v", 1); err != nil {
			t.Errorf("after the cancellation: %v", err)
		}
	})
}

func TestConfirmAndCancelElsewhereWaitForTheJournal(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		hold(t, f.nodes[0], "a")
		for key, end := range map[string]func() (models.Redemption, error){
			"k": func() (models.Redemption, error) { return f.nodes[1].confirm("k", 0) },
			"l": func() (models.Redemption, error) { return f.nodes[1].cancel("l") },
			"m": func() (models.Redemption, error) { return f.nodes[0].confirm("m", 0) }, // and on the very node
		} {
			if r, err := f.nodes[0].hold(key, "u", 1, time.Minute); err != nil || !r.Redemption.Journaled {
				t.Fatal(r, err)
			}
			if r, err := end(); err != nil || r.State == models.StateHeld {
				t.Errorf("%s: %+v, %v", key, r, err)
			}
		}
		if _, err := f.nodes[1].confirm("nothing", 0); !errors.Is(err, models.ErrRedemptionUnsettled) {
			t.Errorf("of what is nowhere: %v", err)
		}
	})
}

func TestHoldsGoOnWhileTheDatabaseIsAwayAndTheirEndsDoNot(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		inFleet(t, 1, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			n := f.nodes[0]
			hold(t, n, "a")
			f.away()
			if r, err := n.hold("k", "u", 2, 5*time.Second); err != nil || !r.Redemption.Journaled || r.Redemption.State != models.StateHeld {
				t.Fatalf("%s: %+v, %v", mode, r, err)
			}
			if _, err := n.confirm("k", 0); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Errorf("%s: confirmed: %v", mode, err)
			}
			if _, err := n.cancel("a"); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Errorf("%s: nothing is refused with the ledger away: %v", mode, err)
			}
			time.Sleep(20 * time.Second) // it runs out
			f.back()
			time.Sleep(3 * time.Second)
			if r, err := n.confirm("k", 0); err != nil || r.State != models.StateRedeemed {
				t.Errorf("%s: confirmed when the database is back: %+v, %v", mode, r, err)
			}
		})
	}
}

// The node that took the hold is gone. Another one gives the unit back.
func TestAHoldOfADeadNodeExpires(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		if _, err := f.nodes[0].hold("k", "u", 3, 30*time.Second); err != nil {
			t.Fatal(err)
		}
		f.nodes[0].link.cut.Store(true)
		time.Sleep(40 * time.Second)
		if got := f.state("k"); got != models.StateExpired {
			t.Errorf("it is %s", got)
		}
		if pool := f.nodes[1].keeper.Pool("o"); pool == nil || pool.Left() != 3 {
			t.Errorf("the other node's pool is %+v", pool)
		}
		f.nodes[0].link.cut.Store(false)
	})
}

// The node crashed with the hold in its journal, and its lease was reclaimed: the hold is booked late, listed, and can still end.
func TestAHoldInTheJournalOutlivesItsNode(t *testing.T) {
	for name, end := range map[string]func(f *fleet) error{
		"confirmed": func(f *fleet) error { _, err := f.nodes[1].confirm("k", 1); return err },
		"cancelled": func(f *fleet) error { _, err := f.nodes[1].cancel("k"); return err },
		"expired":   func(*fleet) error { time.Sleep(5 * time.Minute); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
				dead := f.nodes[0]
				hold(t, dead, "a")
				dead.link.cut.Store(true)
				if r, err := dead.hold("k", "u", 3, 4*time.Minute); err != nil || !r.Redemption.Journaled {
					t.Fatal(r, err)
				}
				leases, err := f.fake.ActiveLeases(t.Context(), "o")
				if err != nil {
					t.Fatal(err)
				}
				if _, did, err := f.fake.CloseLease(t.Context(), "o", leases[0].ID, models.LeaseReclaimed, nil); err != nil || !did {
					t.Fatal(did, err)
				}
				f.restart(&testNode{journal: dead.journal.copy()})
				exceptions, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{})
				if err != nil || len(exceptions) != 1 || exceptions[0].Reason != models.ReasonLate {
					t.Errorf("%+v, %v", exceptions, err)
				}
				if b := f.balance(); b.Held != 3 || b.LateUnits != 3 {
					t.Errorf("%+v", b)
				}
				if err := end(f); err != nil {
					t.Error(err)
				}
				confirmed := map[string]int64{"confirmed": 1}[name]
				if b := f.balance(); b.Held != 0 || b.Redeemed != 1+confirmed || b.NetSpent() != b.Redeemed || b.LateUnits != 3 {
					t.Errorf("%+v", b)
				}
				dead.link.cut.Store(false)
				time.Sleep(time.Minute)
			})
		})
	}
}

func TestARecordOfAHoldIsNoRecordOfARedemption(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		n.link.cut.Store(true)
		if _, err := n.hold("k", "u", 3, time.Minute); err != nil {
			t.Fatal(err)
		}
		spoiled := n.journal.copy()
		for seq, r := range spoiled.records {
			if r.kind != 2 {
				t.Errorf("a hold is a record of type %d", r.kind)
			}
			spoiled.records[seq] = journalRecord{1, r.payload}
		}
		if _, err := allocator.NewRecovery(spoiled, f.fake, n.settler, time.Now).Run(t.Context()); err == nil {
			t.Error("a hold was taken for a redemption")
		}
		n.link.cut.Store(false)
	})
}
