package storetest

import (
	"errors"
	"slices"

	"tranche/models"
)

// cart is the row of one that a key names.
func cart(key string, of ...*lane) models.Cart {
	c := models.Cart{ID: models.CartIDOf(key), IdempotencyKey: key, CreatedAt: 1_700_000_000_000_000}
	for _, l := range of {
		c.OfferIDs = append(c.OfferIDs, l.offer.ID)
	}
	return c
}

// item is what a cart wants of a lane's offer.
func (l *lane) item(w models.Wanted) models.Batch {
	if w.Kind.Spends() {
		w.CartID = pointer(models.CartIDOf(w.IdempotencyKey))
	}
	return models.Batch{Offer: l.offer, LeaseID: l.lease.ID, Wanted: []models.Wanted{w}}
}

func (l *lane) wants(key, user string, units int64) models.Batch {
	return l.item(redeem(l.offer, key, user, units))
}

// bought settles a cart and wants it to be booked by this call, or one before it with the same entries.
func (b *trial) bought(c models.Cart, items ...models.Batch) []models.Verdict {
	b.Helper()
	verdicts, err := b.SettleCart(b.ctx, c, items)
	b.ok(err)
	equal(b, "verdicts", len(verdicts), len(items))
	for i, v := range verdicts {
		b.ok(v.Err)
		equal(b, "replayed", v.Replayed, false)
		equal(b, "entry", v.Entry.ID, items[i].Wanted[0].ID)
		equal(b, "lease", v.Entry.LeaseID, items[i].LeaseID)
	}
	return verdicts
}

// refusesCart settles a cart and wants it to be refused, because of this lane's item; nil: because of the cart itself.
func (b *trial) refusesCart(want error, because *lane, c models.Cart, items ...models.Batch) {
	b.Helper()
	_, err := b.SettleCart(b.ctx, c, items)
	b.fails(err, want)
	var refused *models.CartError
	if !errors.As(err, &refused) {
		b.Fatalf("not a refusal of a cart: %v", err)
	}
	offer := ""
	if because != nil {
		offer = because.offer.ID
	}
	equal(b, "because of", refused.OfferID, offer)
}

// shop is three offers, each with a lease of 10 and a pool; the middle one counts its users.
func (b *trial) shop() (lanes, pools [3]*lane) {
	b.Helper()
	for i := range lanes {
		o := b.offer(20, func(o *models.Offer) {
			if i == 1 {
				o.UserLimitRedemptions = pointer(int64(2))
			}
		})
		lanes[i], pools[i] = b.lane(o, 10), b.pool(o)
	}
	return lanes, pools
}

// key gives one that no other subtest uses: carts are named by their key alone.
func (b *trial) key(name string) string { return name + "-" + b.tag }

