package allocator_test

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/health"
	"tranche/internal/plan"
	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

const commit = 5 * time.Millisecond

// The planner's numbers are held against fleets that run. Averages may be off by what a case says; the worst is never exceeded.
func TestThePlanIsWhatAFleetDoes(t *testing.T) {
	for _, c := range []struct {
		name  string
		fleet plan.Fleet
		off   float64
	}{
		{"blocks of ten seconds", plan.Fleet{Rate: 60, Nodes: 3, LeaseSize: 1000, TTL: time.Minute, Adaptive: true, Mode: models.ModeStrict, Commit: commit}, 0.2},
		{"acknowledged from the journal", plan.Fleet{Rate: 60, Nodes: 2, LeaseSize: 1000, TTL: time.Minute, Adaptive: true, Mode: models.ModeFast, Commit: commit}, 0.2},
		{"blocks capped by the lease size", plan.Fleet{Rate: 90, Nodes: 3, LeaseSize: 50, TTL: time.Minute, Adaptive: true, Mode: models.ModeFast, Commit: commit}, 0.2},
		{"a slow offer on many nodes", plan.Fleet{Rate: 2, Nodes: 10, LeaseSize: 1000, TTL: time.Minute, Adaptive: true, Mode: models.ModeStrict, Commit: commit}, 0.2},
		{"blocks that outlast their leases", plan.Fleet{Rate: 10, Nodes: 2, LeaseSize: 1000, TTL: time.Minute, Mode: models.ModeStrict, Commit: commit}, 0.3},
		{"a short time to live", plan.Fleet{Rate: 40, Nodes: 2, LeaseSize: 1000, TTL: 5 * time.Second, Adaptive: true, Mode: models.ModeFast, Commit: commit}, 0.3},
	} {
		t.Run(c.name, func(t *testing.T) {
			planned(t, c.fleet, 1_000_000, func(f *plannedFleet) {
				f.redeem(time.Minute, func() {}) // until every node knows its rate
				m := f.measure(4 * time.Minute)
				near(t, "grants a second", m.grants, f.plan.Grants, c.off)
				atMost(t, "returns a second", m.returns, f.plan.Returns*(1+c.off))
				near(t, "settle transactions a second", m.settles, f.plan.Settles, 0.25)
				near(t, "units on a node", m.holds, float64(f.plan.NodeOutstanding), c.off)
				atMost(t, "units on a node", m.mostHeld, float64(f.plan.NodeOutstandingWorst))
				near(t, "overspend bound", m.bound, float64(f.plan.OverspendBound), c.off)
				atMost(t, "overspend bound", m.mostBound, float64(f.plan.OverspendBoundWorst))
			})
		})
	}
}

func TestTheTailCostsWhatIsPlanned(t *testing.T) {
	for _, nodes := range []int64{1, 4, 10} {
		fleet := plan.Fleet{Rate: float64(20 * nodes), Nodes: nodes, LeaseSize: 1000, TTL: time.Minute, Adaptive: true, Mode: models.ModeStrict, Commit: commit}
		p := plan.Of(fleet)
		const before = 60 // seconds until the tail begins
		planned(t, fleet, p.TailUnits+nodes*(20*before+p.NodeOutstanding), func(f *plannedFleet) {
			f.redeem(before*time.Second, func() {})
			near(t, "units left", float64(f.unallocated()), float64(p.TailUnits), 0.15)
			start := f.count("Grant") + f.count("ReturnLeases")
			for f.balance().Redeemed < f.balance().Budget {
				f.redeem(time.Second, func() {})
			}
			time.Sleep(time.Second)
			near(t, fmt.Sprintf("transactions of the tail of %d nodes", nodes), float64(f.count("Grant")+f.count("ReturnLeases")-start), float64(f.plan.TailTransactions), 0.3)
		})
	}
}

func TestADeadNodeStrandsWhatIsPlannedAndForNoLonger(t *testing.T) {
	for _, ttl := range []time.Duration{5 * time.Second, time.Minute} {
		fleet := plan.Fleet{Rate: 60, Nodes: 3, LeaseSize: 100, TTL: ttl, Adaptive: true, Mode: models.ModeFast, Commit: commit}
		planned(t, fleet, 1_000_000, func(f *plannedFleet) {
			f.redeem(time.Minute, func() {})
			f.nodes[2].link.cut.Store(true)
			f.serving = 2
			died, held := time.Now(), f.held()[2]
			atMost(t, "units stranded", held, float64(f.plan.NodeOutstandingWorst))
			for f.held()[2] > 0 {
				f.redeem(100*time.Millisecond, func() {})
			}
			atMost(t, "seconds until they are back", time.Since(died).Seconds(), f.plan.DeadSeconds)
			atMost(t, "the soonest that they may be", (ttl*2/3 + lease.Grace(ttl)).Seconds(), time.Since(died).Seconds())
			f.nodes[2].link.cut.Store(false)
		})
	}
}

func TestAnIdleNodeKeepsItsUnitsForNoLongerThanPlanned(t *testing.T) {
	fleet := plan.Fleet{Rate: 60, Nodes: 3, LeaseSize: 1000, TTL: time.Minute, Adaptive: true, Mode: models.ModeFast, Commit: commit}
	planned(t, fleet, 1_000_000, func(f *plannedFleet) {
		f.redeem(time.Minute, func() {})
		since := time.Now()
		for f.balance().Outstanding > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		atMost(t, "seconds until all is back", time.Since(since).Seconds(), f.plan.IdleSeconds)
		atMost(t, "the soonest that it may be", (fleet.TTL - lease.Margin(fleet.TTL) - 10*time.Second).Seconds(), time.Since(since).Seconds())
	})
}

