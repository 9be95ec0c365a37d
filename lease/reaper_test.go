package lease

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/health"
	"tranche/internal/run"
	"tranche/internal/storetest"
	"tranche/models"
)

// estate is a fake store with a lease of 99 outstanding units, whose database clock can be moved.
type estate struct {
	*keeperOnFake
	step atomic.Int64
}

// withReaper runs a test with a reaper at work. The node that holds the lease is dead: it has no maintenance.
func withReaper(t *testing.T, test func(t *testing.T, e *estate)) {
	withReaperFor(t, 60, test)
}

// withReaperFor is withReaper with a lease that lives for so many seconds.
func withReaperFor(t *testing.T, ttlSeconds int64, test func(t *testing.T, e *estate)) {
	synctest.Test(t, func(t *testing.T) {
		e := &estate{}
		fake := storetest.NewFake(func() time.Time { return time.Now().Add(time.Duration(e.step.Load())) })
		offer := testOffer(100, 100)
		offer.LeaseTTLSeconds = ttlSeconds
		e.keeperOnFake = newKeeperOnFake(t, fake, offer)
		e.offer.Adaptive = false
		block, err := e.keeper.Spend(t.Context(), e.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		e.settle(block, 1)
		ledger := health.NewLedger(time.Now, func() bool { return true })
		reaper := NewReaper(Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, fake, ledger)
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { reaper.Run(ctx) })
		loop.Go(func() { run.Every(ctx, reapEvery, func(context.Context) { _ = ledger.Heartbeat(e.heartbeat) }) })
		test(t, e)
		cancel()
		loop.Wait()
	})
}

// heartbeat is that of the node that the reaper runs on.
func (e *estate) heartbeat() error {
	if fault := e.faults.Load(); fault != nil && *fault != nil {
		return (*fault)("Heartbeat")
	}
	return nil
}

// chance is how long owners have after an outage, as package health says.
const chance = 5 * time.Second

func (e *estate) active() bool { return e.balance().LeasesActive > 0 }

// renew does what a healthy owner does.
func (e *estate) renew() {
	for _, b := range *e.keeper.leasesOf("o").open.Load() {
		if _, _, err := e.fake.Renew(e.t.Context(), e.keeper.cfg.NodeID, e.keeper.Epoch(), "o", []models.ID{b.LeaseID}); err != nil {
			e.t.Fatal(err)
		}
	}
}

func TestTheRestOfADeadNodeComesBackWithinTTLAndGrace(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		within := 60*time.Second + Grace(60*time.Second) - time.Second
		time.Sleep(within)
		if !e.active() {
			t.Fatal("reclaimed within the grace")
		}
		time.Sleep(ReclaimedWithin(60*time.Second) - within)
		if got := e.balance(); got.LeasesActive != 0 || got.Allocated != got.Redeemed || got.Redeemed != 1 {
			t.Errorf("not reclaimed: %+v", got)
		}
	})
}

func TestARenewedLeaseIsNotReclaimed(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		for range 20 {
			time.Sleep(20 * time.Second)
			e.renew()
		}
		if !e.active() {
			t.Error("reclaimed a lease that is renewed")
		}
	})
}

// An outage longer than every lease: when the database is back, the owners have half a time to live to renew.
func TestAnOutageMakesNoMassReclaim(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		e.fail(func(string) error { return models.ErrLedgerUnavailable })
		time.Sleep(10 * time.Minute)
		e.fail(nil)
		time.Sleep(25 * time.Second)
		if !e.active() {
			t.Fatal("reclaimed before the owner had its chance")
		}
		e.renew()
		time.Sleep(60 * time.Second)
		if !e.active() {
			t.Error("reclaimed although it was renewed after the outage")
		}
	})
}

// The same when the outage begins while the lease is watched already, because its owner was cut off first.
func TestTheTimeOfAnOutageIsNotTimeThatWasWatched(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		time.Sleep(50 * time.Second)
		e.fail(func(string) error { return models.ErrLedgerUnavailable })
		time.Sleep(10 * time.Minute)
		e.fail(nil)
		time.Sleep(15 * time.Second)
		if !e.active() {
			t.Error("reclaimed before the owner had its chance")
		}
		time.Sleep(15 * time.Second)
		if e.active() {
			t.Error("not reclaimed after it")
		}
	})
}

