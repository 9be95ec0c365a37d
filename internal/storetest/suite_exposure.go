package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tranche/models"
)

var exposureTests = []test{
	{"B5: who else may have something in a journal", func(b *trial) {
		for _, mode := range []models.Mode{models.ModeStrict, models.ModeAvailable, models.ModeFast} {
			o := b.offer(20, inMode(mode))
			owes := func(when string, want bool) {
				b.Helper()
				for _, except := range []models.ID{b.node, models.NewID()} {
					may, err := b.MayOwe(b.ctx, o.ID, except)
					b.ok(err)
					equal(b, string(mode)+", "+when, may, want && mode.Outlives() && except != b.node)
				}
			}
			owes("without a lease", false)
			l := b.lane(o, 5)
			owes("with a lease", true)
			l.close()
			owes("after it was returned", false)
			l = b.lane(o, 5)
			l.reclaim()
			owes("after one was reclaimed", true)
			b.ok(b.Acquit(b.ctx, o.ID, []models.ID{l.lease.ID}))
			owes("after it was acquitted", false)
			b.pool(o)
			owes("with a pool", true)
		}
		may, err := b.MayOwe(b.ctx, "none-"+b.tag, b.node)
		b.ok(err)
		equal(b, "of no offer", may, false)
	}},
	{"C12: a lease that is taken over exposes its rest until its end, and then nothing by itself", func(b *trial) {
		o := b.offer(40, inMode(models.ModeFast), func(o *models.Offer) { o.LeaseTTLSeconds = 5 })
		l, used, reclaimed := b.lane(o, 9), b.lane(o, 4), b.lane(o, 6)
		l.booked(redeem(o, "k", "u", 2))
		used.booked(redeem(o, "all", "u", 4))
		reclaimed.reclaim()
		epoch, err := b.RegisterNode(b.ctx, b.node, "again")
		b.ok(err)
		for i := range 2 {
			for _, lane := range []*lane{l, used, reclaimed} {
				did, err := b.TakeOver(b.ctx, o.ID, lane.lease.ID)
				b.ok(err)
				equal(b, "closed by this call", did, i == 0 && lane != reclaimed)
				equal(b, "state", lane.state().State, models.LeaseReclaimed)
			}
		}
		balance := b.audit(o)
		equal(b, "allocated and bound", [2]int64{balance.Allocated, balance.OverspendBound}, [2]int64{6, 13})
		leases, err := b.LeasesOfNode(b.ctx, b.node, epoch, 10)
		b.ok(err)
		equal(b, "leases that owe an answer", len(leases), 0)
		l.booked(acknowledged(redeem(o, "late", "u", 3))) // by the process that still had it
		reclaimed.booked(acknowledged(redeem(o, "later", "u", 6)))
		equal(b, "bound after late ones", b.audit(o).OverspendBound, 4)
		end := l.lease.ExpiresAt
		for l.state().AcquitAt != nil || reclaimed.state().AcquitAt != nil {
			_, err := b.AcquitDue(b.ctx, 1000)
			b.ok(err)
			if now := b.balance(o); now.AsOf > end.Add(time.Minute) || now.AsOf < end && now.OverspendBound != 4 {
				b.Fatalf("its end is %s, and at %s the bound is %d", end.Time(), now.AsOf.Time(), now.OverspendBound)
			}
		}
		equal(b, "bound in the end", b.audit(o).OverspendBound, 0)
		_, err = b.TakeOver(b.ctx, o.ID, models.NewID())
		b.fails(err, models.ErrLeaseClosed)
	}},
	{"C12: a strict lease that is taken over exposes nothing", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 9)
		_, err := b.TakeOver(b.ctx, o.ID, l.lease.ID)
		b.ok(err)
		equal(b, "to be acquitted", l.state().AcquitAt == nil, true)
		balance := b.audit(o)
		equal(b, "allocated and bound", [2]int64{balance.Allocated, balance.OverspendBound}, [2]int64{0, 0})
	}},
	{"a reclaimed lease is listed for its node until it exposes nothing", func(b *trial) {
		o := b.offer(20, inMode(models.ModeFast))
		l := b.lane(o, 9)
		l.reclaim()
		owed := func(want int) {
			b.Helper()
			leases, err := b.LeasesOfNode(b.ctx, b.node, b.epoch+1, 10)
			b.ok(err)
			equal(b, "leases", len(leases), want)
		}
		owed(1)
		b.ok(b.Acquit(b.ctx, o.ID, []models.ID{l.lease.ID}))
		owed(0)
	}},
	{"what a lease exposes, by its mode and by who closed it", func(b *trial) {
		for _, c := range []struct {
			mode models.Mode
			to   models.LeaseState
			want int64
		}{
			{models.ModeFast, models.LeaseReclaimed, 5},
			{models.ModeAvailable, models.LeaseReclaimed, 5},
			{models.ModeStrict, models.LeaseReclaimed, 0},
			{models.ModeFast, models.LeaseReturned, 0},
			{models.ModeAvailable, models.LeaseReturned, 0},
			{models.ModeStrict, models.LeaseReturned, 0},
		} {
			o := b.offer(20, inMode(c.mode))
			l, p := b.lane(o, 9), b.pool(o)
			l.booked(redeem(o, "k", "u", 6))
			p.booked(refund(o, "k", "r", 2))
			equal(b, "outstanding", b.audit(o).Outstanding, 5)
			var exposed int64
			for _, lane := range []*lane{l, p} {
				for range 2 {
					closed, _, err := b.CloseLease(b.ctx, o.ID, lane.lease.ID, c.to, nil)
					b.ok(err)
					equal(b, "exposed as read", lane.state().Exposed, closed.Exposed)
				}
				exposed += lane.state().Exposed
			}
			equal(b, fmt.Sprintf("exposed by %s leases, %s", c.mode, c.to), exposed, c.want)
			balance := b.audit(o)
			equal(b, "bound", balance.OverspendBound, c.want)
			equal(b, "allocated", balance.Allocated, 4)
		}
	}},
	{"the bound counts what is out, then what is exposed, then what is overspent", func(b *trial) {
		o := b.offer(10, inMode(models.ModeFast))
		bound := func(want int64) {
			b.Helper()
			equal(b, "bound", b.audit(o).OverspendBound, want)
		}
		bound(0)
		l := b.lane(o, 6)
		bound(6)
		l.booked(acknowledged(redeem(o, "1", "u", 1)))
		bound(5)
		l.reclaim()
		bound(5)
		rest := b.lane(o, 9)
		bound(14)
		rest.booked(redeem(o, "2", "u", 9))
		bound(5)
		l.booked(acknowledged(redeem(o, "3", "u", 2)))
		bound(5) // 2 overspent, 3 exposed
		b.ok(b.Acquit(b.ctx, o.ID, []models.ID{l.lease.ID}))
		bound(2)
	}},
	{"an acquitted lease exposes nothing any more, and the others as before", func(b *trial) {
		o := b.offer(60, inMode(models.ModeAvailable))
		first, second, active, returned := b.lane(o, 10), b.lane(o, 20), b.lane(o, 5), b.lane(o, 5)
		first.reclaim()
		second.reclaim()
		returned.close()
		acquit := func(ids ...models.ID) {
			b.Helper()
			b.ok(b.Acquit(b.ctx, o.ID, ids))
		}
		acquit()
		acquit(active.lease.ID, returned.lease.ID, models.NewID())
		b.ok(b.Acquit(b.ctx, "none-"+b.tag, []models.ID{first.lease.ID}))
		equal(b, "bound", b.audit(o).OverspendBound, 35)
		for range 2 {
			acquit(first.lease.ID, active.lease.ID, first.lease.ID)
			equal(b, "exposed", [2]int64{first.state().Exposed, second.state().Exposed}, [2]int64{0, 20})
			equal(b, "bound", b.audit(o).OverspendBound, 25)
		}
		active.reclaim() // after it was acquitted: it exposes its rest
		equal(b, "bound", b.audit(o).OverspendBound, 25)
		acquit(second.lease.ID, active.lease.ID)
		equal(b, "bound", b.audit(o).OverspendBound, 0)

		first.booked(acknowledged(redeem(o, "k", "u", 3))) // its owner was wrong
		equal(b, "exposed", first.state().Exposed, 0)
		balance := b.audit(o)
		equal(b, "bound and late units", [2]int64{balance.OverspendBound, balance.LateUnits}, [2]int64{0, 3})
	}},
	{"whatever becomes of leases, the bound is never below what their owners could still bring", func(b *trial) {
		seed := uint64(time.Now().UnixNano())
		b.Logf("seed %d", seed)
		estate(b, seed)
	}},
	{"reclaims, late batches, acquittals and grants at once keep the books", func(b *trial) { lateCrowd(b) }},
}

