package storetest

import (
	"errors"
	"slices"
	"sync"

	"tranche/internal/ledger"
	"tranche/models"
)

var refundTests = []test{
	{"B9: many refunds fold, and each is found by its key", func(b *trial) {
		o := b.offer(1000, limitRedemptions(1))
		l, p := b.lane(o, 500), b.pool(o)
		l.booked(redeem(o, "k", "u", 100), hold(o, "h", "v", 100))
		p.booked(confirm(o, "h", 90))
		for i := range 20 {
			key := string(rune('a' + i))
			w := []models.Wanted{refund(o, "k", key, 1), refund(o, "h", key, 2)}
			for j, v := range p.booked(w...) {
				equal(b, "seq", v.Entry.Seq, int64(i+1+j))
				equal(b, "refunded", v.Redemption.RefundedUnits, int64((i+1)*(j+1)))
				equal(b, "refunds", v.Redemption.RefundCount, int64(i+1))
			}
		}
		for _, v := range p.settle(refund(o, "k", "c", 1), refund(o, "h", "t", 2), refund(o, "k", "d", 9), refund(o, "h", "new", 1)) {
			switch v.Entry.IdempotencyKey {
			case "c", "t":
				equal(b, "replayed", v.Replayed, true)
			case "d":
				b.fails(v.Err, models.ErrKeyReused)
			default:
				equal(b, "units after a replay in the same batch", v.Redemption.RefundedUnits, 41)
			}
		}
		rest := p.booked(refund(o, "k", "rest", 0))[0]
		equal(b, "rest", rest.Entry.Units, 80)
		equal(b, "the rest again", p.settle(refund(o, "k", "rest", 0))[0].Replayed, true)
		b.fails(p.settle(refund(o, "k", "c", 0))[0].Err, models.ErrKeyReused) // that one did not take all
		for _, key := range []string{"k", "h"} {
			id := models.RedemptionIDOf(o.ID, key)
			histories, err := b.Histories(b.ctx, o.ID, []models.ID{id.Hash})
			b.ok(err)
			r, err := ledger.Fold(histories[id.Hash])
			b.ok(err)
			list, err := b.Redemptions(b.ctx, models.RedemptionFilter{OfferID: o.ID, IdempotencyKey: key, Limit: 1})
			b.ok(err)
			var units int64
			below, pages := int64(1000), 0
			for {
				page, err := b.Refunds(b.ctx, id, 8, below)
				b.ok(err)
				if len(page) == 0 {
					break
				}
				pages++
				for _, e := range page {
					if e.Seq >= below || e.Kind != models.KindRefund {
						b.Fatalf("below %d: %+v", below, e)
					}
					units, below = units+e.Units, e.Seq
				}
			}
			equal(b, "pages", pages, 3)
			for _, got := range []models.Redemption{r, list[0].Redemption} {
				equal(b, "refunded", got.RefundedUnits, units)
				equal(b, "refunds", got.RefundCount, 21)
			}
		}
		b.audit(o)
	}},
	{"B12: entries are dated by their transaction, whatever their requesters say", func(b *trial) {
		o := b.offer(100)
		before := b.ledgerNow()
		l, p := b.lane(o, 100), b.pool(o)
		l.booked(redeem(o, "k", "u", 5), hold(o, "h", "u", 5))
		given := p.booked(refund(o, "k", "r", 2), confirm(o, "h", 3))
		given = append(given, p.settle(refund(o, "k", "r", 2))...) // repeated
		b.bought(cart(b.key("c"), l), l.wants(b.key("c"), "u", 1))
		now := b.ledgerNow()
		booked := map[models.ID]models.Micros{}
		for _, e := range b.allEntries(o.ID) {
			if e.BookedAt == nil || e.Booked() < before || e.Booked() > now {
				b.Errorf("%s: booked at %v, between %d and %d", e.Kind, e.BookedAt, before, now)
			}
			booked[e.ID] = e.Booked()
		}
		equal(b, "entries", len(booked), 5)
		for _, v := range given {
			equal(b, "what the requester of a "+string(v.Entry.Kind)+" heard", v.Entry.Booked(), booked[v.Entry.ID])
		}
	}},
	{"a whole refund comes back to the pool and to the user", func(b *trial) {
		o := b.offer(10, limitRedemptions(1))
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 4))
		w := refund(o, "k", "r", 0)
		w.Reason = pointer(`too "small" 👟`)
		v := p.booked(w)[0]
		equal(b, "units", v.Entry.Units, 4)
		equal(b, "seq", v.Entry.Seq, 1)
		equal(b, "user", v.Entry.UserID, "u")
		equal(b, "refunded", v.Redemption.RefundedUnits, 4)
		equal(b, "remaining", v.Redemption.Remaining(), 0)
		equal(b, "reason", *b.allEntries(o.ID)[0].Reason, *w.Reason)
		balance := b.audit(o)
		equal(b, "refunded", balance.Refunded, 4)
		equal(b, "net spent", balance.NetSpent(), 0)
		equal(b, "outstanding", balance.Outstanding, 10)
		p.booked(redeem(o, "again", "u", 4)) // from the pool, within the limit
		p.close()
		l.close()
		equal(b, "allocated", b.audit(o).Allocated, 4)
	}},
	{"partial refunds add up to the redemption and no further", func(b *trial) {
		o := b.offer(10)
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 5))
		p.booked(refund(o, "k", "1", 2))
		p.booked(refund(o, "k", "2", 1), refund(o, "k", "3", 1))
		v := p.settle(refund(o, "k", "4", 2))[0]
		b.fails(v.Err, models.ErrRefundExceeds)
		var exceeds *models.RefundExceedsError
		if !errors.As(v.Err, &exceeds) || exceeds.Remaining != 1 {
			b.Fatalf("refused with %+v", v.Err)
		}
		p.booked(refund(o, "k", "5", 0))
		b.fails(p.settle(refund(o, "k", "6", 0))[0].Err, models.ErrRefundExceeds)
		equal(b, "refunded", b.audit(o).Refunded, 5)
	}},
	{"a refund again is a replay, with another amount it is refused", func(b *trial) {
		o := b.offer(10)
		l, p, other := b.lane(o, 10), b.pool(o), b.pool(o)
		l.booked(redeem(o, "k", "u", 5))
		first := p.booked(refund(o, "k", "r", 2))[0]
		v := other.settle(refund(o, "k", "r", 2))[0]
		b.ok(v.Err)
		equal(b, "replayed", v.Replayed, true)
		equal(b, "entry", v.Entry.ID, first.Entry.ID)
		b.fails(other.settle(refund(o, "k", "r", 3))[0].Err, models.ErrKeyReused)
		equal(b, "refunded", b.audit(o).Refunded, 2)
	}},
	{"a refund of nothing is refused", func(b *trial) {
		o := b.offer(10)
		b.fails(b.pool(o).settle(refund(o, "none", "r", 1))[0].Err, models.ErrRedemptionNotFound)
		equal(b, "refunded", b.audit(o).Refunded, 0)
	}},
	{"a redemption and its refund in one batch", func(b *trial) {
		o := b.offer(10, limitRedemptions(1))
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 5))
		p.booked(refund(o, "k", "r", 0))
		p.booked(redeem(o, "second", "u", 2), refund(o, "second", "r", 1))
		balance := b.audit(o)
		equal(b, "net spent", balance.NetSpent(), 1)
		u, err := b.Usage(b.ctx, o.ID, "u")
		b.ok(err)
		equal(b, "usage", u, models.Usage{OfferID: o.ID, UserID: "u", Redemptions: 1, Units: 1})
	}},
	{"one user's redemption and refund in a batch with more coming back than going out", func(b *trial) {
		o := b.offer(20, limitUnits(9))
		l, p := b.lane(o, 20), b.pool(o)
		l.booked(redeem(o, "big", "u", 8))
		p.booked(refund(o, "big", "r", 0), redeem(o, "small", "u", 1))
		equal(b, "net spent", b.audit(o).NetSpent(), 1)
	}},
	{"refunds of all at once on several pools: one gets it", func(b *trial) { refundsAtOnce(b, b.offer(1000)) }},
	{"refunds of all at once, of a user with a limit: one gets it", func(b *trial) { refundsAtOnce(b, b.offer(1000, limitUnits(5))) }},
	{"one refund sent to two pools at once is one", func(b *trial) {
		o := b.offer(1000)
		l := b.lane(o, 100)
		pools := []*lane{b.pool(o), b.pool(o)}
		l.booked(redeem(o, "k", "u", 5))
		verdicts := make([]models.Verdict, len(pools))
		var wait sync.WaitGroup
		for i, p := range pools {
			wait.Go(func() { verdicts[i] = settleOne(p, refund(o, "k", "r", 3)) })
		}
		wait.Wait()
		b.ok(verdicts[0].Err)
		b.ok(verdicts[1].Err)
		equal(b, "entry", verdicts[0].Entry.ID, verdicts[1].Entry.ID)
		equal(b, "refunded", b.audit(o).Refunded, 3)
	}},
	{"a refund after the lease closed and the offer ended is taken", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		l.booked(redeem(o, "k", "u", 5))
		l.close()
		ended, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.Status = models.StatusEnded; return nil })
		b.ok(err)
		p := b.pool(&ended)
		p.booked(refund(o, "k", "r", 0))
		p.close()
		balance := b.audit(o)
		equal(b, "allocated", balance.Allocated, 0)
		equal(b, "unallocated", balance.Unallocated(), 10)
	}},
	{"a refund that the budget does not get back is forfeited", func(b *trial) {
		o := b.offer(10, func(o *models.Offer) { o.RefundRestoresBudget = false }, limitRedemptions(1))
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 4))
		v := p.booked(refund(o, "k", "r", 3))[0]
		equal(b, "restores the budget", v.Entry.RestoresBudget, false)
		balance := b.audit(o)
		equal(b, "forfeited", balance.Forfeited, 3)
		equal(b, "refunded", balance.Refunded, 0)
		equal(b, "net spent", balance.NetSpent(), 4)
		equal(b, "outstanding", balance.Outstanding, 6)
		p.close()
		l.close()
		equal(b, "allocated", b.audit(o).Allocated, 4)
	}},
	{"a refund that the user does not get back keeps the limit used", func(b *trial) {
		o := b.offer(10, func(o *models.Offer) { o.RefundRestoresUserLimit = false }, limitRedemptions(1))
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 4))
		p.booked(refund(o, "k", "r", 0))
		b.fails(l.settle(redeem(o, "again", "u", 1))[0].Err, models.ErrUserLimitReached)
		u, err := b.Usage(b.ctx, o.ID, "u")
		b.ok(err)
		equal(b, "usage", u, models.Usage{OfferID: o.ID, UserID: "u", Redemptions: 1, Units: 4})
		b.audit(o)
	}},
	{"a redemption counts again for its user with its last unit", func(b *trial) {
		o := b.offer(10, limitRedemptions(1))
		l, p := b.lane(o, 10), b.pool(o)
		l.booked(redeem(o, "k", "u", 3))
		p.booked(refund(o, "k", "1", 2))
		b.fails(l.settle(redeem(o, "second", "u", 1))[0].Err, models.ErrUserLimitReached)
		p.booked(refund(o, "k", "2", 1))
		l.booked(redeem(o, "second", "u", 1))
		b.audit(o)
	}},
}

