package storetest

import (
	"errors"
	"sync"

	"tranche/models"
)

var settleTests = []test{
	{"nothing is locked where nobody else is at work", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		l.booked(redeem(o, "a", "u", 1))
		locked, err := b.Locked(b.ctx, l.next(redeem(o, "a", "u", 1), redeem(o, "b", "u", 1), redeem(o, "c", "v", 1)))
		b.ok(err)
		equal(b, "answers", len(locked), 3)
		for _, l := range locked {
			equal(b, "locked", l, false)
		}
	}},
	{"a settled redemption reads back as it was meant", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		w := redeem(o, `key-"1"`, "ålice 🎉 'x'", 3)
		w.OrderID = pointer(`order "🎈" \`)
		w.Metadata = pointer(`{"note":"it's \"fine\" 🎉 ` + "`" + `"}`)
		w.NodeID = b.node
		v := l.booked(w)[0]
		history, err := b.Histories(b.ctx, o.ID, []models.ID{w.Redemption, models.NewID()})
		b.ok(err)
		equal(b, "redemptions", len(history), 1)
		for _, e := range []models.Entry{v.Entry, history[w.Redemption][0]} {
			equal(b, "user", e.UserID, w.UserID)
			equal(b, "order", *e.OrderID, *w.OrderID)
			equal(b, "metadata", *e.Metadata, *w.Metadata)
			equal(b, "key", e.IdempotencyKey, w.IdempotencyKey)
			equal(b, "units", e.Units, 3)
			equal(b, "seq", e.Seq, 0)
			equal(b, "lease", e.LeaseID, l.lease.ID)
			equal(b, "node", e.NodeID, b.node)
			equal(b, "created", e.CreatedAt, w.CreatedAt)
		}
		equal(b, "redemption", v.Redemption.RedemptionID, models.RedemptionIDOf(o.ID, w.IdempotencyKey))
		equal(b, "remaining", v.Redemption.Remaining(), 3)
		balance := b.audit(o)
		equal(b, "redeemed", balance.Redeemed, 3)
		equal(b, "outstanding", balance.Outstanding, 7)
	}},
	{"a batch that was booked is found by its number, and books nothing twice", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		batch := l.next(redeem(o, "a", "u", 1), redeem(o, "b", "u", 1))
		_, err := b.Settle(b.ctx, batch)
		b.ok(err)
		again, err := b.Settle(b.ctx, batch)
		b.ok(err)
		for i := range again {
			b.ok(again[i].Err)
			equal(b, "replayed", again[i].Replayed, false)
			equal(b, "entry", again[i].Entry.ID, batch.Wanted[i].ID)
		}
		equal(b, "redeemed", b.audit(o).Redeemed, 2)
	}},
	{"what a booked batch did not hold is not settled by its number", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		batch := l.next(redeem(o, "a", "u", 1))
		_, err := b.Settle(b.ctx, batch)
		b.ok(err)
		batch.Wanted = append(batch.Wanted, redeem(o, "b", "u", 1), refund(o, "a", "r", 0))
		again, err := b.Settle(b.ctx, batch)
		b.ok(err)
		b.ok(again[0].Err)
		b.fails(again[1].Err, models.ErrNotSettled)
		b.fails(again[2].Err, models.ErrNotSettled)
		equal(b, "redeemed", b.audit(o).Redeemed, 1)
	}},
	{"a booked batch is found after its lease closed as well", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		batch := l.next(redeem(o, "a", "u", 1))
		_, err := b.Settle(b.ctx, batch)
		b.ok(err)
		l.close()
		again, err := b.Settle(b.ctx, batch)
		b.ok(err)
		b.ok(again[0].Err)
		equal(b, "entry", again[0].Entry.ID, batch.Wanted[0].ID)
		equal(b, "redeemed", b.audit(o).Redeemed, 1)
	}},
	{"a batch that comes after its lease closed is never booked", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		l.booked(redeem(o, "a", "u", 1))
		l.close()
		_, err := b.Settle(b.ctx, l.next(redeem(o, "b", "u", 1)))
		b.fails(err, models.ErrLeaseClosed)
		_, err = b.Settle(b.ctx, l.next())
		b.fails(err, models.ErrLeaseClosed)
		equal(b, "redeemed", b.audit(o).Redeemed, 1)
	}},
	{"an empty batch still takes its number", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 4)
		late := l.next(redeem(o, "a", "u", 1))
		l.settle()
		verdicts, err := b.Settle(b.ctx, late)
		b.ok(err)
		b.fails(verdicts[0].Err, models.ErrNotSettled)
		equal(b, "redeemed", b.audit(o).Redeemed, 0)
	}},
	{"the same request again is a replay, on this lease and on another", func(b *trial) {
		o := b.offer(20)
		l, other := b.lane(o, 10), b.lane(o, 10)
		first := l.booked(redeem(o, "k", "u", 3))[0]
		for _, lane := range []*lane{l, other} {
			v := lane.settle(redeem(o, "k", "u", 3))[0]
			b.ok(v.Err)
			equal(b, "replayed", v.Replayed, true)
			equal(b, "entry", v.Entry.ID, first.Entry.ID)
			equal(b, "lease", v.Entry.LeaseID, l.lease.ID)
			equal(b, "redemption", v.Redemption.Units, 3)
		}
		equal(b, "redeemed", b.audit(o).Redeemed, 3)
	}},
	{"the same key for another request is refused", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 20)
		l.booked(redeem(o, "k", "u", 3))
		ordered := redeem(o, "k", "u", 3)
		ordered.OrderID = pointer("order")
		described := redeem(o, "k", "u", 3)
		described.Metadata = pointer(`{"till":7}`)
		for _, w := range []models.Wanted{redeem(o, "k", "u", 4), redeem(o, "k", "U", 3), redeem(o, "k", "u ", 3), ordered, described} {
			b.fails(l.settle(w)[0].Err, models.ErrKeyReused)
		}
		equal(b, "redeemed", b.audit(o).Redeemed, 3)
	}},
	{"metadata is compared as the value that it is", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 20)
		first, again, other := redeem(o, "k", "u", 3), redeem(o, "k", "u", 3), redeem(o, "k", "u", 3)
		first.Metadata, again.Metadata, other.Metadata = pointer(`{"a":1,"b":2.50}`), pointer(`{"b":2.5,"a":1}`), pointer(`{"a":1,"b":"2.5"}`)
		l.booked(first)
		v := l.settle(again, other)
		b.ok(v[0].Err)
		equal(b, "metadata", *v[0].Redemption.Metadata, *first.Metadata)
		b.fails(v[1].Err, models.ErrKeyReused)
	}},
	{"the same key twice in a batch is one redemption", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 20)
		v := l.settle(redeem(o, "k", "u", 3), redeem(o, "k", "u", 3), redeem(o, "k", "u", 2))
		b.ok(v[0].Err)
		b.ok(v[1].Err)
		equal(b, "second is a replay", v[1].Replayed, true)
		b.fails(v[2].Err, models.ErrKeyReused)
		equal(b, "redeemed", b.audit(o).Redeemed, 3)
	}},
	{"one key from many leases at once is one redemption", func(b *trial) {
		o := b.offer(100)
		verdicts := make([]models.Verdict, 8)
		var wait sync.WaitGroup
		for i := range verdicts {
			l := b.lane(o, 5)
			wait.Go(func() { verdicts[i] = settleOne(l, redeem(o, "k", "u", 5)) })
		}
		wait.Wait()
		booked := 0
		for _, v := range verdicts {
			b.ok(v.Err)
			equal(b, "entry", v.Entry.ID, verdicts[0].Entry.ID)
			if !v.Replayed {
				booked++
			}
		}
		equal(b, "booked", booked, 1)
		equal(b, "redeemed", b.audit(o).Redeemed, 5)
	}},
	{"a check only looks", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 20)
		l.booked(redeem(o, "there", "u", 3))
		v := l.settle(checkOnly(redeem(o, "there", "u", 3)), checkOnly(redeem(o, "gone", "u", 3)), checkOnly(refund(o, "there", "r", 1)))
		b.ok(v[0].Err)
		equal(b, "replayed", v[0].Replayed, true)
		b.fails(v[1].Err, models.ErrNotSettled)
		b.fails(v[2].Err, models.ErrNotSettled)
		equal(b, "redeemed", b.audit(o).Redeemed, 3)
	}},
	{"users who differ in case or in a trailing space are different", func(b *trial) {
		o := b.offer(20, limitRedemptions(1))
		l := b.lane(o, 20)
		l.booked(redeem(o, "1", "alice", 1), redeem(o, "2", "Alice", 1), redeem(o, "3", "alice ", 1))
		for _, user := range []string{"alice", "Alice", "alice "} {
			u, err := b.Usage(b.ctx, o.ID, user)
			b.ok(err)
			equal(b, "redemptions of "+user, u.Redemptions, 1)
			list, err := b.Redemptions(b.ctx, models.RedemptionFilter{OfferID: o.ID, UserID: user, Limit: 10})
			b.ok(err)
			equal(b, "listed for "+user, len(list), 1)
		}
		b.fails(l.settle(redeem(o, "4", "alice", 1))[0].Err, models.ErrUserLimitReached)
		b.audit(o)
	}},
	{"keys that differ in case are different", func(b *trial) {
		o := b.offer(20)
		b.lane(o, 20).booked(redeem(o, "key", "u", 1), redeem(o, "KEY", "u", 1))
		equal(b, "redeemed", b.audit(o).Redeemed, 2)
	}},
	{"a batch of more than one statement holds is one transaction", func(b *trial) {
		const n = 510
		o := b.offer(n, limitRedemptions(1))
		wanted := make([]models.Wanted, n)
		for i := range wanted {
			name := "u" + models.NewID().String()
			wanted[i] = redeem(o, name, name, 1)
		}
		b.lane(o, n).booked(wanted...)
		equal(b, "redeemed", b.audit(o).Redeemed, n)
	}},
}