// owner is a node's side of one lease: what it has acknowledged, and what of that is not settled.
type owner struct {
	*lane
	left      int64 // that it may still acknowledge
	unsettled []models.Wanted
	sealed    bool // it knows that the lease is closed
}

// world is an offer with the owners of its leases, and every request that was acknowledged.
type world struct {
	*trial
	offer        *models.Offer
	rng          *rand.Rand
	owners       []*owner
	acknowledged []models.Wanted
	keys         int
	overspent    int64 // at most, on the way
}

// estate lets owners acknowledge, settle, lose and return leases in a random order, and compares the bound with the worst that
// they could bring after each step.
func estate(b *trial, seed uint64) {
	w := &world{trial: b, offer: b.offer(100, inMode(models.ModeFast)), rng: rand.New(rand.NewPCG(seed, 0))}
	for range 500 {
		w.step()
		w.compare()
	}
	for _, l := range w.owners {
		for len(l.unsettled) > 0 {
			w.settle(l)
			w.compare()
		}
		if l.state().State == models.LeaseActive {
			l.close()
		}
		b.ok(b.Acquit(b.ctx, w.offer.ID, []models.ID{l.lease.ID}))
	}
	balance := b.audit(w.offer)
	equal(b, "bound in the end", balance.OverspendBound, balance.Overspend())
	equal(b, "outstanding", balance.Outstanding, 0)
	b.Logf("%d units late, up to %d overspent, budget %d", balance.LateUnits, w.overspent, balance.Budget)
	w.accounted()
}

