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

	"tranche/internal/catalogue"
	"tranche/internal/storetest"
	"tranche/models"
)

// keeperOnFake is a keeper on the fake store, with one offer, in a bubble of its own time.
type keeperOnFake struct {
	t      *testing.T
	fake   *storetest.Fake
	keeper *Keeper
	offer  *models.Offer
	faults atomic.Pointer[func(call string) error]

	settling sync.Mutex
}

// fail has the store ask fault before each call; nil heals it.
func (b *keeperOnFake) fail(fault func(call string) error) { b.faults.Store(&fault) }

// inBubble runs a test against a keeper whose maintenance runs, and drains it at the end.
func inBubble(t *testing.T, offer models.Offer, test func(t *testing.T, b *keeperOnFake)) {
	synctest.Test(t, func(t *testing.T) {
		b := newKeeperOnFake(t, storetest.NewFake(time.Now), offer)
		ctx, cancel := context.WithCancel(t.Context())
		var loops sync.WaitGroup
		loops.Go(func() { b.keeper.Run(ctx) })
		test(t, b)
		drain, done := context.WithTimeout(t.Context(), time.Minute)
		defer done()
		b.fail(nil)
		if left := b.keeper.Drain(drain); left != 0 {
			t.Errorf("%d leases left after the drain", left)
		}
		cancel()
		loops.Wait()
		if balance := b.balance(); balance.Outstanding != 0 || balance.Allocated != balance.NetSpent() {
			t.Errorf("after the drain: %+v", balance)
		}
	})
}

func newKeeperOnFake(t *testing.T, fake *storetest.Fake, offer models.Offer) *keeperOnFake {
	b := &keeperOnFake{t: t, fake: fake}
	fake.Fail = func(call string) error {
		if fault := b.faults.Load(); fault != nil && *fault != nil {
			return (*fault)(call)
		}
		return nil
	}
	nodeID := models.NewID()
	epoch, err := fake.RegisterNode(t.Context(), nodeID, "n")
	if err != nil {
		t.Fatal(err)
	}
	created, _, err := fake.CreateOffer(t.Context(), offer, models.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	b.offer = &created
	b.keeper = NewKeeper(Config{
		NodeID: nodeID, Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
	}, fake, catalogue.New(fake, time.Now))
	b.keeper.Begin(epoch)
	return b
}

func testOffer(budget, leaseSize int64) models.Offer {
	return models.Offer{
		ID: "o", Name: "O", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: budget, BudgetTarget: budget,
		Status: models.StatusActive, LeaseSize: leaseSize, LeaseTTLSeconds: 60,
		RefundRestoresBudget: true, RefundRestoresUserLimit: true,
	}
}

func (b *keeperOnFake) balance() models.Balance {
	b.t.Helper()
	balance, err := b.fake.Balance(b.t.Context(), b.offer.ID)
	if err != nil {
		b.t.Fatal(err)
	}
	return balance
}

// held is how many leases a keeper has not returned.
func held(k *Keeper) (n int) {
	k.each(func(ol *offerLeases) { n += ol.count() })
	return n
}

// spend takes n units and says in the ledger that they are redeemed.
func (b *keeperOnFake) spend(n int64) error {
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	block, err := b.keeper.Spend(ctx, b.offer, n, time.Now())
	if err != nil {
		return err
	}
	b.settle(block, n)
	return nil
}

// settle books n pending units of a block, one batch after the other, as its queue would.
func (b *keeperOnFake) settle(block *Block, n int64) {
	b.t.Helper()
	b.settling.Lock()
	defer b.settling.Unlock()
	key := models.NewID().String()
	verdicts, err := b.fake.Settle(b.t.Context(), models.Batch{
		Offer: b.offer, LeaseID: block.LeaseID, Number: block.Batch + 1,
		Wanted: []models.Wanted{{Entry: models.Entry{
			OfferID: b.offer.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(b.offer.ID, key).Hash,
			Kind: models.KindRedeem, UserID: "u", IdempotencyKey: key, Units: n,
		}}},
	})
	if err != nil || verdicts[0].Err != nil {
		b.t.Errorf("settle: %v %v", err, verdicts)
		block.Unspend(n)
		return
	}
	block.Batch++
	block.Settled(n)
}