// The shortest leases have half a time to live of 2.5 s, not much more than one look may add.
func TestTheTimeOfAnOutageIsNotTimeThatAShortLeaseWasWatched(t *testing.T) {
	for _, hangs := range []time.Duration{0, 2 * time.Second} { // a database that refuses, one that is silent
		withReaperFor(t, 5, func(t *testing.T, e *estate) {
			time.Sleep(4500 * time.Millisecond)
			over := time.Now().Add(time.Minute)
			back := make(chan struct{})
			e.fail(func(call string) error {
				if call == "Heartbeat" {
					return models.ErrLedgerUnavailable
				}
				time.Sleep(hangs)
				if time.Now().After(over) { // the outage ends with a look
					e.fail(nil)
					close(back)
				}
				return models.ErrLedgerUnavailable
			})
			<-back
			time.Sleep(chance - longestPause)
			if !e.active() {
				t.Errorf("silent for %v: reclaimed before the owner had its chance", hangs)
			}
			time.Sleep(4 * longestPause)
			if e.active() {
				t.Errorf("silent for %v: not reclaimed after it", hangs)
			}
		})
	}
}

// The database goes away just as a lease would have been reclaimed. When it is back, the owner has a chance, too.
func TestAfterAnOutageOwnersHaveAChance(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		time.Sleep(60*time.Second + Grace(60*time.Second) - 300*time.Millisecond)
		e.fail(func(string) error { return models.ErrLedgerUnavailable })
		time.Sleep(10 * time.Second)
		e.fail(nil)
		time.Sleep(chance - longestPause - 100*time.Millisecond)
		if !e.active() {
			t.Error("reclaimed before the owner had its chance")
		}
		time.Sleep(4 * longestPause)
		if e.active() {
			t.Error("not reclaimed after it")
		}
	})
}

func TestRepeatedOutagesDoNotProlongALeaseForEver(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		for range 10 { // ten seconds of service a minute
			e.fail(func(string) error { return models.ErrLedgerUnavailable })
			time.Sleep(50 * time.Second)
			e.fail(nil)
			time.Sleep(10 * time.Second)
		}
		if e.active() {
			t.Error("a dead node's lease outlived ten outages")
		}
	})
}

func TestAStepOfTheDatabaseClockMakesNoMassReclaim(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		time.Sleep(10 * time.Second)
		e.step.Store(int64(10 * time.Minute))
		time.Sleep(20 * time.Second)
		if !e.active() {
			t.Fatal("reclaimed because the clock jumped ahead")
		}
		e.renew()
		e.step.Store(0) // and back: the lease now ends far ahead, until it is renewed
		time.Sleep(20 * time.Second)
		e.renew()
		time.Sleep(30 * time.Second)
		if !e.active() {
			t.Error("reclaimed a healthy node's lease")
		}
	})
}

func TestAReclaimThatFailsIsTriedAgain(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		var failed atomic.Int64
		e.fail(func(call string) error {
			if call == "CloseLease" && failed.Add(1) <= 5 {
				return models.ErrBusy
			}
			return nil
		})
		time.Sleep(2 * time.Minute)
		if failed.Load() <= 5 || e.active() {
			t.Errorf("after %d attempts the lease is active: %v", failed.Load(), e.active())
		}
	})
}

// The end must stand still: a lease that is renewed again and again is never due, whatever the database's clock does.
func TestALeaseWhoseEndMovesIsNotReclaimed(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		for range 60 {
			e.step.Add(int64(10 * time.Minute))
			time.Sleep(1100 * time.Millisecond)
			if !e.active() {
				t.Fatal("reclaimed")
			}
			e.renew()
		}
	})
}