// settleOne books a single entry as a caller would: busy is asked again.
func settleOne(l *lane, w models.Wanted) models.Verdict {
	for range 20 {
		verdicts, err := l.Settle(l.ctx, l.next(w))
		if errors.Is(err, models.ErrBusy) {
			continue
		}
		if err != nil {
			return models.Verdict{Err: err}
		}
		l.batch++
		return verdicts[0]
	}
	return models.Verdict{Err: models.ErrBusy}
}

var limitTests = []test{
	{"a user gets as many redemptions as the limit says", func(b *trial) {
		o := b.offer(20, limitRedemptions(2))
		l := b.lane(o, 20)
		v := l.settle(redeem(o, "1", "u", 1), redeem(o, "2", "v", 1), redeem(o, "3", "u", 1), redeem(o, "4", "u", 1), redeem(o, "5", "v", 1))
		for i, refused := range []bool{false, false, false, true, false} {
			if got := errors.Is(v[i].Err, models.ErrUserLimitReached); got != refused {
				b.Fatalf("entry %d: %v", i, v[i].Err)
			}
		}
		var limit *models.UserLimitError
		if !errors.As(v[3].Err, &limit) || limit.Usage.Redemptions != 2 || *limit.LimitRedemptions != 2 || limit.Usage.UserID != "u" {
			b.Fatalf("refused with %+v", v[3].Err)
		}
		b.fails(l.settle(redeem(o, "6", "u", 1))[0].Err, models.ErrUserLimitReached)
		equal(b, "redeemed", b.audit(o).Redeemed, 4)
	}},
	{"a user gets as many units as the limit says", func(b *trial) {
		o := b.offer(50, limitUnits(10))
		l := b.lane(o, 50)
		v := l.settle(redeem(o, "1", "u", 6), redeem(o, "2", "u", 5), redeem(o, "3", "u", 4), redeem(o, "4", "v", 11), redeem(o, "5", "v", 10))
		for i, refused := range []bool{false, true, false, true, false} {
			if got := errors.Is(v[i].Err, models.ErrUserLimitReached); got != refused {
				b.Fatalf("entry %d: %v", i, v[i].Err)
			}
		}
		equal(b, "redeemed", b.audit(o).Redeemed, 20)
	}},
	{"a replay is not refused by the limit", func(b *trial) {
		o := b.offer(20, limitRedemptions(1))
		l := b.lane(o, 20)
		l.booked(redeem(o, "1", "u", 1))
		v := l.settle(redeem(o, "1", "u", 1), redeem(o, "2", "u", 1), redeem(o, "2", "u", 1))
		b.ok(v[0].Err)
		equal(b, "replayed", v[0].Replayed, true)
		b.fails(v[1].Err, models.ErrUserLimitReached)
		b.fails(v[2].Err, models.ErrUserLimitReached)
		equal(b, "redeemed", b.audit(o).Redeemed, 1)
	}},
	{"a new user's two redemptions from two leases at once: one wins", func(b *trial) {
		o := b.offer(1000, limitRedemptions(1))
		lanes := []*lane{b.lane(o, 20), b.lane(o, 20), b.lane(o, 20), b.lane(o, 20)}
		for range 12 {
			user := models.NewID().String()
			verdicts := make([]models.Verdict, len(lanes))
			var wait sync.WaitGroup
			for i, l := range lanes {
				wait.Go(func() { verdicts[i] = settleOne(l, redeem(o, models.NewID().String(), user, 1)) })
			}
			wait.Wait()
			won := 0
			for _, v := range verdicts {
				if v.Err == nil {
					won++
				} else {
					b.fails(v.Err, models.ErrUserLimitReached)
				}
			}
			equal(b, "won", won, 1)
		}
		equal(b, "redeemed", b.audit(o).Redeemed, 12)
	}},
	{"usage counts alike with and without a limit", func(b *trial) {
		for _, o := range []*models.Offer{b.offer(50), b.offer(50, limitRedemptions(9))} {
			l, p := b.lane(o, 50), b.pool(o)
			l.booked(redeem(o, "1", "u", 5), redeem(o, "2", "u", 4), redeem(o, "3", "v", 1))
			p.booked(refund(o, "1", "a", 2), refund(o, "2", "a", 4))
			u, err := b.Usage(b.ctx, o.ID, "u")
			b.ok(err)
			equal(b, "usage", u, models.Usage{OfferID: o.ID, UserID: "u", Redemptions: 1, Units: 3})
			none, err := b.Usage(b.ctx, o.ID, "nobody")
			b.ok(err)
			equal(b, "usage of nobody", none, models.Usage{OfferID: o.ID, UserID: "nobody"})
			b.audit(o)
		}
	}},
}
