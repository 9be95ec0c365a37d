package storetest

import (
	"errors"
	"sync"
	"sync/atomic"

	"tranche/models"
)

// limited adds limits to an offer, and gives it as it is then.
func (b *trial) limited(o *models.Offer, limits ...func(*models.Offer)) *models.Offer {
	b.Helper()
	changed, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error {
		for _, limit := range limits {
			limit(o)
		}
		return nil
	})
	b.ok(err)
	return &changed
}

func noLimits(o *models.Offer) { o.UserLimitRedemptions, o.UserLimitUnits = nil, nil }

func (b *trial) userLimits(o *models.Offer, want models.UserLimits) {
	b.Helper()
	got, err := b.Offer(b.ctx, o.ID)
	b.ok(err)
	equal(b, "user limits", got.UserLimits(), want)
	list, _, err := b.Offers(b.ctx, models.OfferFilter{Query: o.ID, Limit: 1})
	b.ok(err)
	equal(b, "user limits in the list", list[0].UserLimits(), want)
}

// refused wants a redemption to be over its user's limit, with so many redemptions and units used.
func (l *lane) refused(w models.Wanted, redemptions, units int64) {
	l.Helper()
	v := l.settle(w)[0]
	over, ok := errors.AsType[*models.UserLimitError](v.Err)
	if !ok {
		l.Fatalf("%+v", v)
	}
	equal(l.trial, "used", [2]int64{over.Usage.Redemptions, over.Usage.Units}, [2]int64{redemptions, units})
}