var readTests = []test{
	{"redemptions are listed by user, order and key, newest first", func(b *trial) {
		o := b.offer(50)
		l, p := b.lane(o, 50), b.pool(o)
		for _, w := range []models.Wanted{redeem(o, "1", "u", 1), redeem(o, "2", "u", 2), redeem(o, "3", "v", 3)} {
			w.OrderID = pointer("order-" + w.UserID)
			l.booked(w)
		}
		p.booked(refund(o, "2", "r", 1))
		for _, c := range []struct {
			filter models.RedemptionFilter
			want   []int64
		}{
			{models.RedemptionFilter{}, []int64{3, 2, 1}},
			{models.RedemptionFilter{UserID: "u"}, []int64{2, 1}},
			{models.RedemptionFilter{OrderID: "order-v"}, []int64{3}},
			{models.RedemptionFilter{OrderID: "order-V"}, nil},
			{models.RedemptionFilter{IdempotencyKey: "2"}, []int64{2}},
			{models.RedemptionFilter{IdempotencyKey: "2", UserID: "v"}, nil},
		} {
			c.filter.OfferID, c.filter.Limit = o.ID, 10
			list, err := b.Redemptions(b.ctx, c.filter)
			b.ok(err)
			equal(b, "listed", len(list), len(c.want))
			for i, r := range list {
				equal(b, "units", r.Units, c.want[i])
				equal(b, "refunded", r.RefundedUnits, map[int64]int64{2: 1}[r.Units])
			}
		}
		first, err := b.Redemptions(b.ctx, models.RedemptionFilter{OfferID: o.ID, Limit: 2})
		b.ok(err)
		rest, err := b.Redemptions(b.ctx, models.RedemptionFilter{OfferID: o.ID, Limit: 2, Before: first[1].EntryID})
		b.ok(err)
		equal(b, "on the second page", len(rest), 1)
		equal(b, "oldest", rest[0].Units, 1)
	}},
	{"the ledger is listed newest first", func(b *trial) {
		o := b.offer(50)
		l, p := b.lane(o, 50), b.pool(o)
		l.booked(redeem(o, "1", "u", 1), redeem(o, "2", "u", 2))
		p.booked(refund(o, "2", "r", 1))
		entries := b.allEntries(o.ID)
		equal(b, "entries", len(entries), 3)
		equal(b, "newest", entries[0].Kind, models.KindRefund)
		page, err := b.Entries(b.ctx, o.ID, 1, entries[0].ID)
		b.ok(err)
		equal(b, "next page", page[0].ID, entries[1].ID)
	}},
	{"all that is left, under the key of a refund of a part, is another request", func(b *trial) {
		o := b.offer(10)
		b.lane(o, 10).booked(redeem(o, "k", "u", 10))
		p := b.pool(o)
		p.booked(refund(o, "k", "part", 3))
		b.fails(p.settle(refund(o, "k", "part", 0))[0].Err, models.ErrKeyReused)
		p.booked(refund(o, "k", "rest", 0))
		if v := p.settle(refund(o, "k", "rest", 0))[0]; v.Err != nil || !v.Replayed || v.Entry.Units != 7 {
			b.Fatalf("repeated: %+v", v)
		}
		b.fails(p.settle(refund(o, "k", "part", 0))[0].Err, models.ErrKeyReused)
	}},
	{"the key of a refund for another reason is refused", func(b *trial) {
		o := b.offer(10)
		b.lane(o, 10).booked(redeem(o, "k", "u", 10))
		p := b.pool(o)
		because := func(reason string) models.Wanted {
			w := refund(o, "k", "r", 3)
			w.Reason = &reason
			return w
		}
		p.booked(because("late"))
		v := p.settle(because("late"), because("broken"), refund(o, "k", "r", 3))
		b.ok(v[0].Err)
		equal(b, "replayed", v[0].Replayed, true)
		b.fails(v[1].Err, models.ErrKeyReused)
		b.fails(v[2].Err, models.ErrKeyReused)
	}},
	{"histories of many redemptions come in order", func(b *trial) {
		o := b.offer(2000)
		l, p := b.lane(o, 2000), b.pool(o)
		var redeems, refunds []models.Wanted
		var ids []models.ID
		for range 600 {
			key := models.NewID().String()
			redeems = append(redeems, redeem(o, key, "u", 2))
			refunds = append(refunds, refund(o, key, "1", 1), refund(o, key, "2", 1))
			ids = append(ids, redeems[len(redeems)-1].Redemption)
		}
		for chunk := range slices.Chunk(redeems, 300) {
			l.booked(chunk...)
		}
		for chunk := range slices.Chunk(refunds, 300) {
			p.booked(chunk...)
		}
		histories, err := b.Histories(b.ctx, o.ID, ids)
		b.ok(err)
		equal(b, "histories", len(histories), 600)
		for _, id := range ids {
			r, err := ledger.Fold(histories[id])
			b.ok(err)
			equal(b, "redemption", r.Hash, id)
			equal(b, "last seq", r.LastSeq, 2)
			equal(b, "refunds and their units", [2]int64{r.RefundCount, r.RefundedUnits}, [2]int64{2, 2})
		}
	}},
	{"a redemption of one offer is none of another", func(b *trial) {
		o, other := b.offer(10), b.offer(10)
		b.lane(o, 5).booked(redeem(o, "k", "u", 5))
		b.lane(other, 5).booked(redeem(other, "k", "u", 5))
		histories, err := b.Histories(b.ctx, other.ID, []models.ID{models.RedemptionIDOf(o.ID, "k").Hash})
		b.ok(err)
		equal(b, "histories", len(histories), 0)
		equal(b, "redeemed", b.audit(o).Redeemed, 5)
	}},
}

// refundsAtOnce sends three refunds of the same redemption at once, several times.
func refundsAtOnce(b *trial, o *models.Offer) {
	l := b.lane(o, 100)
	pools := []*lane{b.pool(o), b.pool(o), b.pool(o)}
	for range 16 {
		key := models.NewID().String()
		l.booked(redeem(o, key, "user of "+key, 5))
		verdicts := make([]models.Verdict, len(pools))
		var wait sync.WaitGroup
		for i, p := range pools {
			wait.Go(func() { verdicts[i] = settleOne(p, refund(o, key, models.NewID().String(), 0)) })
		}
		wait.Wait()
		won := 0
		for _, v := range verdicts {
			if v.Err == nil {
				won++
			} else {
				b.fails(v.Err, models.ErrRefundExceeds)
			}
		}
		equal(b, "won", won, 1)
	}
	equal(b, "refunded", b.audit(o).Refunded, 80)
}
