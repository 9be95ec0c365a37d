package plan_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"tranche/internal/plan"
	"tranche/lease"
	"tranche/models"
)

// Whatever is planned, the figures agree with each other.
func TestPlansHoldTogether(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := plan.Fleet{
			Rate: rapid.Float64Range(0.01, 100_000).Draw(t, "rate"), Nodes: rapid.Int64Range(1, 50).Draw(t, "nodes"),
			LeaseSize: rapid.Int64Range(1, 100_000).Draw(t, "lease size"),
			TTL:       time.Duration(rapid.Int64Range(5, 3600).Draw(t, "ttl")) * time.Second,
			Adaptive:  rapid.Bool().Draw(t, "adaptive"),
			Mode:      rapid.SampledFrom([]models.Mode{models.ModeFast, models.ModeAvailable, models.ModeStrict}).Draw(t, "mode"),
			Commit:    5 * time.Millisecond,
		}
		p := plan.Of(f)
		switch {
		case p.Block < 1 || p.Block > f.LeaseSize:
			t.Fatal("a block that no node leases")
		case p.Grants > f.Rate*1.000001:
			t.Fatal("more grants than redemptions")
		case p.Settles > f.Rate*1.000001:
			t.Fatal("more transactions than entries")
		case p.NodeOutstanding > p.NodeOutstandingWorst || p.OverspendBound > p.OverspendBoundWorst:
			t.Fatal("the worst is better than the usual")
		case (p.OverspendBound == 0) != (f.Mode == models.ModeStrict):
			t.Fatal("strict has no overspend, and the others have")
		case p.TailUnits != lease.Tail(f.Nodes, p.Block) || p.TailTransactions < 2:
			t.Fatal("a tail that costs nothing")
		}
	})
}

// The figures that the design promises for a rate that blocks are not capped for.
func TestTheRowStaysCoolHoweverHotTheOffer(t *testing.T) {
	for _, rate := range []float64{30, 3000, 300_000} {
		p := plan.Of(plan.Fleet{Rate: rate, Nodes: 3, LeaseSize: 10_000_000, TTL: time.Minute, Adaptive: true, Mode: models.ModeFast, Commit: time.Millisecond})
		if p.Transactions > 3.0/5*1.01 {
			t.Errorf("%g redemptions a second: %g transactions on the row", rate, p.Transactions)
		}
	}
}
