package settle

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"tranche/lease"
	"tranche/models"
)

// withSecondOffer is a settlerOnFake with a second offer and a block of it.
type withSecondOffer struct {
	*settlerOnFake
	offers [2]*models.Offer
	blocks [2]*lease.Block
}

func withTwoOffers(t *testing.T, budget int64, test func(t *testing.T, b *withSecondOffer)) {
	inBubble(t, budget, func(t *testing.T, one *settlerOnFake) {
		terms := *one.offer
		terms.ID, terms.Allocated, terms.Version = "p", 0, 0
		second, _, err := one.fake.CreateOffer(t.Context(), terms, models.Audit{})
		if err != nil {
			t.Fatal(err)
		}
		b := &withSecondOffer{settlerOnFake: one, offers: [2]*models.Offer{one.offer, &second}}
		grant, err := b.fake.Grant(t.Context(), models.GrantRequest{
			OfferID: "p", NodeID: b.node, Epoch: 1, LeaseID: models.NewID(),
			Size: func(*models.Offer, int64, int64) int64 { return budget },
		})
		if err != nil {
			t.Fatal(err)
		}
		b.blocks = [2]*lease.Block{one.block, lease.NewBlock(grant.Lease, time.Now().Add(time.Hour))}
		test(t, b)
	})
}

// items spends a unit of each offer for a cart.
func (b *withSecondOffer) items(key string) (models.Cart, []lease.Posting) {
	b.t.Helper()
	c := models.Cart{ID: models.CartIDOf(key), IdempotencyKey: key, OfferIDs: models.OfferIDs{"o", "p"}}
	items := make([]lease.Posting, len(b.offers))
	for i, o := range b.offers {
		if !b.blocks[i].Spend(1, time.Now()) {
			b.t.Fatalf("the block of %s is empty", o.ID)
		}
		e := redeem(key)
		e.OfferID, e.Redemption, e.CartID = o.ID, models.RedemptionIDOf(o.ID, key).Hash, &c.ID
		items[i] = lease.Posting{Block: b.blocks[i], Offer: o, Entry: e}
	}
	return c, items
}

func (b *withSecondOffer) buy(key string, timeout time.Duration, decided func()) ([]models.Verdict, error) {
	b.t.Helper()
	c, items := b.items(key)
	ctx, cancel := context.WithTimeout(b.t.Context(), timeout)
	defer cancel()
	return b.settler.SettleCart(ctx, c, items, decided)
}

// sold checks that so many carts are booked on both blocks, and nothing is pending.
func (b *withSecondOffer) sold(carts int64) {
	b.t.Helper()
	for i, o := range b.offers {
		balance, err := b.fake.Balance(b.t.Context(), o.ID)
		if err != nil {
			b.t.Fatal(err)
		}
		block := b.blocks[i]
		if balance.Redeemed != carts || block.Pending() != 0 || !block.Sealed() && block.Left() != balance.Outstanding {
			b.t.Errorf("%s: want %d redeemed: %+v; the block has %d left, %d pending", o.ID, carts, balance, block.Left(), block.Pending())
		}
	}
}

func TestACartIsBookedOnAllItsBlocks(t *testing.T) {
	withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
		calls := 0
		verdicts, err := b.buy("k", time.Second, func() { calls++ })
		if err != nil || len(verdicts) != 2 || verdicts[0].Replayed || verdicts[1].Entry.OfferID != "p" || calls != 1 {
			t.Errorf("%+v, %v; decided %d times", verdicts, err, calls)
		}
		if verdicts, err = b.buy("k", time.Second, nil); err != nil || !verdicts[0].Replayed || !verdicts[1].Replayed {
			t.Errorf("again: %+v, %v", verdicts, err)
		}
		b.sold(1)
	})
}

func TestARefusedCartGivesAllItsUnitsBack(t *testing.T) {
	withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
		other := redeem("k")
		other.OfferID, other.Redemption = "p", models.RedemptionIDOf("p", "k").Hash
		b.blocks[1].Spend(1, time.Now())
		if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.blocks[1], Offer: b.offers[1], Entry: other}, nil); err != nil {
			t.Fatal(err)
		}
		_, err := b.buy("k", time.Second, nil)
		var refused *models.CartError
		if !errors.As(err, &refused) || refused.OfferID != "p" || !errors.Is(err, models.ErrKeyReused) {
			t.Error(err)
		}
		b.fake.Fail = func(string) error { return models.ErrLedgerUnavailable }
		if _, err := b.buy("l", time.Second, nil); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		b.fake.Fail = nil
		if b.blocks[0].Left() != 10 || b.blocks[1].Left() != 9 {
			t.Errorf("left %d and %d", b.blocks[0].Left(), b.blocks[1].Left())
		}
	})
}

