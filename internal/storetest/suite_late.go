package storetest

import (
	"tranche/models"
)

var lateTests = []test{
	{"what was acknowledged on a reclaimed lease is booked late: listed, counted, and over the budget if that is gone", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 10)
		l.booked(acknowledged(redeem(o, "in time", "u", 2)))
		equal(b, "exposed", l.reclaim().Exposed, 8)
		b.lane(o, 8).booked(redeem(o, "the rest", "v", 8))
		before := b.audit(o)
		equal(b, "overspend and its bound before", [2]int64{before.Overspend(), before.OverspendBound}, [2]int64{0, 8})

		first := acknowledged(redeem(o, "late", "u", 3))
		first.OrderID, first.NodeID = pointer("order"), b.node
		v := l.booked(first, acknowledged(redeem(o, "later", "w", 1)))
		for i := range v {
			equal(b, "late", [2]bool{v[i].Entry.Late, v[i].Redemption.Late}, [2]bool{true, true})
			equal(b, "lease", v[i].Entry.LeaseID, l.lease.ID)
		}
		after := b.audit(o)
		equal(b, "allocated, of 10", after.Allocated, 14)
		equal(b, "unallocated", after.Unallocated(), -4)
		equal(b, "late units", after.LateUnits, 4)
		equal(b, "overspend and its bound after", [2]int64{after.Overspend(), after.OverspendBound}, [2]int64{4, 8})
		state := l.state()
		equal(b, "lease", [4]int64{state.Granted, state.Spent, state.Exposed, state.Batch}, [4]int64{10, 6, 4, 2})
		equal(b, "lease's state", state.State, models.LeaseReclaimed)
		b.listed(o, "late late", "late later")
		e := b.exceptions(o)[0]
		equal(b, "order", *e.OrderID, "order")
		e.ID, e.CreatedAt, e.OrderID = models.ID{}, 0, nil
		equal(b, "exception", e, models.Exception{
			OfferID: o.ID, Reason: models.ReasonLate, Redemption: first.Redemption, UserID: "u", Units: 3,
			LeaseID: l.lease.ID, NodeID: b.node, EntryID: first.ID, IdempotencyKey: "late",
		})
		g, err := b.Grant(b.ctx, b.request(o.ID, 1))
		b.ok(err)
		equal(b, "units granted of an overspent offer", granted(g), 0)
	}},
	{"a late batch again books once", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 10)
		l.reclaim()
		batch := l.next(acknowledged(redeem(o, "a", "u", 2)), redeem(o, "b", "u", 1))
		_, err := b.Settle(b.ctx, batch)
		b.ok(err)
		for range 2 {
			again, err := b.Settle(b.ctx, batch)
			b.ok(err)
			b.ok(again[0].Err)
			equal(b, "replayed", again[0].Replayed, false)
			equal(b, "late", again[0].Entry.Late, true)
			b.fails(again[1].Err, models.ErrNotSettled)
		}
		b.listed(o, "late a")
		balance := b.audit(o)
		equal(b, "redeemed, late and bound", [3]int64{balance.Redeemed, balance.LateUnits, balance.OverspendBound}, [3]int64{2, 2, 8})
	}},
	{"a late batch takes its number, even with nothing to book", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l := b.lane(o, 10)
		l.reclaim()
		w := acknowledged(redeem(o, "k", "u", 2))
		b.lane(o, 5).booked(acknowledged(redeem(o, "k", "u", 2)))
		v := l.settle(w)[0]
		b.ok(v.Err)
		equal(b, "replayed", v.Replayed, true)
		stale := l.next(acknowledged(redeem(o, "other", "u", 1)))
		stale.Number--
		verdicts, err := b.Settle(b.ctx, stale)
		b.ok(err)
		b.fails(verdicts[0].Err, models.ErrNotSettled)
		l.booked(stale.Wanted...)
		b.listed(o, "late other")
		equal(b, "exposed", l.state().Exposed, 9)
		equal(b, "redeemed", b.audit(o).Redeemed, 3)
	}},
	{"of a mixed batch on a closed lease only what was acknowledged is booked", func(b *trial) {
		o := b.offer(20, inMode(models.ModeAvailable))
		p := b.pool(o)
		b.lane(o, 10).booked(redeem(o, "k", "u", 6))
		p.booked(refund(o, "k", "r", 4))
		equal(b, "exposed", p.reclaim().Exposed, 4)
		v := p.settle(
			redeem(o, "1", "u", 1), refund(o, "k", "s", 1), acknowledged(redeem(o, "2", "u", 2)), checkOnly(redeem(o, "3", "u", 1)), refund(o, "k", "r", 4),
		)
		for i, err := range []error{models.ErrLeaseClosed, models.ErrLeaseClosed, nil, models.ErrLeaseClosed, models.ErrLeaseClosed} {
			b.fails(v[i].Err, err)
		}
		_, err := b.Settle(b.ctx, p.next(redeem(o, "1", "u", 1), refund(o, "k", "s", 1)))
		b.fails(err, models.ErrLeaseClosed)
		p.booked(acknowledged(redeem(o, "4", "u", 2))) // the number of a refused batch is free
		b.listed(o, "late 2", "late 4")
		balance := b.audit(o)
		equal(b, "redeemed and refunded", [2]int64{balance.Redeemed, balance.Refunded}, [2]int64{10, 4})
		equal(b, "exposed", p.state().Exposed, 0)
	}},
	{"what is booked late is over its user's limit as well", func(b *trial) {
		o := b.offer(20, inMode(models.ModeAvailable), limitRedemptions(1))
		l, other := b.lane(o, 10), b.lane(o, 10)
		l.reclaim()
		other.booked(redeem(o, "1", "u", 1))
		l.booked(acknowledged(redeem(o, "2", "u", 1)), acknowledged(redeem(o, "3", "v", 1)))
		b.fails(other.settle(redeem(o, "4", "v", 1))[0].Err, models.ErrUserLimitReached)
		b.listed(o, "late 2", "user_limit 2", "late 3")
		u, err := b.Usage(b.ctx, o.ID, "u")
		b.ok(err)
		equal(b, "redemptions of u", u.Redemptions, 2)
		b.audit(o)
	}},
	{"what was booked late on one lease is a replay on another, and the other way round", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		closed, active, second := b.lane(o, 5), b.lane(o, 5), b.lane(o, 5)
		closed.reclaim()
		second.reclaim()
		closed.booked(acknowledged(redeem(o, "k", "u", 2)))
		for _, l := range []*lane{active, second} {
			v := l.settle(acknowledged(redeem(o, "k", "u", 2)))[0]
			b.ok(v.Err)
			equal(b, "replayed and late", [2]bool{v.Replayed, v.Entry.Late}, [2]bool{true, true})
		}
		equal(b, "exposed", [2]int64{closed.state().Exposed, second.state().Exposed}, [2]int64{3, 5})
		b.listed(o, "late k")
		equal(b, "late units", b.audit(o).LateUnits, 2)
	}},
	{"what its owner acknowledged on a lease and returned all the same is booked late", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 4)
		equal(b, "exposed", l.close().Exposed, 0)
		l.booked(acknowledged(redeem(o, "k", "u", 3)))
		equal(b, "exposed", l.state().Exposed, 0)
		b.listed(o, "late k")
		equal(b, "allocated", b.audit(o).Allocated, 3)
	}},
	{"a late redemption is refunded as any other", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 10)
		l.reclaim()
		b.lane(o, 10).booked(redeem(o, "all", "v", 10))
		l.booked(acknowledged(redeem(o, "k", "u", 3)))
		p := b.pool(o)
		v := p.booked(refund(o, "k", "r", 0))[0]
		equal(b, "late", [2]bool{v.Redemption.Late, v.Entry.Late}, [2]bool{true, false})
		balance := b.audit(o)
		equal(b, "overspend", balance.Overspend(), 0)
		p.close()
		balance = b.audit(o)
		equal(b, "allocated and late units", [2]int64{balance.Allocated, balance.LateUnits}, [2]int64{10, 3})
	}},
	{"a budget never rises to what late units took", func(b *trial) {
		o := b.offer(100, inMode(models.ModeFast))
		gone, held := b.lane(o, 40), b.lane(o, 30)
		held.booked(redeem(o, "k", "u", 20))
		set := func(to int64) (models.Offer, error) {
			return b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.BudgetTarget = to; return nil })
		}
		_, err := set(20)
		b.ok(err)
		gone.reclaim()
		equal(b, "budget after the reclaim", b.audit(o).Budget, 30)
		gone.booked(acknowledged(redeem(o, "late", "u", 25)))
		balance := b.audit(o)
		equal(b, "budget, allocated and overspend", [3]int64{balance.Budget, balance.Allocated, balance.Overspend()}, [3]int64{30, 55, 15})
		_, err = set(44)
		b.fails(err, models.ErrBudgetBelowSpent)
		changed, err := set(50)
		b.ok(err)
		equal(b, "budget raised below what is allocated", changed.Budget, 50)
		balance = b.audit(o)
		equal(b, "overspend", balance.Overspend(), 0)
		held.close()
		equal(b, "budget", b.audit(o).Budget, 50)
		_, err = set(45)
		b.ok(err)
		equal(b, "budget", b.audit(o).Budget, 45)
	}},
	{"a budget that follows down does not rise when a lease closes over it", func(b *trial) {
		o := b.offer(100, inMode(models.ModeFast))
		gone, held := b.lane(o, 50), b.lane(o, 50)
		held.booked(redeem(o, "k", "u", 45))
		_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.BudgetTarget = 45; return nil })
		b.ok(err)
		gone.reclaim()
		equal(b, "budget", b.audit(o).Budget, 50)
		gone.booked(acknowledged(redeem(o, "late", "u", 20)))
		held.close()
		balance := b.audit(o)
		equal(b, "budget, allocated and overspend", [3]int64{balance.Budget, balance.Allocated, balance.Overspend()}, [3]int64{50, 65, 15})
	}},
}
