package systemtest

import (
	"fmt"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// returning gives each user two orders, of which a limit of one allows one.
func returning(i int) order {
	return order{key: fmt.Sprintf("order-%d", i), user: fmt.Sprintf("user-%d", i/2), units: 1}
}

// TestAvailableOutlastsAnOutage: with the database there, available is strict, its user limit exact. In an outage it goes on from the
// journal, each node by what it knows of its users; afterwards, who got more than the limit is listed.
func TestAvailableOutlastsAnOutage(t *testing.T) {
	// Not beside others: a database that is too busy to answer any call for half a second is taken for away.
	one := int64(1)
	f, p := proxiedFleet(t, 2, drainAtOnce)
	here, there := f.nodes[0], f.nodes[1]
	s := newShop(f, f.createWith("available", offer{
		ID: "available", Budget: 1_000_000, LeaseSize: 20_000, LeaseTTLSeconds: 60, UserLimitRedemptions: &one,
	}))
	f.warmUp(s)
	closeShop := s.open(pick(200, 400), returning)
	s.awaitAcked(300, 20*time.Second)
	known := order{key: "known", user: "known", units: 1}
	if a := s.askAt(here, known); a.recorded != "ledger" {
		t.Errorf("with the database there: %+v", a)
	}
	if a := there.redeem(s.offer, "known-too", "known", 1); !a.is("user-limit-reached") {
		t.Errorf("over the limit, with the database there: %v", a)
	}
	exact := f.readBooks(s.offer)
	exact.check(t)
	exact.noneLate(t)
	if journaled := s.recordedIn("journal"); journaled != 0 || s.problemCount("user-limit-reached") == 0 {
		t.Errorf("with the database there, %d recorded in the journal; heard %s", journaled, s.heard())
	}

	p.SetWeather(faultproxy.Refuse)
	s.awaitRecordedIn("journal", 200, 10*time.Second)
	for _, n := range f.nodes { // neither knows what the other does
		if a := s.askAt(n, order{key: "twice-at-" + n.name, user: "twice", units: 1}); a.recorded != "journal" || a.replayed {
			t.Errorf("in the outage: %+v", a)
		}
	}
	if a := here.redeem(s.offer, "known-again", "known", 1); !a.is("ledger-unavailable") {
		t.Errorf("over the limit as far as this node knows, in an outage, when nothing is refused for good: %v", a)
	}
	if a := s.askAt(here, known); !a.replayed || a.recorded != "ledger" {
		t.Errorf("a retry in the outage: %+v", a)
	}
	if a := s.askAt(there, known); a.id != s.acked["known"].id {
		t.Errorf("a retry in the outage, at another node: %+v", a)
	}
	s.awaitRecordedIn("journal", 200, 10*time.Second)

	p.SetWeather(faultproxy.Pass)
	f.awaitSettled(settledAfterOutage, 0)
	s.awaitRecordedIn("ledger", 200, 20*time.Second)
	closeShop()
	f.awaitSettled(settledAfterOutage, 0)
	b := s.audit(f)
	b.checkOverruns(t)
	b.checkListing(t, here.exceptions(s.offer))
	if b.overruns()["twice"] != 1 || b.overruns()["known"] != 0 || b.lateUnits != 0 {
		t.Errorf("overruns %v, %d late", b.overruns(), b.lateUnits)
	}
	if got := b.netSpent(); got != int64(len(s.acked)) {
		t.Errorf("%d acknowledged, net spent %d", len(s.acked), got)
	}
	t.Logf("%d acknowledged, %d from the journal, %d overruns; heard %s",
		len(s.acked), s.recordedIn("journal"), len(b.exceptions), s.heard())
	f.drainAll(s.offer)
}

// checkOverruns sees that what is listed as over the limit is exactly what is over it. Nothing must have been refunded.
func (b *books) checkOverruns(t *testing.T) {
	t.Helper()
	redeemed := map[string]int64{}
	for _, e := range b.entries {
		redeemed[e.user]++
	}
	listed := b.overruns()
	for user, n := range redeemed {
		if over := max(0, n-b.userLimit.Int64); over != listed[user] {
			t.Errorf("%s has %d redemptions, the limit is %d, and %d are listed", user, n, b.userLimit.Int64, listed[user])
		}
	}
}
