package lease

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/catalogue"
	"tranche/internal/storetest"
	"tranche/models"
)

// fleet is a keeper with many offers, on a database where the rows of some are locked.
type fleet struct {
	*storetest.Fake
	t      *testing.T
	keeper *Keeper
	log    lockedBuffer

	mu     sync.Mutex
	locked map[string]bool // offers whose row others hold
	closed int             // attempts at leases of those
	away   atomic.Bool     // nothing answers
}

// lockedBuffer is a log that is read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

// count is how often the log has a text.
func (l *lockedBuffer) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.Builder.String(), text)
}

// newFleet starts a keeper. Stop it before the test ends.
func newFleet(t *testing.T) (f *fleet, stop func()) {
	f = &fleet{Fake: storetest.NewFake(time.Now), t: t, locked: map[string]bool{}}
	f.Fail = func(string) error {
		if f.away.Load() {
			return models.ErrLedgerUnavailable
		}
		return nil
	}
	id := models.NewID()
	epoch, err := f.RegisterNode(t.Context(), id, "n")
	if err != nil {
		t.Fatal(err)
	}
	f.keeper = NewKeeper(Config{
		NodeID: id, Now: time.Now, Logger: zerolog.New(&f.log), Metrics: prometheus.NewRegistry(),
	}, f, catalogue.New(f, time.Now))
	f.keeper.Begin(epoch)
	ctx, cancel := context.WithCancel(t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { f.keeper.Run(ctx) })
	return f, func() { cancel(); loop.Wait() }
}

// ReturnLeases waits for a lock as a database does, and in vain.
func (f *fleet) ReturnLeases(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error) {
	f.mu.Lock()
	locked := f.locked[offerID]
	if locked {
		f.closed++
	}
	f.mu.Unlock()
	if locked {
		time.Sleep(4 * time.Second)
		return nil, models.ErrBusy
	}
	return f.Fake.ReturnLeases(ctx, offerID, ids)
}

// lease makes an offer and has the keeper lease a block of it.
func (f *fleet) lease(name string, ttl int64) *Block {
	f.t.Helper()
	o := testOffer(100_000, 1000)
	o.ID, o.LeaseTTLSeconds = name, ttl
	created, _, err := f.CreateOffer(f.t.Context(), o, models.Audit{})
	if err != nil {
		f.t.Fatal(err)
	}
	block, err := f.keeper.Spend(f.t.Context(), &created, 1, time.Now())
	if err != nil {
		f.t.Fatal(err)
	}
	block.Unspend(1)
	return block
}

// lock has the row of an offer locked from now on, and a lease of it ready to be returned.
func (f *fleet) lock(name string) {
	block := f.lease(name, 60)
	f.mu.Lock()
	f.locked[name] = true
	f.mu.Unlock()
	block.Seal()
}

func TestALockedOfferHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		for i := range 3 * closeAtOnce {
			f.lock(fmt.Sprint("locked", i))
		}
		used, idle := f.lease("used", 5), f.lease("idle", 5)
		for range 300 {
			time.Sleep(100 * time.Millisecond)
			if !used.Spend(1, time.Now()) {
				t.Fatal("a lease in use was not renewed")
			}
			used.Settled(1)
		}
		if balance, err := f.Balance(t.Context(), "idle"); err != nil || balance.LeasesActive != 0 || !idle.Sealed() {
			t.Errorf("an idle lease was not returned: %+v %v", balance, err)
		}
	})
}

// The leases of an offer hang on one row: after one has waited for it in vain, the others need not.
func TestReturningStopsAtTheFirstLeaseThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		f.lock("locked")
		for range 10 {
			pool, _, err := f.OpenPool(t.Context(), models.Lease{
				OfferID: "locked", ID: models.NewID(), NodeID: f.keeper.cfg.NodeID, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
			})
			if err != nil {
				t.Fatal(err)
			}
			block := NewBlock(&pool, time.Now().Add(time.Minute))
			f.keeper.Adopt(block, &models.Offer{ID: block.OfferID}, time.Now())
			block.Seal()
		}
		time.Sleep(3 * time.Second)
		f.mu.Lock()
		if f.closed != 1 {
			t.Errorf("%d attempts within one lock wait", f.closed)
		}
		f.locked["locked"] = false
		f.mu.Unlock()
		time.Sleep(5 * time.Second)
		if held(f.keeper) > 0 {
			t.Error("not returned when the lock was gone")
		}
	})
}

func TestTenThousandOffersAreCheap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		stop()
		for i := range 10_000 {
			f.lease(fmt.Sprint("o", i), 3600)
		}
		var group sync.WaitGroup
		if n := testing.AllocsPerRun(10, func() { f.keeper.maintain(t.Context(), &group) }); n > 100 {
			t.Errorf("a look at 10 000 offers makes %.0f allocations", n)
		}
		group.Wait()
	})
}

func TestAnOutageIsLeftToTheStoreToLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		for i := range 100 {
			f.lease(fmt.Sprint("o", i), 5)
		}
		f.away.Store(true)
		time.Sleep(20 * time.Second)
		if n := f.log.count("\n"); n > 0 {
			t.Errorf("%d lines", n)
		}
	})
}

func TestWhatFailsIsLoggedOnceUntilItWorksAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		f.lock("locked")
		time.Sleep(time.Minute)
		if n := f.log.count("leases not returned"); n != 1 {
			t.Errorf("logged %d times in a minute", n)
		}
		f.mu.Lock()
		f.locked["locked"] = false
		f.mu.Unlock()
		time.Sleep(10 * time.Second)
		f.lock("other") // the log of one offer says nothing of another
		time.Sleep(10 * time.Second)
		if n := f.log.count("leases not returned"); n != 2 {
			t.Errorf("logged %d times for two offers", n)
		}
	})
}

// A pending unit keeps its lease alive, for its entry has to be booked on it, however long that takes.
func TestALeaseWithUnsettledSpendsIsRenewed(t *testing.T) {
	inBubble(t, testOffer(1000, 1000), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Minute)
		if expiring, err := b.fake.ExpiringLeases(t.Context(), 10); err != nil || len(expiring.Leases) != 0 {
			t.Errorf("about to expire with a unit pending: %+v %v", expiring, err)
		}
		b.settle(block, 1)
	})
}

// A pool can look the same at two looks, though refunds came in and were spent between them.
func TestAPoolThatGrewIsRenewed(t *testing.T) {
	inBubble(t, testOffer(1000, 1000), func(t *testing.T, b *keeperOnFake) {
		if err := b.spend(500); err != nil {
			t.Fatal(err)
		}
		opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{
			OfferID: "o", ID: models.NewID(), NodeID: b.keeper.cfg.NodeID, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := NewBlock(&opened, time.Now().Add(57*time.Second))
		b.keeper.Adopt(pool, b.offer, time.Now())
		for range 20 {
			pool.Refund(1)
			if !pool.Spend(1, time.Now()) {
				t.Fatal("the pool's lease was not renewed")
			}
			pool.Settled(1)
			time.Sleep(19 * time.Second)
		}
	})
}

// The deadline counts from before the request: the database may have counted from then, whenever its answer came.
func TestADeadlineCountsFromBeforeTheRequest(t *testing.T) {
	inBubble(t, testOffer(1000, 1000), func(t *testing.T, b *keeperOnFake) {
		b.fake.After = func(call string) error {
			if call == "Grant" || call == "Renew" {
				time.Sleep(4 * time.Second)
			}
			return nil
		}
		trusted := 57 * time.Second // of a lease of 60 s
		start := time.Now()
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		if block.ExpiredAt(start.Add(trusted)) || !block.ExpiredAt(start.Add(trusted+1)) {
			t.Error("grant: the deadline does not count from before the request")
		}
		time.Sleep(30 * time.Second) // a unit is pending, so it is renewed once, between a third of its life and then
		if expiring, err := b.fake.ActiveLeases(t.Context(), "o"); err != nil || len(expiring) != 1 {
			t.Fatal(expiring, err)
		} else if end := expiring[0].ExpiresAt.Time().Add(-3 * time.Second); !block.ExpiredAt(end.Add(time.Microsecond)) || block.ExpiredAt(end) {
			t.Error("renewal: the deadline does not count from before the request")
		}
		b.settle(block, 1)
	})
}

func TestAUsedUpBlockGoesBackAtOnce(t *testing.T) {
	inBubble(t, testOffer(1000, 10), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 10, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if block.Sealed() {
			t.Error("sealed with units pending: they may come back")
		}
		b.settle(block, 10)
		time.Sleep(time.Second)
		if active, err := b.fake.ActiveLeases(t.Context(), "o"); err != nil || !block.Sealed() || len(active) > 0 && active[0].ID == block.LeaseID {
			t.Errorf("a lease with nothing left is still there: %+v %v", active, err)
		}
	})
}

// What a closed lease held is back in the budget, and worth asking for at once.
func TestAReturnEndsAShortage(t *testing.T) {
	withoutLoops(t, testOffer(4, 20), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := b.spend(4); !errors.Is(err, ErrShort) {
				t.Fatal("there are 3:", err)
			}
		}
		ol := b.keeper.leasesOf("o")
		ol.sealAll()
		block.Unspend(1)
		if err := ol.closeQuiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := b.spend(4); err != nil {
			t.Errorf("all is back: %v", err)
		}
	})
}

