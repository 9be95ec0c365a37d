package lease

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/catalogue"
	"tranche/models"
)

// drainTime is what a node gives its keeper.
const drainTime = 10 * time.Second

func drain(t *testing.T, k *Keeper) (left int, took time.Duration) {
	ctx, cancel := context.WithTimeout(t.Context(), drainTime)
	defer cancel()
	start := time.Now()
	left = k.Drain(ctx)
	return left, time.Since(start)
}

func TestADrainLeavesTheLeasesToTheReapersWhenTheDatabaseIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		for i := range 20 {
			f.lease(fmt.Sprint("o", i), 60)
		}
		f.away.Store(true)
		if left, took := drain(t, f.keeper); left != 20 || took > 2*time.Second {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

func TestADrainOutlastsAShortOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		f.lease("o", 60)
		f.away.Store(true)
		time.AfterFunc(giveUpAfter/2, func() { f.away.Store(false) })
		if left, took := drain(t, f.keeper); left != 0 {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

// What is pending may still be settled: that is worth all the time there is.
func TestADrainWaitsForWhatIsPendingWhileTheDatabaseIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		f.lease("idle", 60)
		block := f.lease("busy", 60)
		block.Spend(1, time.Now())
		f.away.Store(true)
		time.AfterFunc(5*time.Second, func() { f.away.Store(false); block.Unspend(1) })
		if left, took := drain(t, f.keeper); left != 0 || took < 5*time.Second {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

func TestADrainEndsWithItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		f.lease("o", 60).Spend(1, time.Now())
		if left, took := drain(t, f.keeper); left != 1 || took != drainTime {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

// One offer's locked row must cost only that one: all others are sealed at once, and returned meanwhile.
func TestADrainReturnsTheLeasesOfManyOffersSideBySide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, stop := newFleet(t)
		defer stop()
		var blocks []*Block
		for i := range 40 {
			blocks = append(blocks, f.lease(fmt.Sprint("o", i), 60))
		}
		f.Fail = func(call string) error {
			if call == "ReturnLeases" {
				time.Sleep(time.Second)
			}
			return nil
		}
		go func() {
			time.Sleep(500 * time.Millisecond)
			for _, b := range blocks {
				if !b.Sealed() {
					t.Error("not sealed when the first were being returned")
				}
			}
		}()
		if left, took := drain(t, f.keeper); left != 0 || took > 6*time.Second {
			t.Errorf("%d left after %s", left, took)
		}
	})
}

func TestADrainWaitsForTheGrantUnderWay(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		var under atomic.Bool
		b.fake.After = func(call string) error {
			if call == "Grant" {
				under.Store(true)
				time.Sleep(time.Second)
				under.Store(false)
			}
			return nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			if err := b.spend(1); err != nil && !errors.Is(err, models.ErrDraining) {
				t.Error(err)
			}
		})
		synctest.Wait()
		left := b.keeper.Drain(t.Context())
		if under.Load() {
			t.Error("drained, and a grant is under way")
		}
		wg.Wait()
		if got := b.balance(); left != 0 || got.Outstanding != 0 || got.LeasesActive != 0 {
			t.Errorf("%d left: %+v", left, got)
		}
	})
}

// A pool that a refund opens while the node drains is returned, too.
func TestADrainReturnsAPoolThatCameLate(t *testing.T) {
	withoutLoops(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(time.Second, func() {
			opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{
				OfferID: "o", ID: models.NewID(), NodeID: b.keeper.cfg.NodeID, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
			})
			if err != nil {
				t.Error(err)
			}
			b.keeper.Adopt(NewBlock(&opened, time.Now().Add(time.Minute)), b.offer, time.Now())
			b.settle(block, 1)
		})
		if left, _ := drain(t, b.keeper); left != 0 {
			t.Errorf("%d left", left)
		}
	})
}

// Requests that need a grant race with the drain: each is served or refused, and no grant starts once the drain has waited for them.
func TestADrainAgainstRequests(t *testing.T) {
	for range 200 {
		k := NewKeeper(Config{
			NodeID: models.NewID(), Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
		}, refusing{}, catalogue.New(nil, time.Now))
		k.Begin(1)
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				if _, err := k.Spend(t.Context(), &models.Offer{ID: fmt.Sprint(i)}, 1, time.Now()); err == nil {
					t.Error("served by a database that refuses")
				}
			})
		}
		k.Drain(t.Context())
		if k.start() { // as a request that spends below low water would
			t.Error("a grant starts after the drain has waited for them")
			k.running.Done()
		}
		wg.Wait()
	}
}

// refusing is a database that has nothing to give.
type refusing struct{ Ledger }

func (refusing) Grant(context.Context, models.GrantRequest) (models.Grant, error) {
	return models.Grant{}, models.ErrLedgerUnavailable
}
