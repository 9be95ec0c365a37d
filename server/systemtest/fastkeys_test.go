package systemtest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"tranche/internal/faultproxy"
)

// TestFastLostCommitReplies: the settling of what was acknowledged loses its COMMITs and their replies; customers send some orders twice,
// to two nodes at once. Each key is one redemption, and every unit too many comes back.
func TestFastLostCommitReplies(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	orders := pick(4000, 60_000)
	f, p := halfProxiedFleet(t, drainAtOnce)
	// It must not be sold out before all faults have struck: the slower the machine, the fewer COMMITs an order takes.
	s := newShop(f, f.createWith("fast", offer{ID: "fastcuts", Budget: int64(40 * orders), LeaseSize: 500, LeaseTTLSeconds: 10}))
	stopWatching := f.watchBalance(s.offer)
	random := rand.New(rand.NewPCG(seed, 0))
	p.OnCommit(func(n int64) faultproxy.CommitFault { return someFault(n, random) })
	closeShop := s.open(pick(400, 800), func(i int) order { return numbered(i - i%4/3) }) // every fourth one is the third again
	s.awaitAcked(orders, pick(time.Minute, 10*time.Minute))
	eventually(t, 3*time.Minute, func(context.Context) error { return struckOften(p.Counts()) })
	closeShop()
	p.OnCommit(func(int64) faultproxy.CommitFault { return faultproxy.CommitFault{} })
	stopWatching()
	f.awaitSettled(20*time.Second, 0)

	b := s.audit(f)
	b.noneLate(t)
	if got := b.netSpent(); got != int64(len(s.acked)) {
		t.Errorf("%d acknowledged, net spent %d", len(s.acked), got)
	}
	t.Logf("COMMITs: %+v; heard %s", p.Counts(), s.heard())
	f.drainAll(s.offer)
}

// TestFastIsFoundElsewhere: until a redemption is settled only its own node knows it. Another one, asked for it or for a refund at that
// very moment, waits until it is; and says that it may be there, where it takes too long.
func TestFastIsFoundElsewhere(t *testing.T) {
	t.Parallel()
	f, p := halfProxiedFleet(t, drainAtOnce)
	slow, other := f.nodes[0], f.nodes[1]
	s := newShop(f, f.createWith("fast", offer{ID: "elsewhere", Budget: 10_000, LeaseSize: 1000, LeaseTTLSeconds: 60}))
	f.warmUp(s)
	p.SetLatency(30 * time.Millisecond)
	var longest time.Duration
	for i := range pick(20, 200) {
		id := s.askAt(slow, numbered(i)).id
		if i%2 == 0 {
			sent := time.Now()
			r := decode[redemption](t, other.must("GET", "/v1/redemptions/"+id, "", nil), 200)
			longest = max(longest, time.Since(sent))
			if r.Recorded != "ledger" || r.UserID != numbered(i).user {
				t.Errorf("found after %v: %+v", time.Since(sent), r)
			}
			continue
		}
		decode[refund](t, other.refund(id, "back", 1), 201)
		eventually(t, time.Second, func(context.Context) error { // its own node may not have heard yet that its COMMIT has taken effect
			r := decode[redemption](t, slow.must("GET", "/v1/redemptions/"+id, "", nil), 200)
			if r.RefundedUnits != 1 {
				return fmt.Errorf("refunded elsewhere, and here it is %+v", r)
			}
			return nil
		})
	}
	if longest < 60*time.Millisecond {
		t.Errorf("the longest look-up took %v: none had to wait for a settlement", longest)
	}

	p.SetWeather(faultproxy.Blackhole)
	id := s.askAt(slow, order{key: "cut-off", user: "cut-off", units: 1}).id
	if r := decode[redemption](t, slow.must("GET", "/v1/redemptions/"+id, "", nil), 200); r.Recorded != "journal" {
		t.Errorf("its own node, with the database away, says %+v", r)
	}
	for name, ask := range map[string]func() *answer{
		"look-up": func() *answer { return other.must("GET", "/v1/redemptions/"+id, "", nil) },
		"refund":  func() *answer { return other.refund(id, "back", 1) },
	} {
		sent := time.Now()
		a := ask()
		if took := time.Since(sent); !a.is("redemption-not-found") || !*a.problem.Retryable || took > time.Second+slack {
			t.Errorf("%s of what cannot be known yet, after %v: %v", name, took, a)
		}
	}
	p.SetWeather(faultproxy.Pass)
	p.SetLatency(0)
	eventually(t, settledAfterOutage, func(ctx context.Context) error {
		a, err := other.send(ctx, "POST", refundsOf(id), "back", map[string]any{"units": 1})
		if err == nil && a.status != 201 {
			err = fmt.Errorf("the refund, after the outage: %v", a)
		}
		return err
	})
	f.awaitSettled(settledAfterOutage, 0)
	s.audit(f).noneLate(t)
	f.drainAll(s.offer)
}

// TestFastKeyReusedAtAnotherNode: two nodes acknowledge different requests under one key before either is settled. One of them is the
// redemption; the other is listed, and its units come back.
func TestFastKeyReusedAtAnotherNode(t *testing.T) {
	t.Parallel()
	const rounds = 10
	f, p := halfProxiedFleet(t, drainAtOnce)
	s := newShop(f, f.createWith("fast", offer{ID: "reused", Budget: 1000, LeaseSize: 100, LeaseTTLSeconds: 60}))
	f.warmUp(s)
	p.SetWeather(faultproxy.Blackhole)
	for i := range rounds {
		key := fmt.Sprintf("reused-%d", i)
		for _, n := range f.nodes {
			if r := decode[redemption](t, n.redeem(s.offer, key, "customer-of-"+n.name, 2), 201); r.Recorded != "journal" {
				t.Errorf("%s: %+v", n.name, r)
			}
		}
	}
	p.SetWeather(faultproxy.Pass)
	f.awaitSettled(settledAfterOutage, 0)
	b := f.readBooks(s.offer)
	b.check(t)
	if want := int64(2*rounds + len(f.nodes)); b.netSpent() != want {
		t.Errorf("net spent %d, want %d", b.netSpent(), want)
	}
	redeems := b.redeems()
	for _, x := range b.exceptions {
		booked := redeems[x.key]
		if x.reason != "key_reused" || len(booked) != 1 || booked[0].user == x.user || booked[0].node == x.node {
			t.Errorf("listed: %+v, booked: %+v", x, booked)
			continue
		}
		winner := f.nodes[0]
		if f.idOf(winner) != booked[0].node {
			winner = f.nodes[1]
		}
		if a := winner.redeem(s.offer, x.key, x.user, x.units); !a.is("idempotency-key-reused") {
			t.Errorf("the key is another request's: %v", a)
		}
		if a := winner.redeem(s.offer, x.key, booked[0].user, x.units); a.status != 201 || !a.replayed {
			t.Errorf("a retry: %v", a)
		}
	}
	if len(b.exceptions) != rounds {
		t.Errorf("%d listed, want %d", len(b.exceptions), rounds)
	}
	b.checkListing(t, f.nodes[1].exceptions(s.offer))
	f.drainAll(s.offer)
}
