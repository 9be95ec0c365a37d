package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"tranche/models"
)

// cart is one of the lossy offer, whose users may redeem once, and of a second offer.
func (l *lossy) cart(key string, leases [2]models.Lease) (models.Cart, []models.Batch) {
	c := models.Cart{ID: models.CartIDOf(key), IdempotencyKey: key, OfferIDs: models.OfferIDs{leases[0].OfferID, leases[1].OfferID}}
	items := make([]models.Batch, len(leases))
	for i, lease := range leases {
		w := l.redeem(key)
		w.OfferID, w.Redemption, w.CartID = lease.OfferID, models.RedemptionIDOf(lease.OfferID, key).Hash, &c.ID
		items[i] = models.Batch{Offer: &l.offer, LeaseID: lease.ID, Wanted: []models.Wanted{w}}
		if i == 1 {
			items[i].Offer = &models.Offer{ID: lease.OfferID}
		}
	}
	return c, items
}

// second makes another offer, without limits.
func (l *lossy) second(budget int64) string {
	o, _, err := l.good.CreateOffer(l.ctx, models.Offer{
		ID: "second", Name: "second", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: budget,
		LeaseSize: 10, LeaseTTLSeconds: 60, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
	}, models.Audit{})
	l.ok(err)
	return o.ID
}

func (l *lossy) leases(units int64, offers ...string) (leases [2]models.Lease) {
	for i, offer := range offers {
		req := l.request(units)
		req.OfferID = offer
		g, err := l.good.Grant(l.ctx, req)
		l.ok(err)
		leases[i] = *g.Lease
	}
	return leases
}

func (l *lossy) redeemed(offer string, want int64) {
	l.Helper()
	b, err := l.good.Balance(l.ctx, offer)
	l.ok(err)
	if b.Redeemed != want || b.Allocated != b.NetSpent()+b.Outstanding {
		l.Fatalf("offer %s: %d redeemed, want %d: %+v", offer, b.Redeemed, want, b)
	}
}

// A lost reply to a cart is not called "nothing happened". The same cart says it, from another connection, and is nobody's replay.
func TestACartDoesNotGuessTheOutcome(t *testing.T) {
	each(t, func(l *lossy) {
		leases := l.leases(10, l.offer.ID, l.second(100))
		for i := range int64(3) {
			c, items := l.cart(fmt.Sprint(i), leases)
			_, err := l.bad.SettleCart(l.ctx, c, items)
			l.unknown(err)
			verdicts, err := l.good.SettleCart(l.ctx, c, items)
			l.ok(err)
			for j, v := range verdicts {
				if v.Err != nil || v.Replayed || v.Entry.ID != items[j].Wanted[0].ID {
					l.Fatalf("cart %d: %+v", i, v)
				}
			}
			l.redeemed(l.offer.ID, i+1)
			l.redeemed("second", i+1)
			l.answer()
		}
	})
}

// A cart that is on its way while one of its leases is closed by another counts as a whole, or never will.
func TestACartOnItsWayAgainstReclaim(t *testing.T) {
	each(t, func(l *lossy) {
		second := l.second(100)
		booked := int64(0)
		for i := range 4 {
			leases := l.leases(10, l.offer.ID, second)
			c, items := l.cart(fmt.Sprint(i), leases)
			_, err := l.bad.SettleCart(l.ctx, c, items)
			l.unknown(err)
			taken := leases[i%2]
			closed, did, err := l.good.CloseLease(l.ctx, taken.OfferID, taken.ID, models.LeaseReclaimed, nil)
			l.ok(err)
			if !did {
				l.Fatal("not closed")
			}
			verdicts, err := l.good.SettleCart(l.ctx, c, items)
			var refused *models.CartError
			switch {
			case err == nil && closed.Spent == 1 && !verdicts[0].Replayed && !verdicts[1].Replayed:
				booked++
			case errors.Is(err, models.ErrLeaseClosed) && errors.As(err, &refused) && refused.OfferID == taken.OfferID && closed.Spent == 0:
			default:
				l.Fatalf("closed with %d spent, then the cart is %v, %v", closed.Spent, verdicts, err)
			}
			l.redeemed(l.offer.ID, booked)
			l.redeemed(second, booked)
			l.answer()
		}
	})
}

// Whichever replies are lost, carts that are repeated until they are decided are booked once, and so is what ends them.
func TestLostRepliesToCarts(t *testing.T) {
	const lanes, rounds = 4, 40
	l := newLossy(t, lanes*rounds, 3, cutBefore, cutAfter, deliverLate)
	second := l.second(lanes * rounds)
	var working sync.WaitGroup
	for lane := range lanes {
		leases := l.leases(rounds, l.offer.ID, second)
		pools := leases
		for i := range pools {
			opened, _, err := l.good.OpenPool(l.ctx, models.Lease{OfferID: leases[i].OfferID, ID: models.NewID(), NodeID: l.node, Epoch: l.epoch, TTLSeconds: 60})
			l.ok(err)
			pools[i] = opened
		}
		working.Go(func() {
			for round := range rounds {
				c, items := l.cart(fmt.Sprint(lane, "-", round), leases)
				l.settleCart(c, items)
				if round%2 == 0 {
					l.settleCart(c, l.refunds(items, pools))
				}
			}
		})
	}
	working.Wait()
	if t.Failed() {
		return
	}
	for _, offer := range []string{l.offer.ID, second} {
		b, err := l.good.Balance(l.ctx, offer)
		l.ok(err)
		if b.Redeemed != lanes*rounds || b.Forfeited != 0 || b.Refunded+b.NetSpent() != b.Redeemed || b.Refunded != lanes*rounds/2 {
			t.Errorf("%s: %+v", offer, b)
		}
	}
	if t.Logf("%d replies were lost", l.lost.Load()); l.lost.Load() < rounds {
		t.Error("too few to show anything")
	}
}

// refunds gives back all of a cart's items.
func (l *lossy) refunds(items []models.Batch, pools [2]models.Lease) []models.Batch {
	refunds := make([]models.Batch, len(items))
	for i, item := range items {
		offer := *item.Offer
		offer.RefundRestoresBudget, offer.RefundRestoresUserLimit = true, true
		w := models.Wanted{Entry: models.Entry{
			OfferID: offer.ID, ID: models.NewID(), Redemption: item.Wanted[0].Redemption, Kind: models.KindRefund, IdempotencyKey: "r", CreatedAt: 1,
		}}
		refunds[i] = models.Batch{Offer: &offer, LeaseID: pools[i].ID, Wanted: []models.Wanted{w}}
	}
	return refunds
}

func (l *lossy) settleCart(c models.Cart, items []models.Batch) {
	for _, v := range until(l, func() ([]models.Verdict, error) { return l.bad.SettleCart(l.ctx, c, items) }) {
		if v.Err != nil || v.Replayed {
			l.Errorf("cart %s: %+v", c.IdempotencyKey, v)
		}
	}
}