// compare holds the bound against what the books would say if all that is unsettled were booked now.
func (w *world) compare() {
	w.Helper()
	balance := w.balance(w.offer)
	w.overspent = max(w.overspent, balance.Overspend())
	worst := balance.NetSpent() - balance.Budget
	for _, l := range w.owners {
		for _, u := range l.unsettled {
			worst += u.Units
		}
	}
	if balance.OverspendBound < worst {
		w.Fatalf("%d units could be overspent: %+v", worst, balance)
	}
}

// accounted looks for every acknowledged request in the ledger: exactly once, or listed because its key was taken.
func (w *world) accounted() {
	w.Helper()
	booked, reused, late := map[models.ID]int{}, map[models.ID]int{}, map[models.ID]int{}
	keys := map[string]bool{}
	for _, e := range w.allEntries(w.offer.ID) {
		booked[e.ID]++
		if e.Kind == models.KindRedeem {
			keys[e.IdempotencyKey+e.UserID] = true
		}
		if e.Late {
			late[e.ID]++
		}
	}
	for _, e := range w.exceptions(w.offer) {
		switch e.Reason {
		case models.ReasonLate:
			late[e.EntryID]--
		case models.ReasonKeyReused:
			reused[e.EntryID]++
		}
	}
	for id, n := range late {
		equal(w.trial, "late entries less exceptions of "+id.String(), n, 0)
	}
	for _, a := range w.acknowledged {
		if a.Kind != models.KindRedeem {
			continue
		}
		replayed := booked[a.ID] == 0 && keys[a.IdempotencyKey+a.UserID]
		if n := booked[a.ID] + reused[a.ID]; n != 1 && !(replayed && n == 0) {
			w.Fatalf("%s of %s is %d times in the ledger and %d times listed", a.IdempotencyKey, a.UserID, booked[a.ID], reused[a.ID])
		}
	}
}

