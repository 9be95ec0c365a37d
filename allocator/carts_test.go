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

// offers makes more of them: 100 units in leases of 10, as change adjusts them.
func (f *fleet) offers(change func(*models.Offer), ids ...string) {
	f.t.Helper()
	for _, id := range ids {
		offer := models.Offer{
			ID: id, Name: id, Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 100, BudgetTarget: 100,
			Status: models.StatusActive, LeaseSize: 10, LeaseTTLSeconds: 60, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
		}
		if change != nil {
			change(&offer)
		}
		if _, _, err := f.fake.CreateOffer(f.t.Context(), offer, models.Audit{}); err != nil {
			f.t.Fatal(err)
		}
	}
}

// bag is what a cart asks for: "o", "p" are a unit each, and so on.
func bag(offers ...string) (items []allocator.CartItem) {
	for _, id := range offers {
		items = append(items, allocator.CartItem{OfferID: id, Units: 1})
	}
	return items
}

func (n *testNode) buy(key, user string, items ...allocator.CartItem) (allocator.Carted, error) {
	return n.buyFor(5*time.Second, 0, key, user, items...)
}

func (n *testNode) buyFor(timeout, holdFor time.Duration, key, user string, items ...allocator.CartItem) (allocator.Carted, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return n.RedeemCart(ctx, allocator.CartRequest{Key: key, UserID: user, Items: items, HoldFor: holdFor})
}

// refusedFor wants a cart to be refused because of an offer.
func refusedFor(t *testing.T, err error, offer string, want error) {
	t.Helper()
	refused, ok := errors.AsType[*models.CartError](err)
	if !ok || refused.OfferID != offer || !errors.Is(err, want) {
		t.Errorf("%v, want %v for %q", err, want, offer)
	}
}

func TestACartIsInTheLedgerWhateverTheModes(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		f.offers(fixedBlocks(models.ModeFast, 10), "fast")
		f.offers(fixedBlocks(models.ModeAvailable, 10), "available")
		here, there := f.nodes[0], f.nodes[1]
		made, err := here.buy("k", "u", bag("o", "fast", "available")...)
		if err != nil || made.Replayed || made.ID != models.CartIDOf("k") || len(made.Redemptions) != 3 {
			t.Fatalf("%+v, %v", made, err)
		}
		for i, offer := range []string{"o", "fast", "available"} {
			r := made.Redemptions[i]
			if r.RedemptionID != models.RedemptionIDOf(offer, "k") || r.Journaled || *r.CartID != made.ID || r.State != models.StateRedeemed {
				t.Errorf("%s: %+v", offer, r)
			}
			if b := f.balanceOf(offer); b.Redeemed != 1 {
				t.Errorf("%s: %+v", offer, b)
			}
		}
		if here.journal.last != 0 {
			t.Error("it is in the journal")
		}
		for _, n := range f.nodes {
			if again, err := n.buy("k", "u", bag("available", "o", "fast")...); err != nil || !again.Replayed || again.Redemptions[0].OfferID != "available" {
				t.Errorf("again: %+v, %v", again, err)
			}
			if read, err := n.Cart(t.Context(), made.ID); err != nil || len(read.Redemptions) != 3 || read.Redemptions[1].OfferID != "fast" {
				t.Errorf("read: %+v, %v", read, err)
			}
			if _, err := n.buy("k", "v", bag("o", "fast", "available")...); !errors.Is(err, models.ErrKeyReused) {
				t.Errorf("for another user: %v", err)
			}
			_, err := n.buy("k", "u", bag("o", "fast")...)
			refusedFor(t, err, "", models.ErrKeyReused)
		}
		if _, err := there.Refund(t.Context(), models.RedemptionIDOf("fast", "k"), allocator.RefundRequest{Key: "one"}); err != nil {
			t.Error(err)
		}
		for i, n := range []*testNode{there, here} {
			if back, err := n.RefundCart(t.Context(), made.ID, "whole", nil); err != nil || len(back.Refunds) != 2 || back.Replayed != (i == 1) {
				t.Errorf("refunded: %+v, %v", back, err)
			}
		}
		for _, offer := range []string{"o", "fast", "available"} {
			if b := f.balanceOf(offer); b.NetSpent() != 0 {
				t.Errorf("%s: %+v", offer, b)
			}
		}
		for _, look := range []func(context.Context, models.CartID) (allocator.Carted, error){here.Cart, here.ConfirmCart, here.CancelCart} {
			if _, err := look(t.Context(), models.CartIDOf("none")); !errors.Is(err, models.ErrCartNotFound) {
				t.Error(err)
			}
		}
	})
}