func TestAClosedLeaseIsSealedForTheCartToGoElsewhere(t *testing.T) {
	withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
		if _, _, err := b.fake.CloseLease(t.Context(), "p", b.blocks[1].LeaseID, models.LeaseReclaimed, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := b.buy("k", time.Second, nil); !errors.Is(err, models.ErrLeaseClosed) {
			t.Error(err)
		}
		if b.blocks[0].Sealed() || !b.blocks[1].Sealed() || b.blocks[0].Left() != 10 || b.blocks[1].Pending() != 0 {
			t.Errorf("sealed: %t, %t", b.blocks[0].Sealed(), b.blocks[1].Sealed())
		}
	})
}

// The reply to COMMIT is lost, and the attempts after it fail for a while. It runs again until it is known, and its requester hears.
func TestACartOfUnknownOutcomeIsFoundOut(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
				attempts := 0
				fault := func(call string) error {
					if attempts++; call != "SettleCart" || attempts > 4 {
						return nil
					}
					return []error{models.ErrOutcomeUnknown, models.ErrBusy, models.ErrLedgerUnavailable, models.ErrOutcomeUnknown}[attempts-1]
				}
				if committed {
					b.fake.After = fault
				} else {
					b.fake.Fail = fault
				}
				verdicts, err := b.buy("k", 5*time.Second, nil)
				if err != nil || verdicts[0].Replayed || verdicts[1].Replayed || attempts != 5 {
					t.Errorf("%+v, %v, after %d attempts", verdicts, err, attempts)
				}
				b.sold(1)
			})
		})
	}
}

// A lease is reclaimed while the outcome is unknown: the cart is there, or it certainly is not.
func TestACartOfUnknownOutcomeAndAReclaimedLease(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
				lost := false
				fault := func(call string) error {
					if call != "SettleCart" || lost {
						return nil
					}
					lost = true
					go func() { _, _, _ = b.fake.CloseLease(t.Context(), "o", b.blocks[0].LeaseID, models.LeaseReclaimed, nil) }()
					return models.ErrOutcomeUnknown
				}
				if committed {
					b.fake.After = fault
				} else {
					b.fake.Fail = fault
				}
				_, err := b.buy("k", 5*time.Second, nil)
				if committed && err != nil || !committed && !errors.Is(err, models.ErrLeaseClosed) {
					t.Error(err)
				}
				b.blocks[0].Seal() // as its keeper does when it hears of it
				b.sold(map[bool]int64{true: 1}[committed])
			})
		})
	}
}

// Its requester has gone: what no attempt has written by then never is, and what one has written stands.
func TestACartIsNotWrittenAfterItsDeadline(t *testing.T) {
	for name, committed := range map[string]bool{"committed": true, "not committed": false} {
		t.Run(name, func(t *testing.T) {
			withTwoOffers(t, 10, func(t *testing.T, b *withSecondOffer) {
				began := time.Now()
				outage := func(call string) error {
					if call == "SettleCart" && time.Since(began) < 10*time.Second {
						return models.ErrOutcomeUnknown
					}
					return nil
				}
				if committed {
					b.fake.After = outage
				} else {
					b.fake.Fail = outage
				}
				decided := make(chan time.Duration, 1)
				_, err := b.buy("k", time.Second, func() { decided <- time.Since(began) })
				if !errors.Is(err, models.ErrOutcomeUnknown) || time.Since(began) != time.Second || len(decided) != 0 {
					t.Errorf("after %s: %v", time.Since(began), err)
				}
				if b.blocks[0].Pending() != 1 {
					t.Error("its unit may be spent by others while it may still be booked")
				}
				if after := <-decided; after < 10*time.Second || after > 12*time.Second {
					t.Errorf("decided after %s", after)
				}
				b.sold(map[bool]int64{true: 1}[committed])
			})
		})
	}
}

