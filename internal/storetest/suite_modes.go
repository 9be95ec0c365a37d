package storetest

import (
	"fmt"
	"slices"

	"tranche/models"
)

func inMode(m models.Mode) func(*models.Offer) { return func(o *models.Offer) { o.Mode = m } }

// acknowledged is a wanted entry whose requester was answered already.
func acknowledged(w models.Wanted) models.Wanted {
	w.Acknowledged = true
	return w
}

// reclaim closes the lane's lease as a reaper does.
func (l *lane) reclaim() models.Lease {
	l.Helper()
	closed, did, err := l.CloseLease(l.ctx, l.offer.ID, l.lease.ID, models.LeaseReclaimed, nil)
	l.ok(err)
	equal(l.trial, "reclaimed by this call", did, true)
	return closed
}

// state reads the lane's lease.
func (l *lane) state() models.Lease {
	l.Helper()
	leases, err := l.LeaseStates(l.ctx, l.offer.ID, []models.ID{l.lease.ID})
	l.ok(err)
	equal(l.trial, "leases", len(leases), 1)
	return leases[0]
}

// reasons are those of an offer's exceptions, oldest first, each with its key.
func (b *trial) reasons(o *models.Offer) (list []string) {
	b.Helper()
	for _, e := range b.exceptions(o) {
		list = append(list, string(e.Reason)+" "+e.IdempotencyKey)
	}
	slices.Sort(list)
	return list
}

func (b *trial) listed(o *models.Offer, want ...string) {
	b.Helper()
	slices.Sort(want)
	if got := b.reasons(o); !slices.Equal(got, want) {
		b.Fatalf("listed are %q, want %q", got, want)
	}
}