func TestACartOfHoldsEndsAsAWholeOrItemByItem(t *testing.T) {
	inFleet(t, 2, limitOne, func(t *testing.T, f *fleet) {
		f.offers(nil, "p")
		here, there := f.nodes[0], f.nodes[1]
		for _, key := range []string{"confirmed", "cancelled", "torn", "expired"} {
			r, err := here.buyFor(5*time.Second, time.Minute, key, key, bag("o", "p")...)
			if err != nil || r.Redemptions[0].State != models.StateHeld {
				t.Fatal(r, err)
			}
		}
		_, err := there.buy("more", "torn", bag("p", "o")...)
		refusedFor(t, err, "o", models.ErrUserLimitReached)
		for range 2 {
			if r, err := there.ConfirmCart(t.Context(), models.CartIDOf("confirmed")); err != nil || r.Redemptions[1].State != models.StateRedeemed {
				t.Errorf("%+v, %v", r, err)
			}
			if r, err := there.CancelCart(t.Context(), models.CartIDOf("cancelled")); err != nil || r.Redemptions[0].State != models.StateCancelled {
				t.Errorf("%+v, %v", r, err)
			}
		}
		if _, err := there.Cancel(t.Context(), models.RedemptionIDOf("p", "torn")); err != nil {
			t.Error(err)
		}
		_, err = here.ConfirmCart(t.Context(), models.CartIDOf("torn"))
		refusedFor(t, err, "p", models.ErrHoldResolved)
		if r, err := here.Cart(t.Context(), models.CartIDOf("torn")); err != nil || r.Redemptions[0].State != models.StateHeld {
			t.Errorf("the other item: %+v, %v", r, err)
		}
		if r, err := here.CancelCart(t.Context(), models.CartIDOf("torn")); err != nil || r.Redemptions[0].State != models.StateCancelled {
			t.Errorf("%+v, %v", r, err)
		}
		time.Sleep(2 * time.Minute)
		_, err = here.ConfirmCart(t.Context(), models.CartIDOf("expired"))
		refusedFor(t, err, "o", models.ErrHoldResolved)
		for _, offer := range []string{"o", "p"} {
			if b := f.balanceOf(offer); b.Redeemed != 1 || b.Held != 0 {
				t.Errorf("%s: %+v", offer, b)
			}
		}
	})
}

func TestB3ARetryOfACartWithAnEndedItemIsNoSuccess(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		f.offers(nil, "p")
		if _, err := f.nodes[0].buyFor(5*time.Second, time.Minute, "k", "u", bag("o", "p")...); err != nil {
			t.Fatal(err)
		}
		retry := func(n *testNode) error {
			_, err := n.buyFor(5*time.Second, time.Minute, "k", "u", bag("o", "p")...)
			return err
		}
		if _, err := f.nodes[0].Confirm(t.Context(), models.RedemptionIDOf("o", "k"), 0); err != nil {
			t.Fatal(err)
		}
		if err := retry(f.nodes[1]); err != nil {
			t.Errorf("with no item that came to nothing: %v", err)
		}
		if _, err := f.nodes[1].Cancel(t.Context(), models.RedemptionIDOf("p", "k")); err != nil {
			t.Fatal(err)
		}
		for _, n := range f.nodes {
			refusedFor(t, retry(n), "p", models.ErrHoldResolved)
		}
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		refusedFor(t, retry(f.nodes[0]), "p", models.ErrHoldResolved)
	})
}