func TestCartsLeaveConnectionsToBatches(t *testing.T) {
	withTwoOffers(t, 2000, func(t *testing.T, b *withSecondOffer) {
		var under, most atomic.Int64
		b.fake.Fail = func(call string) error {
			if call == "SettleCart" {
				n := under.Add(1)
				for was := most.Load(); n > was && !most.CompareAndSwap(was, n); was = most.Load() {
				}
				time.Sleep(100 * time.Millisecond)
				under.Add(-1)
			}
			return nil
		}
		var sold, late, turnedAway atomic.Int64
		var wg sync.WaitGroup
		for i := range cartsAtOnce + maxCartsWaiting + 10 {
			wg.Go(func() {
				switch _, err := b.buy(fmt.Sprint(i), 5*time.Second, nil); {
				case err == nil:
					sold.Add(1)
				case errors.Is(err, models.ErrOverloaded):
					turnedAway.Add(1)
				case errors.Is(err, models.ErrLedgerUnavailable), errors.Is(err, models.ErrOutcomeUnknown):
					late.Add(1)
				default:
					t.Error(err)
				}
			})
		}
		wg.Wait()
		synctest.Wait()
		if most.Load() != cartsAtOnce || turnedAway.Load() != 10 || late.Load() == 0 || sold.Load() < 40*cartsAtOnce {
			t.Errorf("%d at once; %d sold, %d late, %d turned away", most.Load(), sold.Load(), late.Load(), turnedAway.Load())
		}
		time.Sleep(time.Second) // those that were under way at their deadline
		balance, _ := b.fake.Balance(t.Context(), "o")
		b.sold(balance.Redeemed)
	})
}

func TestStopAgainstCarts(t *testing.T) {
	withTwoOffers(t, 100, func(t *testing.T, b *withSecondOffer) {
		b.fake.After = func(call string) error {
			if call == "SettleCart" {
				return models.ErrOutcomeUnknown
			}
			return nil
		}
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := b.buy(fmt.Sprint(i), time.Minute, nil); !errors.Is(err, models.ErrOutcomeUnknown) {
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		b.settler.Stop(ctx)
		wg.Wait()
		if _, err := b.buy("after", time.Minute, nil); !errors.Is(err, models.ErrDraining) {
			t.Error(err)
		}
		if p := b.blocks[0].Pending() + b.blocks[1].Pending(); p != 0 {
			t.Errorf("%d pending", p)
		}
	})
}

// Carts of a user whose counters are locked wait without a turn, so all turns are left to others.
func TestC4CartsOfALockedUserTakeNoTurn(t *testing.T) {
	withTwoOffers(t, 2000, func(t *testing.T, b *withSecondOffer) {
		limit := int64(1000)
		b.offers[1].UserLimitUnits = &limit
		free := time.Now().Add(20 * time.Second)
		stuck := func(user string) bool { return user == "stuck" && time.Now().Before(free) }
		b.ledger.locks = func(w models.Wanted) bool { return stuck(w.UserID) }
		b.ledger.beforeCart = func(items []models.Batch) error {
			if stuck(items[1].Wanted[0].UserID) {
				time.Sleep(4 * time.Second) // its lock waits
				return models.ErrBusy
			}
			return nil
		}
		buy := func(user, key string) error {
			c, items := b.items(key)
			for i := range items {
				items[i].Entry.UserID = user
			}
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			defer cancel()
			_, err := b.settler.SettleCart(ctx, c, items, nil)
			return err
		}
		if err := buy("stuck", "first"); !errors.Is(err, models.ErrBusy) {
			t.Error(err)
		}
		var wg sync.WaitGroup
		for i := range 2 * cartsAtOnce {
			wg.Go(func() {
				if err := buy("stuck", fmt.Sprint("stuck", i)); !errors.Is(err, models.ErrBusy) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		began := time.Now()
		if err := buy("other", "other"); err != nil || time.Since(began) > 0 {
			t.Errorf("another user hears %v after %s", err, time.Since(began))
		}
		wg.Wait()
		time.Sleep(time.Until(free))
		if err := buy("stuck", "later"); err != nil {
			t.Error("when the lock is gone:", err)
		}
		b.sold(2)
	})
}