var modeTests = []test{
	{"B7: an offer without a mode is strict", func(b *trial) {
		equal(b, "mode", b.offer(1, inMode("")).Mode, models.ModeStrict)
		equal(b, "mode with a limit of units", b.offer(1, inMode(""), limitUnits(1)).Mode, models.ModeStrict)
		equal(b, "mode with a limit", b.offer(1, inMode(models.ModeAvailable), limitUnits(1)).Mode, models.ModeAvailable)
	}},
	{"a fast offer cannot limit its users", func(b *trial) {
		for _, limit := range []func(*models.Offer){limitRedemptions(1), limitUnits(1)} {
			terms := b.terms("fast", 1)
			terms.Mode = models.ModeFast
			limit(&terms)
			_, _, err := b.CreateOffer(b.ctx, terms)
			b.fails(err, models.ErrModeNotPossible)
			_, err = b.Offer(b.ctx, terms.ID)
			b.fails(err, models.ErrOfferNotFound)

			fast, limited := b.offer(1, inMode(models.ModeFast)), b.offer(1, limit)
			_, err = b.ChangeOffer(b.ctx, fast.ID, nil, func(o *models.Offer) error { limit(o); return nil })
			b.fails(err, models.ErrModeNotPossible)
			_, err = b.ChangeOffer(b.ctx, limited.ID, nil, func(o *models.Offer) error { o.Mode = models.ModeFast; return nil })
			b.fails(err, models.ErrModeNotPossible)
			changed, err := b.ChangeOffer(b.ctx, limited.ID, nil, func(o *models.Offer) error {
				o.Mode, o.UserLimitRedemptions, o.UserLimitUnits = models.ModeFast, nil, nil
				return nil
			})
			b.ok(err)
			equal(b, "mode without the limit", changed.Mode, models.ModeFast)
		}
	}},
	{"a lease keeps the mode that it was granted in", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l := b.lane(o, 5)
		_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.Mode = models.ModeStrict; return nil })
		b.ok(err)
		equal(b, "mode of the old lease", l.state().Mode, models.ModeFast)
		strict := b.lane(o, 7)
		equal(b, "mode of the new lease", strict.state().Mode, models.ModeStrict)
		equal(b, "bound", b.audit(o).OverspendBound, 5)
		equal(b, "exposed", l.reclaim().Exposed, 5)
		equal(b, "exposed by the strict one", strict.reclaim().Exposed, 0)
		equal(b, "bound", b.audit(o).OverspendBound, 5)
	}},
	{"an acknowledged redemption is booked over its user's limit, counted and listed", func(b *trial) {
		o := b.offer(20, inMode(models.ModeAvailable), limitRedemptions(1), limitUnits(3))
		l := b.lane(o, 20)
		over := acknowledged(redeem(o, "2", "u", 2))
		over.OrderID, over.NodeID = pointer("order"), b.node
		l.booked(acknowledged(redeem(o, "1", "u", 1)), over, acknowledged(redeem(o, "v", "v", 4)), redeem(o, "w", "w", 3))
		b.listed(o, "user_limit 2", "user_limit v")
		u, err := b.Usage(b.ctx, o.ID, "u")
		b.ok(err)
		equal(b, "usage", u, models.Usage{OfferID: o.ID, UserID: "u", Redemptions: 2, Units: 3})
		e := b.exceptions(o)[0]
		equal(b, "order", *e.OrderID, "order")
		if e.CreatedAt == 0 || e.ID.IsZero() {
			b.Fatalf("listed as %+v", e)
		}
		e.ID, e.CreatedAt, e.OrderID = models.ID{}, 0, nil
		equal(b, "exception", e, models.Exception{
			OfferID: o.ID, Reason: models.ReasonUserLimit, Redemption: over.Redemption, UserID: "u", Units: 2,
			LeaseID: l.lease.ID, NodeID: b.node, EntryID: over.ID, IdempotencyKey: "2",
		})
		b.fails(l.settle(redeem(o, "3", "u", 1))[0].Err, models.ErrUserLimitReached)
		l.booked(acknowledged(redeem(o, "4", "u", 1)))
		b.listed(o, "user_limit 2", "user_limit v", "user_limit 4")
		equal(b, "redeemed", b.audit(o).Redeemed, 11)
	}},
	{"what can still be refused makes room for what was acknowledged", func(b *trial) {
		o := b.offer(20, inMode(models.ModeAvailable), limitRedemptions(1))
		v := b.lane(o, 20).settle(redeem(o, "asks", "u", 1), acknowledged(redeem(o, "has", "u", 1)), redeem(o, "has", "u", 1))
		b.fails(v[0].Err, models.ErrUserLimitReached)
		b.ok(v[1].Err)
		b.ok(v[2].Err)
		equal(b, "replayed", [2]bool{v[1].Replayed, v[2].Replayed}, [2]bool{false, true})
		b.listed(o)
		equal(b, "redeemed", b.audit(o).Redeemed, 1)
	}},
	{"what was acknowledged on two nodes is booked once", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l, other := b.lane(o, 10), b.lane(o, 10)
		first := l.booked(acknowledged(redeem(o, "k", "u", 3)))[0]
		apart := acknowledged(redeem(o, "k", "u", 3))
		apart.Metadata = pointer(`{"till":7}`) // which decides nothing: both nodes have answered
		v := other.settle(apart, acknowledged(redeem(o, "own", "u", 1)))
		b.ok(v[0].Err)
		equal(b, "replayed", v[0].Replayed, true)
		equal(b, "entry", v[0].Entry.ID, first.Entry.ID)
		b.ok(v[1].Err)
		equal(b, "spent", other.state().Spent, 1)
		b.listed(o)
		equal(b, "redeemed", b.audit(o).Redeemed, 4)
	}},
	{"a key that another request has is listed once, however often it is asked for", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l := b.lane(o, 20)
		l.booked(redeem(o, "k", "u", 3))
		taken, free := acknowledged(redeem(o, "k", "someone else", 3)), acknowledged(redeem(o, "free", "u", 1))
		batch := l.next(taken, free)
		v := l.settle(batch.Wanted...)
		b.fails(v[0].Err, models.ErrKeyReused)
		b.ok(v[1].Err)
		again, err := b.Settle(b.ctx, batch)
		b.ok(err)
		b.fails(again[0].Err, models.ErrNotSettled) // by its number alone: what it does not know to be listed is to be asked for again
		b.ok(again[1].Err)
		b.fails(l.settle(taken)[0].Err, models.ErrKeyReused)
		b.fails(l.settle(redeem(o, "k", "not acknowledged", 3))[0].Err, models.ErrKeyReused)
		l.reclaim()
		b.fails(l.settle(taken)[0].Err, models.ErrKeyReused)
		b.listed(o, "key_reused k")
		e := b.exceptions(o)[0]
		equal(b, "whom it concerns", [2]string{e.UserID, e.EntryID.String()}, [2]string{"someone else", taken.ID.String()})
		equal(b, "redeemed", b.audit(o).Redeemed, 4)
	}},
	{"an acknowledged redemption that is in the ledger already is no replay, on any lease", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l, other, closed := b.lane(o, 5), b.lane(o, 5), b.lane(o, 5)
		w := acknowledged(redeem(o, "k", "u", 2))
		l.booked(w)
		closed.reclaim()
		for _, lane := range []*lane{l, other, closed} {
			v := lane.booked(w)[0]
			equal(b, "lease", v.Entry.LeaseID, l.lease.ID)
		}
		equal(b, "exposed", closed.state().Exposed, 5)
		b.listed(o)
		equal(b, "redeemed", b.audit(o).Redeemed, 2)
	}},
	{"a check does not apply to what was acknowledged", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l := b.lane(o, 20)
		l.booked(checkOnly(acknowledged(redeem(o, "1", "u", 1))))
		l.reclaim()
		l.booked(checkOnly(acknowledged(redeem(o, "2", "u", 1))))
		equal(b, "redeemed", b.audit(o).Redeemed, 2)
	}},
	{"a refund that was acknowledged is a fault", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l, p := b.lane(o, 20), b.pool(o)
		l.booked(redeem(o, "k", "u", 5))
		if _, err := b.Settle(b.ctx, p.next(acknowledged(refund(o, "k", "r", 1)))); err == nil {
			b.Fatal("it was booked")
		}
		equal(b, "refunded", b.audit(o).Refunded, 0)
	}},
	{"leases are found by their ids in any state", func(b *trial) {
		o := b.offer(50, inMode(models.ModeFast))
		active, returned, reclaimed := b.lane(o, 5), b.lane(o, 5), b.lane(o, 5)
		active.booked(redeem(o, "k", "u", 2))
		returned.close()
		reclaimed.reclaim()
		ids := []models.ID{reclaimed.lease.ID, models.NewID(), active.lease.ID, returned.lease.ID}
		leases, err := b.LeaseStates(b.ctx, o.ID, ids)
		b.ok(err)
		equal(b, "leases", len(leases), 3)
		for _, l := range leases {
			want := map[models.ID]string{
				active.lease.ID: "active 1 2", returned.lease.ID: "returned 0 0", reclaimed.lease.ID: "reclaimed 0 0",
			}[l.ID]
			equal(b, "state, batch and spent", fmt.Sprint(l.State, " ", l.Batch, " ", l.Spent), want)
		}
		none, err := b.LeaseStates(b.ctx, o.ID, nil)
		b.ok(err)
		equal(b, "leases without an id", len(none), 0)
	}},
	{"exceptions are listed newest first, page by page", func(b *trial) {
		o := b.offer(50, inMode(models.ModeFast))
		l := b.lane(o, 10)
		l.reclaim()
		for _, key := range []string{"1", "2", "3"} {
			l.booked(acknowledged(redeem(o, key, "u", 1)))
		}
		first, err := b.Exceptions(b.ctx, o.ID, 2, models.ID{})
		b.ok(err)
		rest, err := b.Exceptions(b.ctx, o.ID, 2, first[1].ID)
		b.ok(err)
		equal(b, "newest", first[0].IdempotencyKey, "3")
		equal(b, "on the second page", len(rest), 1)
		equal(b, "oldest", rest[0].IdempotencyKey, "1")
		none, err := b.Exceptions(b.ctx, "none-"+b.tag, 2, models.ID{})
		b.ok(err)
		equal(b, "exceptions of no offer", len(none), 0)
	}},
}