// One of two offers is sold out: nothing is spent from either, and what was set aside for a moment can be sold.
func TestACartOfASoldOutOfferSpendsNothing(t *testing.T) {
	inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
		f.offers(func(o *models.Offer) { o.Budget, o.BudgetTarget = 1, 1 }, "p")
		if _, err := f.nodes[0].buy("last", "u", bag("o", "p")...); err != nil {
			t.Fatal(err)
		}
		for i, n := range f.nodes {
			_, err := n.buy(fmt.Sprint(i), "v", bag("p", "o")...)
			refusedFor(t, err, "p", models.ErrBudgetExhausted)
			if _, err := n.Cart(t.Context(), models.CartIDOf(fmt.Sprint(i))); !errors.Is(err, models.ErrCartNotFound) {
				t.Error(err)
			}
			if again, err := n.buy("last", "u", bag("o", "p")...); err != nil || !again.Replayed {
				t.Errorf("the retry of the last one: %+v, %v", again, err)
			}
			_, err = n.buy("last", "u", bag("p")...)
			refusedFor(t, err, "", models.ErrKeyReused)
		}
		if b := f.balance(); b.Redeemed != 1 {
			t.Errorf("%+v", b)
		}
		for i := range 99 { // each node has some of what is left
			_, err := f.nodes[0].redeem(fmt.Sprint("rest", i), "u", 1)
			if errors.Is(err, models.ErrBudgetHeld) {
				_, err = f.nodes[1].redeem(fmt.Sprint("rest", i), "u", 1)
			}
			if err != nil {
				t.Fatal(i, err)
			}
		}
	})
}

func TestACartIsAnsweredWhateverBecameOfItsOffers(t *testing.T) {
	for _, status := range []models.Status{models.StatusPaused, models.StatusEnded} {
		inFleet(t, 2, nil, func(t *testing.T, f *fleet) {
			f.offers(nil, "p")
			if _, err := f.nodes[0].buyFor(5*time.Second, time.Hour, "k", "u", bag("o", "p")...); err != nil {
				t.Fatal(err)
			}
			f.change(func(o *models.Offer) { o.Status = status })
			for _, n := range f.nodes {
				_, err := n.buy("l", "u", bag("p", "o")...)
				refusedFor(t, err, "o", models.ErrOfferNotActive)
				if r, err := n.buyFor(5*time.Second, time.Hour, "k", "u", bag("p", "o")...); err != nil || !r.Replayed {
					t.Errorf("%+v, %v", r, err)
				}
			}
			if _, err := f.nodes[1].ConfirmCart(t.Context(), models.CartIDOf("k")); err != nil {
				t.Error(err)
			}
			if _, err := f.nodes[1].RefundCart(t.Context(), models.CartIDOf("k"), "r", nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// An offer is paused while a cart has its units and waits for those of another.
func TestACartThatWaitedIsNotBookedAfterAPause(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.offers(nil, "p")
		n := f.nodes[0]
		if _, err := n.redeem("first", "u", 1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		f.fail(func(call string) error {
			if call == "Grant" {
				time.Sleep(time.Second)
			}
			return nil
		})
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := n.buy("k", "u", bag("o", "p")...)
			refusedFor(t, err, "o", models.ErrOfferNotActive)
		})
		time.Sleep(time.Second / 2)
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		wg.Wait()
		if b := f.balance(); b.Redeemed != 1 {
			t.Errorf("%+v", b)
		}
	})
}

func TestTheSameCartAtOnceIsOne(t *testing.T) {
	inFleet(t, 3, limitOne, func(t *testing.T, f *fleet) {
		f.offers(nil, "p", "q")
		var first atomic.Int64
		var wg sync.WaitGroup
		for i := range 60 {
			wg.Go(func() {
				items := [][]string{{"o", "p", "q"}, {"q", "o", "p"}}[i%2]
				r, err := f.nodes[i%3].buy("k", "u", bag(items...)...)
				if err != nil {
					t.Error(err)
				}
				if !r.Replayed {
					first.Add(1)
				}
			})
		}
		wg.Wait()
		if b := f.balance(); b.Redeemed != 1 || first.Load() != 1 {
			t.Errorf("redeemed %d, called new %d times", b.Redeemed, first.Load())
		}
	})
}

// The journal's keys are kept from carts, and theirs from the journal, on their node.
func TestACartAndARedemptionByItselfWithOneKey(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 10), func(t *testing.T, f *fleet) {
		f.offers(nil, "p")
		n := f.nodes[0]
		if _, err := n.buy("cart", "u", bag("o", "p")...); err != nil {
			t.Fatal(err)
		}
		f.fail(func(call string) error {
			if call == "Settle" {
				return models.ErrBusy
			}
			return nil
		})
		if r, err := n.redeem("alone", "u", 1); err != nil || !r.Redemption.Journaled {
			t.Fatal(r, err)
		}
		_, err := n.buy("alone", "u", bag("p", "o")...)
		refusedFor(t, err, "o", models.ErrKeyReused)
		if _, err := n.redeem("cart", "u", 1); !errors.Is(err, models.ErrKeyReused) {
			t.Error(err)
		}
		f.back()
		time.Sleep(time.Second)
		_, err = f.nodes[1].buy("alone", "u", bag("p", "o")...)
		refusedFor(t, err, "o", models.ErrKeyReused)
		if b := f.balanceOf("p"); b.Redeemed != 1 {
			t.Errorf("%+v", b)
		}
		if listed, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{}); err != nil || len(listed) != 0 {
			t.Errorf("%v, %v", listed, err)
		}
	})
}