// pick gives an owner, or nil when there is none.
func (w *world) pick() *owner {
	if len(w.owners) == 0 {
		return nil
	}
	return w.owners[w.rng.IntN(len(w.owners))]
}

func (w *world) step() {
	w.Helper()
	l := w.pick()
	switch n := w.rng.IntN(40); {
	case l == nil || n < 4:
		w.open()
	case n < 23:
		w.acknowledge(l)
	case n < 28:
		w.settle(l)
	case n < 31:
		w.reclaimOne(l)
	case n < 37:
		w.retire(l)
	case n < 39:
		w.refund(l)
	default:
		w.change()
	}
}

// open takes a block lease, and a pool now and then.
func (w *world) open() {
	w.Helper()
	if w.rng.IntN(3) == 0 {
		w.owners = append(w.owners, &owner{lane: w.pool(w.offer)})
		return
	}
	g, err := w.Grant(w.ctx, w.request(w.offer.ID, 1+w.rng.Int64N(40)))
	w.ok(err)
	if l := g.Lease; l != nil {
		w.owners = append(w.owners, &owner{lane: &lane{trial: w.trial, offer: w.offer, lease: *l}, left: l.Granted})
	}
}

// acknowledge spends from a block in memory. Some keys come twice, on other nodes and for other users.
func (w *world) acknowledge(l *owner) {
	key := w.keys
	if w.keys++; w.rng.IntN(6) == 0 {
		key = w.rng.IntN(w.keys)
	}
	u := acknowledged(redeem(w.offer, fmt.Sprint("key-", key), fmt.Sprint("user-", w.rng.IntN(2)), 1+int64(key%4)))
	if l.sealed || l.left < u.Units || !l.lease.Mode.Outlives() {
		return
	}
	l.left -= u.Units
	l.unsettled = append(l.unsettled, u)
	w.acknowledged = append(w.acknowledged, u)
}

// settle brings some of what an owner has acknowledged, twice now and then.
func (w *world) settle(l *owner) {
	w.Helper()
	n := min(len(l.unsettled), 1+w.rng.IntN(5))
	if n == 0 {
		return
	}
	batch := l.next(l.unsettled[:n]...)
	verdicts := l.lane.settle(batch.Wanted...)
	if w.rng.IntN(4) == 0 {
		_, err := w.Settle(w.ctx, batch)
		w.ok(err)
	}
	l.unsettled = l.unsettled[n:]
	for i, v := range verdicts {
		if v.Err != nil && !errors.Is(v.Err, models.ErrKeyReused) {
			w.Fatalf("verdict: %v", v.Err)
		}
		if v.Err != nil || v.Replayed {
			l.left += batch.Wanted[i].Units
		}
		l.sealed = l.sealed || v.Err == nil && !v.Replayed && v.Entry.Late
	}
}

// reclaimOne is a reaper's work: the owner doesn't know.
func (w *world) reclaimOne(l *owner) {
	w.Helper()
	_, _, err := w.CloseLease(w.ctx, w.offer.ID, l.lease.ID, models.LeaseReclaimed, nil)
	w.ok(err)
}

// retire seals a block; with nothing unsettled its owner returns it, and owes nothing on it if it was reclaimed before.
func (w *world) retire(l *owner) {
	w.Helper()
	l.sealed = true
	if len(l.unsettled) > 0 {
		return
	}
	_, _, err := w.CloseLease(w.ctx, w.offer.ID, l.lease.ID, models.LeaseReturned, nil)
	w.ok(err)
	w.ok(w.Acquit(w.ctx, w.offer.ID, []models.ID{l.lease.ID}))
	w.owners = slices.DeleteFunc(w.owners, func(o *owner) bool { return o == l })
}

// refund lets units flow into a pool.
func (w *world) refund(l *owner) {
	w.Helper()
	if l.lease.Kind != models.KindRefundPool || l.sealed || l.state().State != models.LeaseActive || w.keys == 0 {
		return
	}
	v := l.lane.settle(refund(w.offer, fmt.Sprint("key-", w.rng.IntN(w.keys)), fmt.Sprint(w.rng.Uint32()), 1))[0]
	if v.Err == nil {
		l.left += v.Entry.Units
	}
}

