package storetest

import (
	"slices"
	"time"

	"tranche/models"
)

var leaseTests = []test{
	{"a grant takes units out of the pool", func(b *trial) {
		o := b.offer(100)
		req := b.request(o.ID, 30)
		g, err := b.Grant(b.ctx, req)
		b.ok(err)
		equal(b, "allocated", g.Offer.Allocated, 30)
		l := g.Lease
		equal(b, "id", l.ID, req.LeaseID)
		equal(b, "granted", l.Granted, 30)
		equal(b, "owner", l.NodeID, b.node)
		equal(b, "epoch", l.Epoch, b.epoch)
		equal(b, "kind", l.Kind, models.KindBlock)
		equal(b, "mode", l.Mode, models.ModeStrict)
		equal(b, "state", l.State, models.LeaseActive)
		equal(b, "lives for", l.ExpiresAt.Sub(l.GrantedAt), time.Minute)
		b.lane(o, 20)
		balance := b.balance(o)
		equal(b, "outstanding", balance.Outstanding, 50)
		equal(b, "unallocated", balance.Unallocated(), 50)
		equal(b, "active leases", balance.LeasesActive, 2)
	}},
	{"a repeated grant finds what was granted", func(b *trial) {
		o := b.offer(100)
		req := b.request(o.ID, 30)
		first, err := b.Grant(b.ctx, req)
		b.ok(err)
		req.Size = func(*models.Offer, int64, int64) int64 { panic("sized twice") }
		again, err := b.Grant(b.ctx, req)
		b.ok(err)
		equal(b, "lease", *again.Lease, *first.Lease)
		equal(b, "allocated", b.balance(o).Allocated, 30)
		_, _, err = b.CloseLease(b.ctx, o.ID, req.LeaseID, models.LeaseReturned, nil)
		b.ok(err)
		again, err = b.Grant(b.ctx, req)
		b.ok(err)
		equal(b, "units granted once it was returned", granted(again), 0)
		equal(b, "allocated then", b.balance(o).Allocated, 0)
	}},
	{"the size is decided with the figures under the lock", func(b *trial) {
		o := b.offer(100)
		b.lane(o, 60)
		req := b.request(o.ID, 1)
		asked := false
		req.Size = func(offer *models.Offer, unallocated, nodes int64) int64 {
			asked = true
			equal(b, "offer", offer.ID, o.ID)
			equal(b, "unallocated", unallocated, 40)
			if nodes < 1 {
				b.Errorf("%d active nodes", nodes)
			}
			return 0
		}
		g, err := b.Grant(b.ctx, req)
		b.ok(err)
		equal(b, "asked", asked, true)
		equal(b, "granted", granted(g), 0)
	}},
	{"a partial grant gives what is left, then nothing", func(b *trial) {
		o := b.offer(25)
		b.lane(o, 20)
		g, err := b.Grant(b.ctx, b.request(o.ID, 20))
		b.ok(err)
		equal(b, "granted", granted(g), 5)
		g, err = b.Grant(b.ctx, b.request(o.ID, 1))
		b.ok(err)
		equal(b, "granted", granted(g), 0)
		equal(b, "allocated", b.balance(o).Allocated, 25)
	}},
	{"B10: an offer whose sums are too large gives no lease, and a pool", func(b *trial) {
		o := b.offer(models.MaxInteger)
		l := b.lane(o, models.MaxTotal+1)
		l.booked(redeem(o, "k", "u", models.MaxTotal+1))
		equal(b, "granted while it is out", b.lane(o, 5).lease.Granted, 5)
		l.close()
		g, err := b.Grant(b.ctx, b.request(o.ID, 5))
		b.ok(err)
		equal(b, "granted", granted(g), 0)
		equal(b, "exceeded", g.Offer.TotalsExceeded(), true)
		b.pool(o).booked(refund(o, "k", "r", 3))
		b.audit(o)
	}},
	{"a size beyond what is left is refused as a fault", func(b *trial) {
		o := b.offer(10)
		for _, units := range []int64{11, -1} {
			req := b.request(o.ID, 1)
			req.Size = func(*models.Offer, int64, int64) int64 { return units }
			if _, err := b.Grant(b.ctx, req); err == nil {
				b.Fatalf("%d units were granted", units)
			}
		}
		equal(b, "allocated", b.balance(o).Allocated, 0)
		equal(b, "available", b.Available(), true)
	}},
	{"an offer outside of its window or paused gives no lease", func(b *trial) {
		past, future := models.Micros(1), models.Micros(4_000_000_000_000_000)
		for _, o := range []*models.Offer{
			b.offer(10, func(o *models.Offer) { o.StartsAt = &future }),
			b.offer(10, func(o *models.Offer) { o.EndsAt = &past }),
			b.offer(10, func(o *models.Offer) { o.Status = models.StatusPaused }),
			b.offer(10, func(o *models.Offer) { o.Status = models.StatusEnded }),
		} {
			g, err := b.Grant(b.ctx, b.request(o.ID, 1))
			b.ok(err)
			equal(b, "granted", granted(g), 0)
			equal(b, "offer", g.Offer.ID, o.ID)
		}
	}},
	{"a superseded epoch gets no grant, no pool and no renewal", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 5)
		_, err := b.RegisterNode(b.ctx, b.node, "again")
		b.ok(err)
		_, err = b.Grant(b.ctx, b.request(o.ID, 1))
		b.fails(err, models.ErrEpochSuperseded)
		_, err = b.OpenPool(b.ctx, b.poolTerms(o))
		b.fails(err, models.ErrEpochSuperseded)
		_, err = b.Renew(b.ctx, b.node, b.epoch, o.ID, []models.ID{l.lease.ID})
		b.fails(err, models.ErrEpochSuperseded)
		equal(b, "allocated", b.balance(o).Allocated, 5)
	}},
	{"leases of earlier epochs are listed for their node", func(b *trial) {
		o := b.offer(10)
		old, closed := b.lane(o, 5), b.lane(o, 1)
		closed.close()
		epoch, err := b.RegisterNode(b.ctx, b.node, "again")
		b.ok(err)
		b.epoch = epoch
		b.lane(o, 2)
		leases, err := b.LeasesOfNode(b.ctx, b.node, epoch, 10)
		b.ok(err)
		equal(b, "leases", len(leases), 1)
		equal(b, "lease", leases[0], old.lease)
	}},
	{"renewing moves the deadline", func(b *trial) {
		o := b.offer(10)
		l, other := b.lane(o, 3), b.lane(o, 3)
		before := l.lease.ExpiresAt
		for deadline := time.Now().Add(5 * time.Second); l.lease.ExpiresAt <= before; {
			if time.Now().After(deadline) {
				b.Fatal("the deadline stays")
			}
			renewed, err := b.Renew(b.ctx, b.node, b.epoch, o.ID, []models.ID{l.lease.ID})
			b.ok(err)
			equal(b, "renewed", len(renewed), 1)
			l.lease = b.allLeases(o.ID)[1].Lease
		}
		equal(b, "the other's deadline", b.allLeases(o.ID)[0].ExpiresAt, other.lease.ExpiresAt)
		_, did, err := b.CloseLease(b.ctx, o.ID, l.lease.ID, models.LeaseReclaimed, &before)
		b.ok(err)
		equal(b, "closed by the old deadline", did, false)
		reclaimed, did, err := b.CloseLease(b.ctx, o.ID, l.lease.ID, models.LeaseReclaimed, &l.lease.ExpiresAt)
		b.ok(err)
		equal(b, "closed by the new deadline", did, true)
		equal(b, "state", reclaimed.State, models.LeaseReclaimed)
	}},
	{"only active leases of the owner are renewed", func(b *trial) {
		o := b.offer(10)
		mine, closed := b.lane(o, 3), b.lane(o, 3)
		closed.close()
		stranger := models.NewID()
		epoch, err := b.RegisterNode(b.ctx, stranger, "stranger")
		b.ok(err)
		ids := []models.ID{closed.lease.ID, mine.lease.ID, models.NewID()}
		renewed, err := b.Renew(b.ctx, b.node, b.epoch, o.ID, ids)
		b.ok(err)
		if !slices.Equal(renewed, []models.ID{mine.lease.ID}) {
			b.Fatalf("renewed %v", renewed)
		}
		renewed, err = b.Renew(b.ctx, stranger, epoch, o.ID, ids)
		b.ok(err)
		equal(b, "renewed by a stranger", len(renewed), 0)
		renewed, err = b.Renew(b.ctx, b.node, b.epoch, o.ID, nil)
		b.ok(err)
		equal(b, "renewed of none", len(renewed), 0)
	}},
	{"leases are returned together, once", func(b *trial) {
		o := b.offer(100)
		used, some, pool, closed := b.lane(o, 10), b.lane(o, 20), b.pool(o), b.lane(o, 30)
		used.booked(redeem(o, "1", "u", 10))
		some.booked(redeem(o, "2", "u", 5))
		pool.booked(refund(o, "1", "r", 4))
		closed.close()
		ids := []models.ID{pool.lease.ID, used.lease.ID, closed.lease.ID, some.lease.ID}
		for range 2 {
			returned, err := b.ReturnLeases(b.ctx, o.ID, ids)
			b.ok(err)
			equal(b, "returned", len(returned), 4)
			for i := range returned {
				equal(b, "state", returned[i].State, models.LeaseReturned)
				equal(b, "in the order of their ids", i == 0 || returned[i-1].ID.String() < returned[i].ID.String(), true)
			}
			balance := b.audit(o)
			equal(b, "allocated", balance.Allocated, 11)
			equal(b, "active", balance.LeasesActive, 0)
		}
		last := b.lane(o, 10)
		returned, err := b.ReturnLeases(b.ctx, o.ID, []models.ID{last.lease.ID, models.NewID()}) // the ledger has lost one
		b.ok(err)
		equal(b, "returned beside a lost one", len(returned), 1)
		equal(b, "active", b.audit(o).LeasesActive, 0)
	}},
	{"a grant returns leases in the same transaction, before it is sized", func(b *trial) {
		o := b.offer(100)
		used, pool, closed := b.lane(o, 30), b.pool(o), b.lane(o, 50)
		used.booked(redeem(o, "1", "u", 20))
		pool.booked(refund(o, "1", "r", 5))
		closed.close()
		rest := b.lane(o, 70)
		req := b.request(o.ID, 15)
		req.Returns = []models.ID{used.lease.ID, pool.lease.ID, closed.lease.ID}
		size := req.Size
		req.Size = func(o *models.Offer, unallocated, nodes int64) int64 {
			equal(b, "unallocated", unallocated, 15)
			return size(o, unallocated, nodes)
		}
		for range 2 { // repeated, it finds all done
			g, err := b.Grant(b.ctx, req)
			b.ok(err)
			equal(b, "granted", granted(g), 15)
			equal(b, "allocated", g.Offer.Allocated, 100)
			equal(b, "returned", len(g.Returned), 3)
			for i := range g.Returned {
				equal(b, "state", g.Returned[i].State, models.LeaseReturned)
			}
			balance := b.audit(o)
			equal(b, "allocated", balance.Allocated, 100)
			equal(b, "active leases", balance.LeasesActive, 2)
		}
		_, err := b.RegisterNode(b.ctx, b.node, "again")
		b.ok(err)
		_, err = b.Grant(b.ctx, models.GrantRequest{
			OfferID: o.ID, NodeID: b.node, Epoch: b.epoch, LeaseID: models.NewID(), Returns: []models.ID{rest.lease.ID}, Size: size,
		})
		b.fails(err, models.ErrEpochSuperseded)
		equal(b, "active leases after a refusal", b.audit(o).LeasesActive, 2)
		b.epoch++
		req = b.request(o.ID, 1)
		req.Returns = []models.ID{models.NewID(), rest.lease.ID}
		g, err := b.Grant(b.ctx, req)
		b.ok(err)
		equal(b, "returned beside a lost one", len(g.Returned), 1)
	}},
	{"closing gives the rest back once", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 6)
		l.booked(redeem(o, "k", "u", 2))
		closed := l.close()
		equal(b, "state", closed.State, models.LeaseReturned)
		if closed.ClosedAt == nil || *closed.ClosedAt < closed.GrantedAt {
			b.Fatalf("closed at %v", closed.ClosedAt)
		}
		equal(b, "allocated", b.audit(o).Allocated, 2)
		again, did, err := b.CloseLease(b.ctx, o.ID, l.lease.ID, models.LeaseReclaimed, nil)
		b.ok(err)
		equal(b, "closed again", did, false)
		equal(b, "state", again.State, models.LeaseReturned)
		equal(b, "allocated", b.audit(o).Allocated, 2)
		folded, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		equal(b, "folded", folded.Folded, models.Totals{Redeemed: 2})
	}},
	{"closing a lease that was never granted fails", func(b *trial) {
		o := b.offer(10)
		_, did, err := b.CloseLease(b.ctx, o.ID, models.NewID(), models.LeaseReturned, nil)
		b.fails(err, models.ErrLeaseClosed)
		equal(b, "closed", did, false)
	}},
	{"an empty lease and one all spent close without a trace in the pool", func(b *trial) {
		o := b.offer(10)
		b.pool(o).close()
		l := b.lane(o, 4)
		l.booked(redeem(o, "k", "u", 4))
		l.close()
		balance := b.audit(o)
		equal(b, "allocated", balance.Allocated, 4)
		equal(b, "active leases", balance.LeasesActive, 0)
	}},
	{"opening a pool twice finds it", func(b *trial) {
		o := b.offer(10)
		terms := b.poolTerms(o)
		first, err := b.OpenPool(b.ctx, terms)
		b.ok(err)
		equal(b, "kind", first.Kind, models.KindRefundPool)
		equal(b, "granted", first.Granted, 0)
		equal(b, "state", first.State, models.LeaseActive)
		again, err := b.OpenPool(b.ctx, terms)
		b.ok(err)
		equal(b, "pool", again, first)
		equal(b, "leases", len(b.allLeases(o.ID)), 1)
	}},
	{"expiring leases are listed oldest first, and others are not", func(b *trial) {
		o := b.offer(10)
		b.lane(o, 1) // has a minute to live
		var want []models.ID
		for range 3 {
			terms := b.poolTerms(o)
			terms.TTLSeconds = 0
			l, err := b.OpenPool(b.ctx, terms)
			b.ok(err)
			want = append(want, l.ID)
		}
		expiring := func() (ids []models.ID) {
			before := b.ledgerNow()
			list, err := b.ExpiringLeases(b.ctx, 1000)
			b.ok(err)
			b.readBetween(before, list.Now, len(list.Leases))
			active, err := b.ActiveLeases(b.ctx, o.ID)
			b.ok(err)
			for i, l := range list.Leases {
				if l.OfferID == o.ID && !slices.ContainsFunc(active, func(a models.ListedLease) bool { return a.Lease == l }) {
					b.Fatalf("listed: %+v, active: %+v", l, active)
				}
				if i > 0 && list.Leases[i-1].ExpiresAt > l.ExpiresAt || l.ExpiresAt.Add(-l.TTL()/4) > list.Now {
					b.Fatalf("lease %d: %+v at %d", i, l, list.Now)
				}
				if l.OfferID == o.ID {
					ids = append(ids, l.ID)
				}
			}
			return ids
		}
		equal(b, "expiring", len(expiring()), 3)
		list, err := b.ExpiringLeases(b.ctx, 2)
		b.ok(err)
		equal(b, "limited", len(list.Leases), 2)
		for _, id := range want {
			_, did, err := b.CloseLease(b.ctx, o.ID, id, models.LeaseReclaimed, nil)
			b.ok(err)
			equal(b, "reclaimed", did, true)
		}
		equal(b, "expiring after reclaim", len(expiring()), 0)
	}},
	{"leases are listed with their owner's name", func(b *trial) {
		o := b.offer(10)
		b.lane(o, 1).close()
		b.lane(o, 2)
		leases := b.allLeases(o.ID)
		equal(b, "leases", len(leases), 2)
		equal(b, "newest", leases[0].Granted, 2)
		equal(b, "state of the oldest", leases[1].State, models.LeaseReturned)
		equal(b, "owner", leases[0].NodeName, "node-"+b.tag)
		page, err := b.Leases(b.ctx, o.ID, 1, leases[0].ID)
		b.ok(err)
		equal(b, "next page", page[0].ID, leases[1].ID)
		none, err := b.Leases(b.ctx, "none-"+b.tag, 10, models.ID{})
		b.ok(err)
		equal(b, "leases of no offer", len(none), 0)
	}},
}