// The owner may be faster by a moment: its renewal between a reaper's look and its hand must win.
func TestALeaseThatIsRenewedAtTheLastMomentIsNotReclaimed(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		e.fail(func(call string) error {
			if call == "CloseLease" {
				e.renew()
			}
			return nil
		})
		time.Sleep(3 * time.Minute)
		if !e.active() {
			t.Error("reclaimed a lease that had been renewed")
		}
	})
}

func TestMoreExpiredLeasesThanOneLookFinds(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		for range reapAtOnce + 100 {
			_, _, err := e.fake.OpenPool(t.Context(), models.Lease{
				OfferID: "o", ID: models.NewID(), NodeID: e.keeper.cfg.NodeID, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(3 * time.Minute)
		if n := e.balance().LeasesActive; n != 0 {
			t.Errorf("%d leases of a dead node are left", n)
		}
	})
}

// A database that answers and takes no writes lets no owner renew. So nothing is reclaimed, and the time is not time that was watched.
func TestWithoutHeartbeatsNothingIsReclaimed(t *testing.T) {
	withReaper(t, func(t *testing.T, e *estate) {
		e.fail(func(call string) error {
			if call == "Heartbeat" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		time.Sleep(10 * time.Minute)
		if !e.active() {
			t.Fatal("reclaimed while no owner could renew")
		}
		e.fail(nil)
		time.Sleep(20 * time.Second)
		if !e.active() {
			t.Fatal("reclaimed before the owner had its chance")
		}
		time.Sleep(15 * time.Second)
		if e.active() {
			t.Error("not reclaimed after it")
		}
	})
}

// A database that answers and takes no writes for a while, shorter than heartbeats last. Owners renew before anything is reclaimed.
func TestOwnersRenewFirstAfterWritesFailed(t *testing.T) {
	for phase := range 12 {
		withReaperFor(t, 5, func(t *testing.T, e *estate) {
			for stop := time.Now().Add(20*time.Second + time.Duration(phase)*47*time.Millisecond); time.Now().Before(stop); {
				time.Sleep(min(1700*time.Millisecond, time.Until(stop)))
				e.renew()
			}
			e.fail(func(call string) error {
				switch call {
				case "Heartbeat", "CloseLease", "Renew":
					return models.ErrLedgerUnavailable
				}
				return nil
			})
			time.Sleep(8 * time.Second)
			e.fail(nil)
			time.Sleep(200 * time.Millisecond)
			if !e.active() {
				t.Errorf("phase %d: reclaimed from an owner that was about to renew", phase)
			}
		})
	}
}

// taken is an estate whose lease is of a mode, and taken over by the next epoch of its node, after 10 s.
func (e *estate) taken(t *testing.T, mode models.Mode) *Block {
	t.Helper()
	offer := testOffer(100, 10)
	offer.ID, offer.Mode = "taken", mode
	created, _, err := e.fake.CreateOffer(t.Context(), offer, models.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	block, err := e.keeper.Spend(t.Context(), &created, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(10 * time.Second)
	if _, err := e.fake.RegisterNode(t.Context(), e.keeper.cfg.NodeID, "n"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.fake.TakeOver(t.Context(), "taken", block.LeaseID); err != nil {
		t.Fatal(err)
	}
	return block
}

// A copy of a node's data directory starts while the node, cut off, spends on: what it can spend stays in the bound until it can't.
func TestC12WhatAnEarlierEpochMaySpendStaysInTheBound(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		withReaper(t, func(t *testing.T, e *estate) {
			block := e.taken(t, mode)
			bound := func() models.Balance {
				t.Helper()
				b, err := e.fake.Balance(t.Context(), "taken")
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
			for n := 1; n == 1 || block.Spend(1, time.Now()); n++ {
				if got := bound(); got.OverspendBound < block.Pending()+block.Left() || got.Allocated != 0 {
					t.Fatalf("the node may spend %d, has %d pending, and %+v", block.Left(), block.Pending(), got)
				}
				time.Sleep(5 * time.Second)
			}
			time.Sleep(5 * time.Second)
			if got := bound(); got.OverspendBound != 0 {
				t.Errorf("nobody can spend, and %+v", got)
			}
		})
	}
}
