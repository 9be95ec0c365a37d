package storetest

import (
	"errors"
	"slices"
	"time"

	"tranche/models"
)

// heldFor is how long the suite's holds are held. They were taken long ago, so the list of expired ones has all that have not ended.
const heldFor = time.Minute

func hold(o *models.Offer, key, user string, units int64) models.Wanted {
	w := redeem(o, key, user, units)
	ends := w.CreatedAt.Add(heldFor)
	w.Kind, w.HoldExpiresAt = models.KindHold, &ends
	return w
}

// end is what ends a hold; no units say all.
func end(o *models.Offer, key string, kind models.Kind, units int64) models.Wanted {
	w := redeem(o, key, "", units)
	w.Kind, w.IdempotencyKey = kind, ""
	return w
}

func confirm(o *models.Offer, key string, units int64) models.Wanted {
	return end(o, key, models.KindConfirm, units)
}
func cancel(o *models.Offer, key string) models.Wanted { return end(o, key, models.KindCancel, 0) }
func expire(o *models.Offer, key string) models.Wanted { return end(o, key, models.KindExpire, 0) }

// auditHolds holds the list of holds against the entries.
func (b *trial) auditHolds(o *models.Offer, histories map[models.ID][]models.Entry) {
	b.Helper()
	before := b.ledgerNow()
	expired, err := b.ExpiredHolds(b.ctx, 1_000_000)
	b.ok(err)
	b.readBetween(before, expired.Now, len(expired.Holds))
	listed := map[models.ID]bool{}
	for _, h := range expired.Holds {
		if h.OfferID != o.ID {
			continue
		}
		listed[h.Redemption] = true
		if history := histories[h.Redemption]; len(history) != 1 || history[0].HoldExpiresAt == nil || *history[0].HoldExpiresAt != h.ExpiresAt || h.ExpiresAt > expired.Now {
			b.Fatalf("listed as held until %d: %+v", h.ExpiresAt, history)
		}
	}
	for redemption, history := range histories {
		if len(history) == 1 && history[0].Kind == models.KindHold && *history[0].HoldExpiresAt <= before && !listed[redemption] {
			b.Fatalf("not listed: %+v", history[0])
		}
	}
}

// ledgerNow reads the database's clock.
func (b *trial) ledgerNow() models.Micros {
	b.Helper()
	snapshot, err := b.SyncOffers(b.ctx, time.Second)
	b.ok(err)
	return snapshot.Now
}

// readBetween holds the clock that came with so many rows against what it was before, and is now.
func (b *trial) readBetween(before, now models.Micros, rows int) {
	b.Helper()
	if after := b.ledgerNow(); rows > 0 && (now < before || now > after) || rows == 0 && now != 0 {
		b.Fatalf("%d rows were read at %d, between %d and %d", rows, now, before, after)
	}
}

// books are the figures that holds move.
type books struct{ held, redeemed, refunded, outstanding int64 }

func (b *trial) has(o *models.Offer, want books) {
	b.Helper()
	got := b.audit(o)
	equal(b, "held, redeemed, refunded, outstanding", books{got.Held, got.Redeemed, got.Refunded, got.Outstanding}, want)
}

func (b *trial) uses(o *models.Offer, user string, redemptions, units, held int64) {
	b.Helper()
	got, err := b.Usage(b.ctx, o.ID, user)
	b.ok(err)
	equal(b, "usage", got, models.Usage{OfferID: o.ID, UserID: user, Redemptions: redemptions, Units: units, HeldUnits: held})
}

// withAndWithoutLimits runs a test on an offer that counts its users and on one whose usage is summed from the ledger.
func withAndWithoutLimits(test func(b *trial, o *models.Offer)) func(*trial) {
	return func(b *trial) {
		test(b, b.offer(10, limitUnits(100)))
		test(b, b.offer(10))
	}
}