func TestACartIsNeverAnsweredFromTheJournal(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		inFleet(t, 1, fixedBlocks(mode, 10), func(t *testing.T, f *fleet) {
			f.offers(fixedBlocks(mode, 10), "p")
			n := f.nodes[0]
			if _, err := n.buy("before", "u", bag("o", "p")...); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			f.away()
			if _, err := n.buy("k", "u", bag("o", "p")...); !errors.Is(err, models.ErrLedgerUnavailable) {
				t.Error(err)
			}
			if _, err := n.redeem("alone", "u", 1); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
			for _, look := range []func(context.Context, models.CartID) (allocator.Carted, error){n.Cart, n.ConfirmCart, n.CancelCart} {
				if _, err := look(t.Context(), models.CartIDOf("before")); !errors.Is(err, models.ErrLedgerUnavailable) {
					t.Error(err)
				}
			}
			f.back()
			time.Sleep(time.Second)
			if b := f.balanceOf("p"); b.Redeemed != 1 {
				t.Errorf("%+v", b)
			}
			if r, err := n.buy("k", "u", bag("o", "p")...); err != nil || r.Replayed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// In an outage, a limit holds by what the node knows, and it knows its carts.
func TestACartCountsForItsUserInAnOutage(t *testing.T) {
	inFleet(t, 1, func(o *models.Offer) { limitOne(o); fixedBlocks(models.ModeAvailable, 10)(o) }, func(t *testing.T, f *fleet) {
		f.offers(nil, "p")
		n := f.nodes[0]
		if _, err := n.buy("k", "u", bag("o", "p")...); err != nil {
			t.Fatal(err)
		}
		f.away()
		if r, err := n.redeem("more", "u", 1); err == nil {
			t.Errorf("%+v", r)
		}
		if _, err := n.redeem("other", "v", 1); err != nil {
			t.Error(err)
		}
		f.back()
		time.Sleep(2 * time.Second)
		if b := f.balance(); b.Redeemed != 2 {
			t.Errorf("%+v", b)
		}
	})
}

// The reply to COMMIT is lost, and the database stays away past the requester's time. Its retry hears what became of it.
func TestACartOfUnknownOutcomeIsHeardOfByItsRetry(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			inFleet(t, 2, limitOne, func(t *testing.T, f *fleet) {
				f.offers(nil, "p")
				n := f.nodes[0]
				lose := func(call string) error {
					if call == "SettleCart" {
						return models.ErrOutcomeUnknown
					}
					return nil
				}
				if committed {
					f.lose(lose)
				} else {
					f.fail(lose)
				}
				for range 2 {
					_, err := n.buyFor(2*time.Second, 0, "k", "u", bag("o", "p")...)
					if !errors.Is(err, models.ErrOutcomeUnknown) && !errors.Is(err, models.ErrRequestInFlight) {
						t.Error(err)
					}
				}
				f.back()
				for _, n := range f.nodes {
					r, err := n.buy("k", "u", bag("o", "p")...)
					if err != nil || r.Replayed != (committed || n != f.nodes[0]) {
						t.Errorf("%+v, %v", r, err)
					}
				}
				if a, b := f.balance(), f.balanceOf("p"); a.Redeemed != 1 || b.Redeemed != 1 {
					t.Errorf("%+v, %+v", a, b)
				}
			})
		})
	}
}
