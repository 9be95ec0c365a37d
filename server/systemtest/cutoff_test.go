package systemtest

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// TestFastNodeCutOff: a node that is cut off goes on for as long as it may, its leases are reclaimed, and others sell everything that
// is left. When it comes back, what it had acknowledged is booked late: the budget is overspent, by no more than was foretold.
func TestFastNodeCutOff(t *testing.T) {
	t.Parallel()
	for _, weather := range pick([]faultproxy.Weather{faultproxy.Blackhole}, []faultproxy.Weather{faultproxy.Blackhole, faultproxy.Refuse}) {
		c := newCutOff(t, "fast")
		bounds := c.sellOutWithout(weather)
		c.restore()
		b := c.s.audit(c.f)
		balance := c.f.nodes[1].balance(c.s.offer)
		t.Logf("overspend %d; foretold %+v", balance.Overspend, bounds)

		if balance.Overspend == 0 || balance.Overspend != b.lateUnits || balance.LateUnits != b.lateUnits {
			t.Errorf("overspend %d, late units %d, by the books %d", balance.Overspend, balance.LateUnits, b.lateUnits)
		}
		for when, bound := range bounds {
			if balance.Overspend > bound {
				t.Errorf("overspend %d, and %s the bound was %d", balance.Overspend, when, bound)
			}
		}
		if balance.OverspendBound != balance.Overspend {
			t.Errorf("all is settled and sold, and %d more may be overspent", balance.OverspendBound-balance.Overspend)
		}
		c.checkLateAreListed(b)
		c.f.drainAll(c.s.offer)
	}
}

// TestStrictNodeCutOff: the same in strict. Nothing is overspent, or ever could be.
func TestStrictNodeCutOff(t *testing.T) {
	t.Parallel()
	c := newCutOff(t, "strict")
	bounds := c.sellOutWithout(faultproxy.Blackhole)
	c.restore()
	b := c.s.audit(c.f)
	b.noneLate(t)
	for when, bound := range bounds {
		if bound != 0 {
			t.Errorf("%s the balance foretold an overspend of %d, in strict mode", when, bound)
		}
	}
	if got := c.f.nodes[1].balance(c.s.offer); got.Overspend != 0 || got.LateUnits != 0 || got.OverspendBound != 0 {
		t.Errorf("in strict mode the balance is %+v", got)
	}
	if listed := c.f.nodes[1].exceptions(c.s.offer); len(listed) > 0 {
		t.Errorf("listed: %+v", listed)
	}
	c.f.drainAll(c.s.offer)
}

// cutOff is a fleet of three whose first node has a line of its own to the database.
type cutOff struct {
	t      *testing.T
	f      *fleet
	p      *faultproxy.Proxy
	victim *node
	s      *shop
	units  atomic.Int64 // of each order
	shut   func()
}

func newCutOff(t *testing.T, mode string) *cutOff {
	t.Helper()
	c := &cutOff{t: t, f: newFleet(t)}
	var dsn string
	c.p, dsn = c.f.proxy()
	c.victim = c.f.add(dsn, drainAtOnce)
	c.f.add(c.f.dsn, drainAtOnce)
	c.f.add(c.f.dsn, drainAtOnce)
	c.f.awaitReady()
	c.s = newShop(c.f, c.f.createWith(mode, offer{ID: "cutoff", Budget: 20_000, LeaseSize: 1000, LeaseTTLSeconds: 5}))
	c.f.warmUp(c.s)
	c.units.Store(1)
	return c
}

// sellOutWithout cuts the victim off until its leases are reclaimed and the whole budget is sold. It gives the bounds of the overspend
// that a node told on the way.
func (c *cutOff) sellOutWithout(weather faultproxy.Weather) (bounds map[string]int64) {
	c.t.Helper()
	other := c.f.nodes[1]
	stopWatching := c.f.watchBalance(c.s.offer)
	c.shut = func() { stopWatching() }
	closeShop := c.s.open(300, func(i int) order {
		o := numbered(i)
		o.units = c.units.Load()
		return o
	})
	c.s.awaitAcked(400, 20*time.Second)
	c.f.awaitUnits(c.victim)
	bounds = map[string]int64{}
	c.p.SetWeather(weather)
	bounds["at the cut"] = other.balance(c.s.offer).OverspendBound
	c.f.awaitReclaim(c.victim)
	reclaimed := other.balance(c.s.offer)
	bounds["after the reclaim"] = reclaimed.OverspendBound

	// The budget is to be sold out soon: the large part in large orders, the last units one by one, so that none is left.
	c.units.Store(20)
	c.awaitBalance(func(b balance) bool { return b.Budget-b.NetSpent < 500 })
	c.units.Store(1)
	c.awaitBalance(func(b balance) bool { return b.NetSpent == b.Budget })
	eventually(c.t, 10*time.Second, func(context.Context) error {
		if c.s.problemCount("budget-exhausted") == 0 {
			return fmt.Errorf("nobody heard that the budget is exhausted: %s", c.s.heard())
		}
		return nil
	})
	closeShop()
	soldOut := other.balance(c.s.offer)
	if soldOut.Overspend != 0 || soldOut.NetSpent != soldOut.Budget {
		c.t.Errorf("before the node is back: %+v", soldOut)
	}
	bounds["when all was sold"] = soldOut.OverspendBound
	return bounds
}

func (c *cutOff) awaitBalance(is func(balance) bool) {
	c.t.Helper()
	eventually(c.t, 30*time.Second, func(context.Context) error {
		if b := c.f.nodes[1].balance(c.s.offer); !is(b) {
			return fmt.Errorf("%+v; heard %s", b, c.s.heard())
		}
		return nil
	})
}

// restore lets the victim back, and waits until it owes nothing any more.
func (c *cutOff) restore() {
	c.t.Helper()
	c.p.SetWeather(faultproxy.Pass)
	c.f.awaitSettled(settledAfterOutage, 0)
	eventually(c.t, 10*time.Second, func(context.Context) error {
		if b := c.f.readBooks(c.s.offer); b.exposed != 0 {
			return fmt.Errorf("%d units are exposed, and all is settled", b.exposed)
		}
		return nil
	})
	c.victim.awaitReady()
	c.shut()
}

// checkLateAreListed finds each late redemption in the list, with user and order as the shop knows them, and nothing else.
func (c *cutOff) checkLateAreListed(b *books) {
	c.t.Helper()
	victim := c.f.idOf(c.victim)
	var units int64
	for _, x := range b.exceptions {
		units += x.units
		a, known := c.s.acked[x.key]
		if x.reason != "late" || !known || a.user != x.user || a.orderID() != x.order || a.units != x.units || x.node != victim {
			c.t.Errorf("listed: %+v, the shop knows %+v", x, a)
		}
	}
	if units != b.lateUnits {
		c.t.Errorf("%d units are listed, %d are late", units, b.lateUnits)
	}
	listed := c.f.nodes[2].exceptions(c.s.offer)
	b.checkListing(c.t, listed)
	for _, l := range listed[:min(3, len(listed))] {
		if r := decode[redemption](c.t, c.victim.must("GET", "/v1/redemptions/"+l.RedemptionID, "", nil), 200); !r.Late || r.IdempotencyKey != l.IdempotencyKey {
			c.t.Errorf("listed as late, and looked up: %+v", r)
		}
	}
}