var cartTests = []test{
	{"a cart is a redemption of each of its offers", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		c := cart(k, l[2], l[0], l[1]) // in no order
		w := l[2].wants(k, "u", 3)
		w.Wanted[0].OrderID, w.Wanted[0].Metadata = pointer("order"), pointer(`{"a":"😀"}`)
		verdicts := b.bought(c, w, l[0].wants(k, "u", 1), l[1].wants(k, "u", 2))
		for i, v := range verdicts {
			equal(b, "redemption", v.Redemption.RedemptionID, models.RedemptionIDOf(c.OfferIDs[i], k))
			equal(b, "cart", *v.Redemption.CartID, c.ID)
		}
		equal(b, "order", *verdicts[0].Redemption.OrderID, "order")
		b.has(l[0].offer, books{redeemed: 1, outstanding: 9})
		b.has(l[1].offer, books{redeemed: 2, outstanding: 8})
		b.has(l[2].offer, books{redeemed: 3, outstanding: 7})
		b.uses(l[1].offer, "u", 1, 2, 0)

		read, err := b.Cart(b.ctx, c.ID)
		b.ok(err)
		equal(b, "key", read.IdempotencyKey, k)
		equal(b, "made", read.CreatedAt, c.CreatedAt)
		if !slices.Equal(read.OfferIDs, c.OfferIDs) || !slices.Equal(read.Redemptions(), c.Redemptions()) {
			b.Fatalf("read %+v, want %+v", read, c)
		}
		for _, id := range read.Redemptions() {
			histories, err := b.Histories(b.ctx, id.OfferID, []models.ID{id.Hash})
			b.ok(err)
			equal(b, "cart of the entry", *histories[id.Hash][0].CartID, c.ID)
		}
		_, err = b.Cart(b.ctx, models.CartIDOf(b.key("none")))
		b.fails(err, models.ErrCartNotFound)
	}},
	{"a cart is sound whatever the batches of its leases do", func(b *trial) {
		l, p := b.shop()
		l[0].booked(redeem(l[0].offer, "before", "v", 1))
		k := b.key("k")
		b.bought(cart(k, l[0], l[1]), l[0].wants(k, "u", 2), l[1].wants(k, "u", 2))
		l[0].booked(redeem(l[0].offer, "after", "v", 3))
		p[0].booked(refund(l[0].offer, "after", "r", 2))
		b.bought(cart(b.key("from the pool"), p[0], l[1]), p[0].wants(b.key("from the pool"), "v", 2), l[1].wants(b.key("from the pool"), "v", 1))
		b.has(l[0].offer, books{redeemed: 8, refunded: 2, outstanding: 4})
		l[0].close()
		p[0].close()
		equal(b, "allocated", b.audit(l[0].offer).Allocated, 6)
	}},
	{"a cart again, from the same node or another, is the same cart", func(b *trial) {
		l, p := b.shop()
		k := b.key("k")
		c, items := cart(k, l[0], l[1]), []models.Batch{l[0].wants(k, "u", 2), l[1].wants(k, "u", 2)}
		first := b.bought(c, items...)
		b.bought(c, items...) // after a lost reply
		p[0].booked(refund(l[0].offer, k, "r", 1))
		again, err := b.SettleCart(b.ctx, cart(k, l[1], l[0]), []models.Batch{l[1].wants(k, "u", 2), l[0].wants(k, "u", 2)})
		b.ok(err)
		for i, v := range again {
			b.ok(v.Err)
			equal(b, "replayed", v.Replayed, true)
			equal(b, "entry", v.Entry.ID, first[1-i].Entry.ID)
		}
		equal(b, "refunded by now", again[1].Redemption.RefundedUnits, 1)
		read, err := b.Cart(b.ctx, c.ID)
		b.ok(err)
		if !slices.Equal(read.OfferIDs, c.OfferIDs) {
			b.Fatalf("the cart's row has changed: %+v", read)
		}
		b.has(l[0].offer, books{redeemed: 2, refunded: 1, outstanding: 9})
		b.has(l[1].offer, books{redeemed: 2, outstanding: 8})
		b.uses(l[1].offer, "u", 1, 2, 0)
	}},
	{"another cart under the same key is refused", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		b.bought(cart(k, l[0], l[1]), l[0].wants(k, "u", 2), l[1].wants(k, "u", 2))
		b.refusesCart(models.ErrKeyReused, nil, cart(k, l[0]), l[0].wants(k, "u", 2))
		b.refusesCart(models.ErrKeyReused, nil, cart(k, l[0], l[2]), l[0].wants(k, "u", 2), l[2].wants(k, "u", 2))
		b.refusesCart(models.ErrKeyReused, nil, cart(k, l[2]), l[2].wants(k, "u", 2))
		b.refusesCart(models.ErrKeyReused, l[1], cart(k, l[0], l[1]), l[0].wants(k, "u", 2), l[1].wants(k, "u", 3))
		b.refusesCart(models.ErrKeyReused, l[0], cart(k, l[0], l[1]), l[0].wants(k, "v", 2), l[1].wants(k, "v", 2))
		longer := l[0].item(hold(l[0].offer, k, "u", 2))
		b.refusesCart(models.ErrKeyReused, l[0], cart(k, l[0], l[1]), longer, l[1].item(hold(l[1].offer, k, "u", 2)))
		b.has(l[2].offer, books{outstanding: 10})
		b.has(l[0].offer, books{redeemed: 2, outstanding: 8})
	}},
	{"a cart and a redemption by itself don't share a key", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		l[1].booked(redeem(l[1].offer, k, "u", 2))
		b.refusesCart(models.ErrKeyReused, l[1], cart(k, l[0], l[1]), l[0].wants(k, "u", 2), l[1].wants(k, "u", 2))
		b.has(l[0].offer, books{outstanding: 10})
		b.bought(cart(k, l[0], l[2]), l[0].wants(k, "u", 2), l[2].wants(k, "u", 2)) // the key is free in these
		b.fails(l[0].settle(redeem(l[0].offer, k, "u", 2))[0].Err, models.ErrKeyReused)
		b.has(l[0].offer, books{redeemed: 2, outstanding: 8})
	}},
	{"one item that is refused refuses the cart, and nothing of it is written", func(b *trial) {
		l, _ := b.shop()
		for _, key := range []string{"1", "2"} {
			l[1].booked(redeem(l[1].offer, key, "u", 1))
		}
		k := b.key("k")
		for _, items := range [][]models.Batch{
			{l[0].wants(k, "u", 1), l[1].wants(k, "u", 1), l[2].wants(k, "u", 1)},
			{l[1].wants(k, "u", 1), l[0].wants(k, "u", 1)},
		} {
			c := models.Cart{ID: models.CartIDOf(k), IdempotencyKey: k}
			for _, item := range items {
				c.OfferIDs = append(c.OfferIDs, item.Offer.ID)
			}
			b.refusesCart(models.ErrUserLimitReached, l[1], c, items...)
		}
		b.uses(l[1].offer, "u", 2, 2, 0)
		_, err := b.Cart(b.ctx, models.CartIDOf(k))
		b.fails(err, models.ErrCartNotFound)
		b.has(l[0].offer, books{outstanding: 10})
		b.has(l[2].offer, books{outstanding: 10})
		b.bought(cart(k, l[0], l[1]), l[0].wants(k, "v", 1), l[1].wants(k, "v", 1)) // its key is free
	}},
	{"a cart is refused where a lease is closed, and can be sent on another", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		l[1].close()
		items := []models.Batch{l[0].wants(k, "u", 1), l[1].wants(k, "u", 1), l[2].wants(k, "u", 1)}
		b.refusesCart(models.ErrLeaseClosed, l[1], cart(k, l[:]...), items...)
		equal(b, "spent", [2]int64{b.audit(l[0].offer).Redeemed, b.audit(l[2].offer).Redeemed}, [2]int64{0, 0})
		b.uses(l[1].offer, "u", 0, 0, 0)
		items[1].LeaseID = b.lane(l[1].offer, 5).lease.ID
		b.bought(cart(k, l[:]...), items...)
		items[0].LeaseID = models.NewID() // never granted, but that the cart is there counts
		v, err := b.SettleCart(b.ctx, cart(k, l[:]...), items)
		b.ok(err)
		equal(b, "lease", v[0].Entry.LeaseID, l[0].lease.ID)
	}},
	{"a cart cannot spend more than is left of a lease", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		if _, err := b.SettleCart(b.ctx, cart(k, l[0], l[2]), []models.Batch{l[0].wants(k, "u", 1), l[2].wants(k, "u", 11)}); err == nil {
			b.Fatal("11 of 10 were spent")
		}
		b.has(l[0].offer, books{outstanding: 10})
		b.has(l[2].offer, books{outstanding: 10})
	}},
	{"a cart that must not be written any more is only looked for", func(b *trial) {
		l, _ := b.shop()
		k := b.key("k")
		items := []models.Batch{l[0].wants(k, "u", 1), l[2].wants(k, "u", 1)}
		late := []models.Batch{l[0].item(checkOnly(items[0].Wanted[0])), l[2].item(checkOnly(items[1].Wanted[0]))}
		b.refusesCart(models.ErrNotSettled, l[0], cart(k, l[0], l[2]), late...)
		_, err := b.Cart(b.ctx, models.CartIDOf(k))
		b.fails(err, models.ErrCartNotFound)
		b.bought(cart(k, l[0], l[2]), items...)
		b.bought(cart(k, l[0], l[2]), late...)
		b.has(l[0].offer, books{redeemed: 1, outstanding: 9})
	}},
	{"a cart of holds is confirmed or cancelled as a whole", func(b *trial) {
		for kind, want := range map[models.Kind]books{
			models.KindConfirm: {redeemed: 3, outstanding: 7}, models.KindCancel: {outstanding: 10},
		} {
			l, p := b.shop()
			k := b.key(string(kind))
			c := cart(k, l[:]...)
			b.bought(c, l[0].item(hold(l[0].offer, k, "u", 3)), l[1].item(hold(l[1].offer, k, "u", 3)), l[2].item(hold(l[2].offer, k, "u", 3)))
			b.uses(l[1].offer, "u", 1, 3, 3)
			ends := func() (items []models.Batch) {
				for i := range p {
					items = append(items, p[i].item(end(p[i].offer, k, kind, 0)))
				}
				return items
			}
			items := ends()
			b.bought(c, items...)
			b.bought(c, items...) // after a lost reply
			again, err := b.SettleCart(b.ctx, c, ends())
			b.ok(err)
			for i, v := range again {
				equal(b, "replayed", v.Replayed, true)
				b.has(p[i].offer, want)
			}
		}
	}},
	{"a cart ends as a whole only while no item has ended another way", func(b *trial) {
		l, p := b.shop()
		k := b.key("k")
		c := cart(k, l[:]...)
		b.bought(c, l[0].item(hold(l[0].offer, k, "u", 3)), l[1].item(hold(l[1].offer, k, "u", 3)), l[2].item(hold(l[2].offer, k, "u", 3)))
		p[0].booked(confirm(l[0].offer, k, 0))
		cancels := []models.Batch{p[1].item(cancel(l[1].offer, k)), p[0].item(cancel(l[0].offer, k)), p[2].item(cancel(l[2].offer, k))}
		b.refusesCart(models.ErrHoldResolved, l[0], c, cancels...)
		b.has(l[1].offer, books{held: 3, outstanding: 7})
		b.has(l[2].offer, books{held: 3, outstanding: 7})
		v, err := b.SettleCart(b.ctx, c, []models.Batch{p[0].item(confirm(l[0].offer, k, 0)), p[1].item(confirm(l[1].offer, k, 0)), p[2].item(confirm(l[2].offer, k, 0))})
		b.ok(err)
		equal(b, "confirmed before", v[0].Replayed, true)
		equal(b, "confirmed now", v[1].Replayed, false)
		for i := range l {
			b.has(l[i].offer, books{redeemed: 3, outstanding: 7})
		}
		final := b.key("final")
		b.bought(cart(final, l[0]), l[0].wants(final, "u", 1))
		b.refusesCart(models.ErrNotAHold, l[0], cart(final, l[0]), p[0].item(confirm(l[0].offer, final, 0)))
	}},
	{"what follows a cart that is not there finds none", func(b *trial) {
		l, p := b.shop()
		k := b.key("k")
		l[0].booked(redeem(l[0].offer, k, "u", 1)) // by itself
		b.refusesCart(models.ErrCartNotFound, nil, cart(k, l[0]), p[0].item(refund(l[0].offer, k, "r", 0)))
	}},
	{"the refund of a cart gives back what is left of every item", func(b *trial) {
		l, p := b.shop()
		k := b.key("k")
		c := cart(k, l[:]...)
		b.bought(c, l[0].wants(k, "u", 3), l[1].wants(k, "u", 4), l[2].wants(k, "u", 5))
		p[0].booked(refund(l[0].offer, k, "part", 2))
		p[1].booked(refund(l[1].offer, k, "all", 0))
		refunds := func(key string) (items []models.Batch) {
			for i := range p {
				items = append(items, p[i].item(refund(p[i].offer, k, key, 0)))
			}
			return items
		}
		items := refunds("r")
		for range 2 { // the second time after a lost reply
			v, err := b.SettleCart(b.ctx, c, items)
			b.ok(err)
			equal(b, "units", [2]int64{v[0].Entry.Units, v[2].Entry.Units}, [2]int64{1, 5})
			equal(b, "entries", [2]models.ID{v[0].Entry.ID, v[2].Entry.ID}, [2]models.ID{items[0].Wanted[0].ID, items[2].Wanted[0].ID})
			b.fails(v[1].Err, models.ErrRefundExceeds)
		}
		v, err := b.SettleCart(b.ctx, c, refunds("r"))
		b.ok(err)
		equal(b, "replayed", [2]bool{v[0].Replayed, v[2].Replayed}, [2]bool{true, true})
		b.fails(v[1].Err, models.ErrRefundExceeds)
		b.refusesCart(models.ErrRefundExceeds, l[0], c, refunds("other")...)
		b.refusesCart(models.ErrKeyReused, l[0], c, refunds("part")...)
		for i, units := range []int64{3, 4, 5} {
			b.has(l[i].offer, books{redeemed: units, refunded: units, outstanding: 10})
		}
		b.uses(l[1].offer, "u", 0, 0, 0)
	}},
	{"a cart with an item that is held is not refunded, one with an item that was cancelled is", func(b *trial) {
		l, p := b.shop()
		k := b.key("k")
		c := cart(k, l[0], l[1])
		b.bought(c, l[0].item(hold(l[0].offer, k, "u", 3)), l[1].item(hold(l[1].offer, k, "u", 3)))
		p[1].booked(confirm(l[1].offer, k, 0))
		refunds := []models.Batch{p[0].item(refund(l[0].offer, k, "r", 0)), p[1].item(refund(l[1].offer, k, "r", 0))}
		b.refusesCart(models.ErrNotConfirmed, l[0], c, refunds...)
		p[0].booked(cancel(l[0].offer, k))
		v, err := b.SettleCart(b.ctx, c, refunds)
		b.ok(err)
		b.fails(v[0].Err, models.ErrNotConfirmed)
		b.ok(v[1].Err)
		b.has(l[0].offer, books{outstanding: 10})
		b.has(l[1].offer, books{redeemed: 3, refunded: 3, outstanding: 10})
	}},
}