var holdTests = []test{
	{"a hold takes its units at once and is final when it is confirmed", withAndWithoutLimits(func(b *trial, o *models.Offer) {
		l, p := b.lane(o, 10), b.pool(o)
		w := hold(o, "k", "u", 4)
		v := l.booked(w)[0]
		equal(b, "state", v.Redemption.State, models.StateHeld)
		equal(b, "held until", *v.Redemption.HoldExpiresAt, w.CreatedAt.Add(heldFor))
		equal(b, "resolved", v.Redemption.ResolvedAt, nil)
		b.has(o, books{held: 4, outstanding: 6})
		b.uses(o, "u", 1, 4, 4)

		c := confirm(o, "k", 0)
		c.CreatedAt += 5
		v = p.booked(c)[0]
		equal(b, "entry", [2]int64{v.Entry.Seq, v.Entry.Units}, [2]int64{1, 4})
		equal(b, "user", v.Entry.UserID, "u")
		equal(b, "state", v.Redemption.State, models.StateRedeemed)
		equal(b, "resolved", *v.Redemption.ResolvedAt, c.CreatedAt)
		b.has(o, books{redeemed: 4, outstanding: 6})
		b.uses(o, "u", 1, 4, 0)
		p.close()
		l.close()
		equal(b, "allocated", b.audit(o).Allocated, 4)
	})},
	{"a hold is confirmed for fewer units, and the rest comes back", withAndWithoutLimits(func(b *trial, o *models.Offer) {
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(hold(o, "k", "u", 7))
		v := p.booked(confirm(o, "k", 5))[0]
		equal(b, "units, and taken", [2]int64{v.Redemption.Units, v.Redemption.Taken}, [2]int64{5, 7})
		equal(b, "returned", v.Redemption.Returned(&v.Entry), 2)
		b.has(o, books{redeemed: 5, outstanding: 5})
		b.uses(o, "u", 1, 5, 0)
		p.booked(redeem(o, "again", "v", 2)) // from the pool

		b.fails(p.settle(refund(o, "k", "much", 6))[0].Err, models.ErrRefundExceeds)
		p.booked(refund(o, "k", "part", 3))
		b.uses(o, "u", 1, 2, 0)
		p.booked(refund(o, "k", "rest", 0))
		b.uses(o, "u", 0, 0, 0)
		b.has(o, books{redeemed: 7, refunded: 5, outstanding: 8})
	})},
	{"a hold that is cancelled or expires gives everything back", withAndWithoutLimits(func(b *trial, o *models.Offer) {
		l, p := b.lane(o, 10), b.pool(o)
		for _, c := range []struct {
			by    models.Kind
			state models.RedemptionState
		}{{models.KindCancel, models.StateCancelled}, {models.KindExpire, models.StateExpired}} {
			key := string(c.by)
			l.booked(hold(o, key, "u", 4))
			v := p.booked(end(o, key, c.by, 0))[0]
			equal(b, "state", v.Redemption.State, c.state)
			equal(b, "units", [2]int64{v.Redemption.Units, v.Entry.Units}, [2]int64{4, 4})
			equal(b, "remaining", v.Redemption.Remaining(), 0)
			b.uses(o, "u", 0, 0, 0)
		}
		b.has(o, books{outstanding: 10})
		p.booked(redeem(o, "again", "u", 8))
		p.close()
		l.close()
		equal(b, "allocated", b.audit(o).Allocated, 8)
	})},
	{"a hold ends once: the same again is a replay, anything else is refused", func(b *trial) {
		o := b.offer(1000)
		l, p, other := b.lane(o, 1000), b.pool(o), b.pool(o)
		ends := map[string]func(key string) models.Wanted{
			"confirm all": func(key string) models.Wanted { return confirm(o, key, 0) },
			"confirm 4":   func(key string) models.Wanted { return confirm(o, key, 4) }, // which is all
			"confirm 3":   func(key string) models.Wanted { return confirm(o, key, 3) },
			"cancel":      func(key string) models.Wanted { return cancel(o, key) },
			"expire":      func(key string) models.Wanted { return expire(o, key) },
		}
		all := []string{"confirm all", "confirm 4"}
		for first := range ends {
			for second := range ends {
				key := first + ", " + second
				l.booked(hold(o, key, "u", 4))
				ended := p.booked(ends[first](key))[0]
				v := other.settle(ends[second](key))[0]
				if first == second || slices.Contains(all, first) && slices.Contains(all, second) {
					b.ok(v.Err)
					equal(b, key+": replayed", v.Replayed, true)
					equal(b, key+": entry", v.Entry.ID, ended.Entry.ID)
					continue
				}
				var resolved *models.HoldResolvedError
				if !errors.As(v.Err, &resolved) || resolved.Redemption.State != ended.Redemption.State || resolved.Redemption.Units != ended.Redemption.Units {
					b.Fatalf("%s: %+v", key, v.Err)
				}
			}
		}
		balance := b.audit(o)
		equal(b, "redeemed and held", [2]int64{balance.Redeemed, balance.Held}, [2]int64{2*5*4 + 5*3, 0})
	}},
	{"what is no hold cannot end as one, and a hold is not refunded", func(b *trial) {
		o := b.offer(20)
		l, p := b.lane(o, 20), b.pool(o)
		l.booked(redeem(o, "redeemed", "u", 2), hold(o, "k", "u", 3))
		for _, w := range []models.Wanted{confirm(o, "redeemed", 0), cancel(o, "redeemed"), expire(o, "redeemed")} {
			b.fails(p.settle(w)[0].Err, models.ErrNotAHold)
		}
		b.fails(p.settle(confirm(o, "none", 0))[0].Err, models.ErrRedemptionNotFound)
		b.fails(p.settle(cancel(o, "none"))[0].Err, models.ErrRedemptionNotFound)
		b.fails(p.settle(refund(o, "k", "r", 1))[0].Err, models.ErrNotConfirmed)
		var exceeds *models.ConfirmExceedsError
		if err := p.settle(confirm(o, "k", 4))[0].Err; !errors.As(err, &exceeds) || exceeds.Held != 3 {
			b.Fatalf("one more than is held: %v", err)
		}
		b.has(o, books{held: 3, redeemed: 2, outstanding: 15})
		p.booked(cancel(o, "k"))
		b.fails(p.settle(refund(o, "k", "r", 1))[0].Err, models.ErrNotConfirmed)
		b.has(o, books{redeemed: 2, outstanding: 18})
	}},
	{"a hold counts towards its user's limit from the beginning, and its confirmation does not count again", func(b *trial) {
		o := b.offer(100, limitRedemptions(1), limitUnits(5))
		l, p := b.lane(o, 100), b.pool(o)
		l.booked(hold(o, "1", "u", 5))
		b.fails(l.settle(redeem(o, "2", "u", 1))[0].Err, models.ErrUserLimitReached)
		b.fails(l.settle(hold(o, "3", "u", 1))[0].Err, models.ErrUserLimitReached)
		p.booked(confirm(o, "1", 0))
		b.fails(l.settle(hold(o, "4", "u", 1))[0].Err, models.ErrUserLimitReached)

		l.booked(hold(o, "5", "v", 5))
		p.booked(cancel(o, "5"))
		l.booked(hold(o, "6", "v", 5))
		p.booked(expire(o, "6"))
		l.booked(redeem(o, "7", "v", 5))
		b.audit(o)
	}},
	{"holds over a limit in one batch: the first come in", func(b *trial) {
		o := b.offer(100, limitUnits(5))
		l, p := b.lane(o, 100), b.pool(o)
		v := l.settle(hold(o, "1", "u", 3), hold(o, "2", "u", 3), hold(o, "3", "u", 2), redeem(o, "4", "u", 1))
		b.ok(v[0].Err)
		b.fails(v[1].Err, models.ErrUserLimitReached)
		b.ok(v[2].Err)
		b.fails(v[3].Err, models.ErrUserLimitReached)
		b.uses(o, "u", 2, 5, 5)
		b.fails(p.settle(cancel(o, "2"))[0].Err, models.ErrRedemptionNotFound)
		b.has(o, books{held: 5, outstanding: 95})
	}},
	{"what a hold gives back goes to the budget and the user, whatever becomes of refunds", func(b *trial) {
		o := b.offer(20, limitUnits(20), func(o *models.Offer) { o.RefundRestoresBudget, o.RefundRestoresUserLimit = false, false })
		l, p := b.lane(o, 20), b.pool(o)
		l.booked(hold(o, "1", "u", 4), hold(o, "2", "u", 4), hold(o, "3", "u", 4))
		p.booked(cancel(o, "1"), expire(o, "2"), confirm(o, "3", 1))
		b.uses(o, "u", 1, 1, 0)
		b.has(o, books{redeemed: 1, outstanding: 19})
		p.booked(refund(o, "3", "r", 0))
		b.uses(o, "u", 1, 1, 0)
		equal(b, "forfeited", b.audit(o).Forfeited, 1)
	}},
	{"the same key for another time, or for no hold, is another request", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 20)
		first := hold(o, "k", "u", 2)
		l.booked(first)
		again := hold(o, "k", "u", 2)
		later := again.CreatedAt.Add(time.Hour) // asked for again an hour later, for as long as before
		ends := later.Add(heldFor)
		again.CreatedAt, again.HoldExpiresAt = later, &ends
		v := l.settle(again)[0]
		b.ok(v.Err)
		equal(b, "replayed", v.Replayed, true)
		equal(b, "held until", *v.Redemption.HoldExpiresAt, *first.HoldExpiresAt)
		longer := hold(o, "k", "u", 2)
		*longer.HoldExpiresAt += 1_000_000
		b.fails(l.settle(longer)[0].Err, models.ErrKeyReused)
		b.fails(l.settle(redeem(o, "k", "u", 2))[0].Err, models.ErrKeyReused)
		l.booked(redeem(o, "redeemed", "u", 2))
		b.fails(l.settle(hold(o, "redeemed", "u", 2))[0].Err, models.ErrKeyReused)
		b.has(o, books{held: 2, redeemed: 2, outstanding: 16})
	}},
	{"a batch of ends again books once", func(b *trial) {
		o := b.offer(20, limitUnits(20))
		l, p := b.lane(o, 20), b.pool(o)
		l.booked(hold(o, "1", "u", 4), hold(o, "2", "u", 4))
		b.pool(o).booked(cancel(o, "2"))
		batch := p.next(confirm(o, "1", 3), confirm(o, "2", 0), checkOnly(cancel(o, "3")))
		for range 3 {
			v, err := b.Settle(b.ctx, batch)
			b.ok(err)
			b.ok(v[0].Err)
			equal(b, "replayed", v[0].Replayed, false)
			equal(b, "entry", v[0].Entry.ID, batch.Wanted[0].ID)
			equal(b, "returned", v[0].Redemption.Returned(&v[0].Entry), 1)
			b.fails(v[1].Err, models.ErrHoldResolved)
			b.fails(v[2].Err, models.ErrNotSettled)
		}
		b.has(o, books{redeemed: 3, outstanding: 17})
	}},
	{"a hold and its end in one batch", withAndWithoutLimits(func(b *trial, o *models.Offer) {
		b.lane(o, 10).booked(redeem(o, "before", "u", 2))
		p := b.pool(o)
		p.booked(refund(o, "before", "r", 0))
		p.booked(hold(o, "k", "u", 2), confirm(o, "k", 1))
		b.fails(p.settle(cancel(o, "k"))[0].Err, models.ErrHoldResolved)
		b.uses(o, "u", 1, 1, 0)
		b.has(o, books{redeemed: 3, refunded: 2, outstanding: 9})
	})},
	{"a hold is booked late and can still end", func(b *trial) {
		for by, left := range map[models.Kind]int64{models.KindConfirm: 3, models.KindCancel: 0, models.KindExpire: 0} {
			o := b.offer(10, inMode(models.ModeAvailable), limitRedemptions(3))
			l := b.lane(o, 10)
			l.reclaim()
			b.lane(o, 10).booked(redeem(o, "all", "v", 10))
			v := l.booked(acknowledged(hold(o, "k", "u", 3)))[0]
			equal(b, "late", v.Entry.Late, true)
			b.listed(o, "late k")
			balance := b.audit(o)
			equal(b, "held, late, allocated, overspend", [4]int64{balance.Held, balance.LateUnits, balance.Allocated, balance.Overspend()}, [4]int64{3, 3, 13, 3})
			p := b.pool(o)
			equal(b, "late", p.booked(end(o, "k", by, 0))[0].Entry.Late, false)
			p.close()
			balance = b.audit(o)
			equal(b, "held, late, allocated, overspend", [4]int64{balance.Held, balance.LateUnits, balance.Allocated, balance.Overspend()}, [4]int64{0, 3, 10 + left, left})
		}
	}},
	{"an end cannot be acknowledged before it is booked", func(b *trial) {
		o := b.offer(10)
		b.lane(o, 10).booked(hold(o, "k", "u", 3))
		p := b.pool(o)
		if _, err := b.Settle(b.ctx, p.next(acknowledged(cancel(o, "k")))); err == nil {
			b.Fatal("it was booked")
		}
		b.has(o, books{held: 3, outstanding: 7})
	}},
	{"holds past their end are listed oldest first, until they end", func(b *trial) {
		o := b.offer(100)
		l, p := b.lane(o, 100), b.pool(o)
		until := func(key string, at models.Micros) models.Wanted {
			w := hold(o, key, "u", 1)
			w.HoldExpiresAt = &at
			return w
		}
		l.booked(until("3", 3000), until("1", 1000), until("2", 2000), until("now", o.CreatedAt), until("later", o.CreatedAt.Add(time.Hour)))
		list := func(limit int) (keys []string) {
			b.Helper()
			expired, err := b.ExpiredHolds(b.ctx, limit)
			b.ok(err)
			for _, h := range expired.Holds {
				for _, key := range []string{"1", "2", "3", "now", "later"} {
					if h.OfferID == o.ID && h.Redemption == models.RedemptionIDOf(o.ID, key).Hash {
						keys = append(keys, key)
					}
				}
			}
			return keys
		}
		if got := list(2); !slices.Equal(got, []string{"1", "2"}) {
			b.Fatalf("the two oldest are %v", got)
		}
		if got := list(1_000_000); !slices.Equal(got, []string{"1", "2", "3", "now"}) {
			b.Fatalf("listed %v", got)
		}
		equal(b, "the next end", *b.audit(o).NextHoldEnds, 1000)
		p.booked(expire(o, "1"), confirm(o, "2", 0), cancel(o, "now"))
		if got := list(1_000_000); !slices.Equal(got, []string{"3"}) {
			b.Fatalf("listed %v", got)
		}
		equal(b, "the next end", *b.audit(o).NextHoldEnds, 3000)
		p.booked(cancel(o, "later"), expire(o, "3"))
		equal(b, "the next end", b.audit(o).NextHoldEnds, nil)
	}},
}
