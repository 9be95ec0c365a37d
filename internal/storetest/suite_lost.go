package storetest

import (
	"tranche/internal/version"
	"tranche/models"
)

// lostTests are about a ledger that has lost commits: a backup was restored, or a replica promoted that lagged behind.
var lostTests = []test{
	{"A1: a ledger keeps its id", func(b *trial) {
		first, err := b.LedgerID(b.ctx)
		b.ok(err)
		equal(b, "none", first.IsZero(), false)
		again, err := b.LedgerID(b.ctx)
		b.ok(err)
		equal(b, "id", again, first)
	}},
	{"A1: what was acknowledged on a lease that the ledger has lost is booked late, on a closed lease of that id", func(b *trial) {
		o := b.offer(10, inMode(models.ModeAvailable), limitRedemptions(1))
		l := b.lost(o)
		other := b.lane(o, 10)
		other.booked(redeem(o, "1", "u", 4))
		first, second := acknowledged(redeem(o, "2", "u", 3)), acknowledged(redeem(o, "3", "v", 1))
		first.NodeID = b.node
		batch := l.next(first, second)
		for range 2 { // the reply to the first is lost
			verdicts, err := b.Settle(b.ctx, batch)
			b.ok(err)
			for i, v := range verdicts {
				b.ok(v.Err)
				equal(b, "replayed, late", [2]bool{v.Replayed, v.Entry.Late}, [2]bool{false, true})
				equal(b, "lease", v.Entry.LeaseID, l.lease.ID)
				equal(b, "entry", v.Entry.ID, batch.Wanted[i].ID)
			}
		}
		l.batch++
		made := l.state()
		equal(b, "granted, spent, exposed, epoch", [4]int64{made.Granted, made.Spent, made.Exposed, made.Epoch}, [4]int64{4, 4, 0, 0})
		equal(b, "node", made.NodeID, b.node)
		equal(b, "closed", made.State != models.LeaseActive && made.ClosedAt != nil, true)
		balance := b.audit(o)
		equal(b, "allocated, late, overspend, bound", [4]int64{balance.Allocated, balance.LateUnits, balance.Overspend(), balance.OverspendBound}, [4]int64{14, 4, 0, 6})
		b.listed(o, "user_limit 2", "late 2", "late 3")

		l.booked(acknowledged(redeem(o, "4", "w", 2)))
		made = l.state()
		equal(b, "granted and spent, grown", [2]int64{made.Granted, made.Spent}, [2]int64{6, 6})
		equal(b, "allocated", b.audit(o).Allocated, 16)
		owed, err := b.LeasesOfNode(b.ctx, b.node, b.epoch+1, 10)
		b.ok(err)
		equal(b, "leases that owe an answer", len(owed), 1) // the other lane
	}},
	{"A1: on a lost lease, what is in the ledger makes no lease, and what was not acknowledged is refused", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		b.lane(o, 5).booked(redeem(o, "k", "u", 2))
		l := b.lost(o)
		v := l.settle(acknowledged(redeem(o, "k", "u", 2)))[0]
		b.ok(v.Err)
		equal(b, "replayed", v.Replayed, true)
		_, err := b.Settle(b.ctx, l.next(redeem(o, "n", "u", 1)))
		b.fails(err, models.ErrLeaseClosed)
		equal(b, "leases", len(b.allLeases(o.ID)), 1)
		verdicts := l.settle(redeem(o, "n", "u", 1), acknowledged(redeem(o, "a", "u", 1)))
		b.fails(verdicts[0].Err, models.ErrLeaseClosed)
		b.ok(verdicts[1].Err)
		equal(b, "allocated", b.audit(o).Allocated, 6)
	}},
	{"A1: nothing is booked for an offer that the ledger has lost", func(b *trial) {
		o := b.terms("gone", 10)
		l := b.lost(&o)
		_, err := b.Settle(b.ctx, l.next(acknowledged(redeem(&o, "k", "u", 1))))
		b.fails(err, models.ErrOfferNotFound)
		entries, err := b.Entries(b.ctx, o.ID, 10, models.ID{})
		b.ok(err)
		equal(b, "entries", len(entries), 0)
	}},
	{"A2: a node's epoch outlives a ledger that has lost it, and a higher one still stops it", func(b *trial) {
		o := b.offer(10)
		b.epoch += 3
		l := b.lane(o, 2)
		b.pool(o)
		renewed, err := b.Renew(b.ctx, b.node, b.epoch, o.ID, []models.ID{l.lease.ID})
		b.ok(err)
		equal(b, "renewed", len(renewed), 1)
		b.ok(b.Heartbeat(b.ctx, b.node, "n", b.epoch))
		b.fails(b.Heartbeat(b.ctx, b.node, "n", b.epoch-1), models.ErrEpochSuperseded)
		next, err := b.RegisterNode(b.ctx, b.node, "n")
		b.ok(err)
		equal(b, "next epoch", next, b.epoch+1)
		b.fails(b.Heartbeat(b.ctx, b.node, "n", b.epoch), models.ErrEpochSuperseded)
	}},
	{"A2: a node that the ledger has lost is there again with its heartbeat", func(b *trial) {
		o := b.offer(10)
		b.node, b.epoch = models.NewID(), 7
		b.lane(o, 2)
		for range 2 {
			b.ok(b.Heartbeat(b.ctx, b.node, "lost-"+b.tag, b.epoch))
		}
		equal(b, "name", b.allLeases(o.ID)[0].NodeName, "lost-"+b.tag)
		nodes, err := b.Nodes(b.ctx, 1, models.ID{})
		b.ok(err)
		equal(b, "version", nodes[0].Version, version.Version)
		next, err := b.RegisterNode(b.ctx, b.node, "n")
		b.ok(err)
		equal(b, "next epoch", next, 8)
	}},
	{"A2: an offer is read under its row's lock", func(b *trial) {
		o := b.offer(10)
		got, err := b.LockedOffer(b.ctx, o.ID)
		b.ok(err)
		equal(b, "version and budget", [2]int64{got.Version, got.Budget}, [2]int64{1, 10})
		_, err = b.LockedOffer(b.ctx, "none-"+b.tag)
		b.fails(err, models.ErrOfferNotFound)
	}},
	{"A3: a lease that lacks batches is closed, and its node hears so", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 6)
		l.booked(redeem(o, "1", "u", 1))
		l.batch += 2 // which the ledger has lost
		for range 2 {
			_, err := b.Settle(b.ctx, l.next(redeem(o, "2", "u", 1)))
			b.fails(err, models.ErrLeaseClosed)
		}
		equal(b, "exposed", l.state().Exposed, 0)
		balance := b.audit(o)
		equal(b, "allocated and active", [2]int64{balance.Allocated, balance.LeasesActive}, [2]int64{1, 0})
		b.lane(o, 2).booked(redeem(o, "2", "u", 1))
		equal(b, "available", b.Available(), true)
	}},
	{"A3: what was acknowledged on a lease that lacks batches is booked late, once, and the bound says so before", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 6)
		l.booked(redeem(o, "1", "u", 1))
		l.batch += 2
		batch := l.next(redeem(o, "no", "u", 1), acknowledged(redeem(o, "2", "u", 2)), acknowledged(redeem(o, "1", "u", 1)))
		for i := range 2 {
			verdicts, err := b.Settle(b.ctx, batch)
			b.ok(err)
			b.fails(verdicts[0].Err, []error{models.ErrLeaseClosed, models.ErrNotSettled}[i])
			b.ok(verdicts[1].Err)
			equal(b, "late", verdicts[1].Entry.Late, true)
			b.ok(verdicts[2].Err)
			equal(b, "replayed", verdicts[2].Replayed, true)
		}
		l.batch++
		equal(b, "exposed", l.state().Exposed, 3)
		b.listed(o, "late 2")
		balance := b.audit(o)
		equal(b, "allocated and bound", [2]int64{balance.Allocated, balance.OverspendBound}, [2]int64{3, 3})
		l.booked(acknowledged(redeem(o, "3", "u", 3)))
		equal(b, "exposed", l.state().Exposed, 0)
		b.audit(o)
	}},
	{"A3: a closed lease that lacks batches takes what was acknowledged", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		l := b.lane(o, 6)
		l.reclaim()
		l.batch += 4
		l.booked(acknowledged(redeem(o, "1", "u", 2)))
		equal(b, "exposed", l.state().Exposed, 4)
		b.listed(o, "late 1")
		b.audit(o)
	}},
	{"A3: a lease that was granted less than was spent on it is closed, and the rest booked on another", func(b *trial) {
		o := b.offer(20, inMode(models.ModeAvailable), limitRedemptions(5))
		b.lane(o, 10).booked(redeem(o, "k", "u", 6))
		p := b.pool(o)
		p.booked(refund(o, "k", "r", 2)) // and one of 3, which the ledger has lost
		_, err := b.Settle(b.ctx, p.next(redeem(o, "1", "v", 3)))
		b.fails(err, models.ErrLeaseClosed)
		equal(b, "state", p.state().State, models.LeaseReclaimed)
		b.audit(o)

		batch := p.next(acknowledged(redeem(o, "2", "v", 2)), acknowledged(redeem(o, "3", "w", 3)))
		for range 2 {
			verdicts, err := b.Settle(b.ctx, batch)
			b.ok(err)
			for i, v := range verdicts {
				b.ok(v.Err)
				equal(b, "entry", v.Entry.ID, batch.Wanted[i].ID)
				equal(b, "replayed, late", [2]bool{v.Replayed, v.Entry.Late}, [2]bool{false, true})
				equal(b, "on the pool", v.Entry.LeaseID == p.lease.ID, false)
			}
		}
		b.listed(o, "late 2", "late 3")
		balance := b.audit(o)
		equal(b, "redeemed, refunded, late", [3]int64{balance.Redeemed, balance.Refunded, balance.LateUnits}, [3]int64{11, 2, 5})
		p.batch++
		p.booked(acknowledged(redeem(o, "4", "w", 1))) // where there is room, it is used
		equal(b, "exposed", p.state().Exposed, 1)
		b.audit(o)
	}},
	{"A3: a cart that does not fit a lease hears that it is closed", func(b *trial) {
		o := b.offer(20)
		l := b.lane(o, 2)
		w := redeem(o, "k", "u", 3)
		cart := models.Cart{ID: models.CartIDOf("k" + b.tag), IdempotencyKey: "k", OfferIDs: []string{o.ID}}
		_, err := b.SettleCart(b.ctx, cart, []models.Batch{{Offer: o, LeaseID: l.lease.ID, Wanted: []models.Wanted{w}}})
		b.fails(err, models.ErrLeaseClosed)
		equal(b, "redeemed", b.audit(o).Redeemed, 0)
	}},
}

// lost gives a lane on a lease that the ledger does not have.
func (b *trial) lost(o *models.Offer) *lane {
	return &lane{trial: b, offer: o, lease: models.Lease{OfferID: o.ID, ID: models.NewID(), NodeID: b.node, Epoch: b.epoch, Mode: o.Mode}}
}