// change is an admin's: a budget a little above what is spent, or below, and perhaps another mode for the leases to come.
func (w *world) change() {
	w.Helper()
	balance := w.balance(w.offer)
	budget, mode := max(0, balance.NetSpent()+w.rng.Int64N(40)-5), []models.Mode{models.ModeFast, models.ModeFast, models.ModeAvailable, models.ModeStrict}[w.rng.IntN(4)]
	changed, err := w.ChangeOffer(w.ctx, w.offer.ID, nil, func(o *models.Offer) error {
		o.BudgetTarget, o.Mode = budget, mode
		return nil
	})
	if errors.Is(err, models.ErrBudgetBelowSpent) {
		return
	}
	w.ok(err)
	*w.offer = changed
}

// lateCrowd lets owners spend their leases while a reaper takes them away, each owner settling what it has acknowledged all the same,
// and a reader looks at the books.
func lateCrowd(b *trial) {
	const owners, rounds, perBatch, batches = 4, 6, 5, 4
	o := b.offer(owners*rounds*perBatch*batches, inMode(models.ModeAvailable), limitRedemptions(1))
	ctx, stop := context.WithCancel(b.ctx)
	reap := make(chan models.ID)
	var working, watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			balance, err := b.Balance(b.ctx, o.ID)
			if err == nil {
				err = sound(&balance)
			}
			if err != nil {
				b.Errorf("balance: %v", err)
				return
			}
		}
	})
	watching.Go(func() {
		for id := range reap {
			_, err := again(func() (bool, error) {
				_, did, err := b.CloseLease(b.ctx, o.ID, id, models.LeaseReclaimed, nil)
				return did, err
			})
			if err != nil {
				b.Errorf("reclaim: %v", err)
			}
		}
	})
	for i := range owners {
		working.Go(func() {
			for round := range rounds {
				if err := cutOff(b, o, reap, fmt.Sprintf("%d-%d", i, round), perBatch, batches); err != nil {
					b.Errorf("owner %d: %v", i, err)
					return
				}
			}
		})
	}
	working.Wait()
	close(reap)
	stop()
	watching.Wait()
	if b.Failed() {
		b.FailNow()
	}
	balance := b.audit(o)
	equal(b, "redeemed", balance.Redeemed, owners*rounds*perBatch*batches)
	equal(b, "bound", balance.OverspendBound, balance.Overspend())
	over := 0
	for _, e := range b.exceptions(o) {
		if e.Reason == models.ReasonUserLimit {
			over++
		}
	}
	equal(b, "over their user's limit", over, owners*rounds*perBatch*batches-perBatch*batches)
}

// cutOff spends one lease, which a reaper closes somewhere on the way, and settles all of it.
func cutOff(b *trial, o *models.Offer, reap chan<- models.ID, name string, perBatch, batches int) error {
	g, err := again(func() (models.Grant, error) { return b.Grant(b.ctx, b.request(o.ID, int64(perBatch*batches))) })
	if err != nil || g.Lease == nil {
		return fmt.Errorf("granted %v: %w", g.Lease, err)
	}
	l := &lane{trial: b, offer: o, lease: *g.Lease}
	for i := range batches {
		if i == 1 {
			reap <- l.lease.ID
		}
		var wanted []models.Wanted
		for j := range perBatch {
			user := fmt.Sprintf("user-%d-%d", i, j) // the same for all owners: their counters are in each other's way
			wanted = append(wanted, acknowledged(redeem(o, fmt.Sprint(name, "-", i, "-", j), user, 1)))
		}
		verdicts, err := again(func() ([]models.Verdict, error) { return b.Settle(b.ctx, l.next(wanted...)) })
		if err != nil {
			return fmt.Errorf("settle: %w", err)
		}
		l.batch++
		for _, v := range verdicts {
			if v.Err != nil || v.Replayed {
				return fmt.Errorf("verdict: %+v", v)
			}
		}
	}
	_, err = again(func() (struct{}, error) { return struct{}{}, b.Acquit(b.ctx, o.ID, []models.ID{l.lease.ID}) })
	return err
}