var laterLimitTests = []test{
	{"B7: a limit that comes later counts what was redeemed before", func(b *trial) {
		o := b.offer(100)
		old := b.lane(o, 50)
		old.booked(redeem(o, "1", "u", 2), redeem(o, "2", "u", 3), redeem(o, "3", "v", 1), hold(o, "4", "w", 4))
		b.userLimits(o, models.LimitsNone)
		old.close()
		o = b.limited(o, limitRedemptions(2), limitUnits(6))
		b.userLimits(o, models.LimitsExact)
		l := b.lane(o, 50)
		l.refused(redeem(o, "5", "u", 1), 2, 5)
		l.refused(redeem(o, "6", "w", 3), 1, 4)
		l.booked(redeem(o, "7", "v", 5), redeem(o, "8", "new", 6))
		l.refused(redeem(o, "9", "new", 1), 1, 6)
		pool := b.pool(o)
		pool.booked(refund(o, "2", "r", 3), cancel(o, "4"))
		l.booked(redeem(o, "10", "u", 4), redeem(o, "11", "w", 6))
		l.refused(redeem(o, "12", "u", 1), 2, 6)
		b.audit(o)
	}},
	{"B7: a refund is the first to meet a user whom nobody counted", func(b *trial) {
		o := b.offer(100)
		old := b.lane(o, 50)
		old.booked(redeem(o, "1", "u", 2))
		old.close()
		o = b.limited(o, limitRedemptions(1))
		b.pool(o).booked(refund(o, "1", "r", 2))
		l := b.lane(o, 5)
		l.booked(redeem(o, "2", "u", 1))
		l.refused(redeem(o, "3", "u", 1), 1, 1)
		b.audit(o)
	}},
	{"B7: limits are counting while older leases are out, then exact", func(b *trial) {
		before := b.offer(100)
		old := b.lane(before, 50)
		o := b.limited(before, limitRedemptions(2))
		b.userLimits(o, models.LimitsCounting)
		l := b.lane(o, 50)
		l.booked(redeem(o, "1", "u", 1))   // makes a counter
		old.booked(redeem(o, "2", "u", 1)) // which this does not count
		l.refused(redeem(o, "3", "u", 1), 2, 2)
		old.booked(redeem(o, "4", "v", 1), redeem(o, "5", "v", 1), redeem(o, "6", "v", 1))
		l.refused(redeem(o, "7", "v", 1), 3, 3)
		old.close()
		b.userLimits(o, models.LimitsExact)
		l.refused(redeem(o, "8", "v", 1), 3, 3)
		l.refused(redeem(o, "9", "u", 1), 2, 2)
		b.pool(o).booked(refund(o, "1", "r", 1))
		l.booked(redeem(o, "10", "u", 1))
		l.refused(redeem(o, "11", "u", 1), 2, 2)
		got, err := b.Usage(b.ctx, o.ID, "v")
		b.ok(err)
		equal(b, "used over the limit", got.Redemptions, 3)
	}},
	{"B7: what an older lease exposes keeps limits from being exact", func(b *trial) {
		fast := b.offer(100, inMode(models.ModeFast))
		old := b.lane(fast, 10)
		old.reclaim()
		o := b.limited(fast, inMode(models.ModeStrict), limitRedemptions(1))
		b.userLimits(o, models.LimitsCounting)
		l := b.lane(o, 20)
		l.booked(redeem(o, "1", "u", 1))
		old.offer = fast // its node does not know yet
		old.booked(acknowledged(redeem(o, "2", "v", 1)))
		l.refused(redeem(o, "3", "v", 1), 1, 1)
		b.ok(b.Acquit(b.ctx, o.ID, []models.ID{old.lease.ID}))
		b.userLimits(o, models.LimitsExact)
		l.refused(redeem(o, "4", "v", 1), 1, 1)
	}},
	{"B7: limits that were taken away and come back count what happened meanwhile", func(b *trial) {
		o := b.offer(100, limitRedemptions(1))
		l := b.lane(o, 10)
		l.booked(redeem(o, "1", "u", 1))
		l.refused(redeem(o, "2", "u", 1), 1, 1)
		l.close()
		o = b.limited(o, noLimits)
		b.userLimits(o, models.LimitsNone)
		l = b.lane(o, 10)
		l.booked(redeem(o, "3", "u", 4), redeem(o, "4", "v", 2))
		b.pool(o).booked(refund(o, "1", "r", 1))
		l.close()
		b.ok(b.closeAll(o))
		o = b.limited(o, limitRedemptions(2))
		l = b.lane(o, 10)
		l.booked(redeem(o, "5", "u", 1))
		l.refused(redeem(o, "6", "u", 1), 2, 5)
		l.close()
		o = b.limited(o, limitRedemptions(3))
		l = b.lane(o, 10)
		l.booked(redeem(o, "7", "u", 1))
		l.refused(redeem(o, "8", "u", 1), 3, 6)
		b.audit(o)
	}},
	{"B7: of two first redemptions after a limit came, one wins", func(b *trial) {
		o := b.offer(1000)
		old := b.lane(o, 10)
		old.booked(redeem(o, "0", "known", 1))
		old.close()
		o = b.limited(o, limitRedemptions(1))
		var won atomic.Int64
		var group sync.WaitGroup
		for i := range 4 {
			l := b.lane(o, 20)
			group.Go(func() {
				for user := range 5 {
					name := string(rune('a' + user))
					for _, v := range settleAgain(l, redeem(o, name+string(rune('0'+i)), name, 1)) {
						if v.Err == nil {
							won.Add(1)
						}
					}
				}
			})
		}
		group.Wait()
		equal(b, "redeemed", won.Load(), 5)
		b.audit(o)
	}},
}

// settleAgain settles, and tries again where others were in the way.
func settleAgain(l *lane, w models.Wanted) []models.Verdict {
	for {
		verdicts, err := l.Settle(l.ctx, l.next(w))
		if errors.Is(err, models.ErrBusy) {
			continue
		}
		if err != nil {
			l.Error(err)
			return nil
		}
		l.batch++
		return verdicts
	}
}

// closeAll returns all active leases of an offer.
func (b *trial) closeAll(o *models.Offer) error {
	active, err := b.ActiveLeases(b.ctx, o.ID)
	for i := 0; i < len(active) && err == nil; i++ {
		_, _, err = b.CloseLease(b.ctx, o.ID, active[i].ID, models.LeaseReturned, nil)
	}
	return err
}