// The journal's own framing is a matter of its package; what a record holds, of this one.
func TestARecordTakesWhatIsPlanned(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		f.fail(func(call string) error {
			if call == "Settle" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		order := "order-12345678901234"
		if _, err := n.Redeem(t.Context(), "o", allocator.RedeemRequest{Key: "checkout-12345678901", UserID: "customer-12345678901", OrderID: &order, Units: 1}); err != nil {
			t.Fatal(err)
		}
		const framing = 21 + 4 // its header, and on average the padding
		for _, record := range n.journal.copy().records {
			near(t, "bytes of a record", float64(len(record.payload)+framing), plan.RecordBytes, 0.1)
		}
	})
}

// plannedFleet is a fleet whose nodes are seen, whose dead are reaped, whose database takes its time, and whose calls are counted.
type plannedFleet struct {
	*fleet
	model   plan.Fleet
	plan    plan.Plan
	serving int // how many of the nodes get requests
	keys    int
	chance  *rand.Rand
	calls   sync.Map // name → *atomic.Int64
}

// planned runs a test on a fleet as its plan says.
func planned(t *testing.T, model plan.Fleet, budget int64, test func(f *plannedFleet)) {
	offer := func(o *models.Offer) {
		o.Budget, o.BudgetTarget, o.LeaseSize, o.LeaseTTLSeconds = budget, budget, model.LeaseSize, int64(model.TTL/time.Second)
		o.Mode, o.Adaptive = model.Mode, model.Adaptive
	}
	inFleet(t, int(model.Nodes), offer, func(t *testing.T, inner *fleet) {
		f := &plannedFleet{fleet: inner, model: model, plan: plan.Of(model), serving: int(model.Nodes), chance: rand.New(rand.NewPCG(1, 2))}
		f.fail(func(call string) error {
			switch call {
			case "Grant", "ReturnLeases", "Settle":
				f.counter(call).Add(1)
				time.Sleep(model.Commit)
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		ledger := health.NewLedger(time.Now, func() bool { return true })
		var loops sync.WaitGroup
		loops.Go(func() {
			lease.NewReaper(lease.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, f.fake, ledger).Run(ctx)
		})
		loops.Go(func() {
			run.Every(ctx, 5*time.Second, func(ctx context.Context) {
				_ = ledger.Heartbeat(func() error { f.beat(ctx); return nil })
			})
		})
		test(f)
		cancel()
		loops.Wait()
	})
}

func (f *plannedFleet) counter(call string) *atomic.Int64 {
	n, _ := f.calls.LoadOrStore(call, new(atomic.Int64))
	return n.(*atomic.Int64)
}

func (f *plannedFleet) count(call string) int64 { return f.counter(call).Load() }

// beat lets every node that is not cut off be seen.
func (f *plannedFleet) beat(ctx context.Context) {
	for _, n := range f.nodes {
		if !n.link.cut.Load() {
			_ = f.fake.Heartbeat(ctx, n.id, "n", n.keeper.Epoch())
		}
	}
}

// redeem sends requests for a while, as customers come, to the serving nodes in turn, and looks before each.
func (f *plannedFleet) redeem(d time.Duration, look func()) {
	var wg sync.WaitGroup
	defer wg.Wait()
	mean := float64(time.Second) / f.model.Rate
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Duration(mean * f.chance.ExpFloat64())) {
		look()
		f.keys++
		key, node := fmt.Sprint(f.keys), f.nodes[f.keys%f.serving]
		wg.Go(func() {
			if _, err := node.redeem(key, "u"+key, 1); err != nil && f.unallocated() > 0 {
				f.t.Error(err)
			}
		})
	}
}

// held is what each node has of the budget, by the books.
func (f *plannedFleet) held() []float64 {
	f.t.Helper()
	leases, err := f.fake.ActiveLeases(f.t.Context(), "o")
	if err != nil {
		f.t.Fatal(err)
	}
	held := make([]float64, len(f.nodes))
	for i, n := range f.nodes {
		for _, l := range leases {
			if l.NodeID == n.id {
				held[i] += float64(l.Outstanding())
			}
		}
	}
	return held
}

// measured is what a fleet did in a while.
type measured struct {
	grants, returns, settles float64 // per second
	holds, mostHeld          float64 // units of one node
	bound, mostBound         float64 // units that can be overspent
}

// measure watches the fleet under load.
func (f *plannedFleet) measure(d time.Duration) (m measured) {
	grants, returns, settles := f.count("Grant"), f.count("ReturnLeases"), f.count("Settle")
	looks := 0.0
	f.redeem(d, func() {
		looks++
		for _, held := range f.held() {
			m.holds += held
			m.mostHeld = max(m.mostHeld, held)
		}
		bound := float64(f.balance().OverspendBound)
		m.bound += bound
		m.mostBound = max(m.mostBound, bound)
	})
	m.grants = float64(f.count("Grant")-grants) / d.Seconds()
	m.returns = float64(f.count("ReturnLeases")-returns) / d.Seconds()
	m.settles = float64(f.count("Settle")-settles) / d.Seconds()
	m.holds /= looks * float64(len(f.nodes))
	m.bound /= looks
	return m
}

// near fails unless got differs from the plan by at most a part of it.
func near(t *testing.T, what string, got, planned, off float64) {
	t.Helper()
	if math.Abs(got-planned) > off*planned {
		t.Errorf("%s: %.2f, planned are %.2f", what, got, planned)
	} else {
		t.Logf("%s: %.2f, planned %.2f", what, got, planned)
	}
}

func atMost(t *testing.T, what string, got, most float64) {
	t.Helper()
	if got > most {
		t.Errorf("%s: %.2f, at most %.2f are planned", what, got, most)
	} else {
		t.Logf("%s: %.2f, at most %.2f", what, got, most)
	}
}