// An offer of which the node has nothing but the memory of a shortage keeps that, or else each request would ask a sold-out offer's row.
func TestAShortageIsRememberedWithoutALease(t *testing.T) {
	withoutLoops(t, testOffer(10, 10), func(t *testing.T, b *keeperOnFake) {
		other := newKeeperOnFake(t, b.fake, testOffer(10, 10))
		if err := other.spend(10); err != nil {
			t.Fatal(err)
		}
		var grants atomic.Int64
		other.fail(func(call string) error {
			if call == "Grant" {
				grants.Add(1)
			}
			return nil
		})
		var group sync.WaitGroup
		for range 10 {
			if err := b.spend(1); err == nil {
				t.Fatal("sold out")
			}
			b.keeper.maintain(t.Context(), &group)
		}
		if grants.Load() != 1 {
			t.Errorf("asked %d times at one moment", grants.Load())
		}
	})
}

// Between two redemptions the node has nothing of the offer; it must not forget meanwhile how often they come.
func TestANodeThatRedeemsSeldomLeasesMoreThanAUnit(t *testing.T) {
	offer := testOffer(1000, 100)
	offer.Adaptive = true
	inBubble(t, offer, func(t *testing.T, b *keeperOnFake) {
		for range 100 {
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(3 * time.Second)
		}
		leases, err := b.fake.Leases(t.Context(), "o", 1000, models.ID{})
		if err != nil || len(leases) > 40 {
			t.Errorf("%d leases for 100 redemptions, %v", len(leases), err)
		}
	})
}

func TestAnEndedOfferLeavesMemory(t *testing.T) {
	inBubble(t, testOffer(10, 10), func(t *testing.T, b *keeperOnFake) {
		end := func(o *models.Offer) error { o.Status = models.StatusEnded; return nil }
		if _, err := b.fake.ChangeOffer(t.Context(), "o", nil, end, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		if err := b.spend(1); err == nil {
			t.Fatal("it has ended")
		}
		time.Sleep(2 * rememberFor)
		b.keeper.each(func(*offerLeases) { t.Error("still there") })
	})
}

// Between two of its blocks a slow offer has nothing on the node. Its rate must not be forgotten by then, or it would lease unit by unit.
func TestASlowOfferIsRememberedBetweenItsBlocks(t *testing.T) {
	offer := testOffer(10_000, 1000)
	offer.Adaptive = true
	inBubble(t, offer, func(t *testing.T, b *keeperOnFake) {
		var grants atomic.Int64
		b.fail(func(call string) error {
			if call == "Grant" {
				grants.Add(1)
			}
			return nil
		})
		for range 100 {
			if err := b.spend(1); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := grants.Load(); n > 30 {
			t.Errorf("%d grants for 100 redemptions in 100 s", n)
		}
		time.Sleep(3 * time.Minute)
		b.keeper.each(func(*offerLeases) { t.Error("nobody redeems it any more, and it is still there") })
	})
}

// A renewal that doesn't find a lease, because this node has returned it meanwhile, is no loss.
func TestAReturnIsNotTakenForALoss(t *testing.T) {
	withoutLoops(t, testOffer(100, 20), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		b.settle(block, 1)
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		ol := b.keeper.leasesOf("o")
		due := ol.review(time.Now().Add(30 * time.Second)).renew
		if len(due) != 1 {
			t.Fatal("nothing to renew")
		}
		ol.sealAll()
		if err := ol.closeQuiet(t.Context()); err != nil {
			t.Fatal(err)
		}
		ol.renew(t.Context(), due)
		if n := b.counter("tranche_leases_lost_total"); n != 0 {
			t.Errorf("%.0f leases lost", n)
		}
	})
}

// A lease is lost once, whether the renewal finds out or the return.
func TestALossIsCountedOnce(t *testing.T) {
	for name, wait := range map[string]time.Duration{"by the renewal": 25 * time.Second, "by the return": 0} {
		inBubble(t, testOffer(100, 20), func(t *testing.T, b *keeperOnFake) {
			block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			if _, did, err := b.fake.CloseLease(t.Context(), "o", block.LeaseID, models.LeaseReclaimed, nil); err != nil || !did {
				t.Fatal(did, err)
			}
			time.Sleep(wait)
			block.Seal()
			block.Unspend(1)
			time.Sleep(time.Second)
			if n := b.counter("tranche_leases_lost_total"); n != 1 || held(b.keeper) > 0 {
				t.Errorf("%s: lost %.0f times, held %d", name, n, held(b.keeper))
			}
		})
	}
}

// counter reads one of the keeper's counters.
func (b *keeperOnFake) counter(name string) (value float64) {
	b.t.Helper()
	families, err := b.keeper.cfg.Metrics.(*prometheus.Registry).Gather()
	if err != nil {
		b.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	b.t.Fatalf("no counter %s", name)
	return 0
}
