package allocator_test

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/catalogue"
	"tranche/internal/health"
	"tranche/internal/run"
	"tranche/internal/settle"
	"tranche/internal/storetest"
	"tranche/lease"
	"tranche/models"
	"tranche/refund"
)

// fleet is nodes on one fake store, in a bubble of its own time.
type fleet struct {
	t     *testing.T
	fake  *storetest.Fake
	fault atomic.Pointer[func(call string) error]
	loss  atomic.Pointer[func(call string) error]
	nodes []*testNode

	overspent bool // the test means to spend more than the budget
	stranded  bool // or to leave units that only the next start can decide about
}

// link is a node's way to the store, which can be cut.
type link struct {
	*storetest.Fake
	cut  atomic.Bool
	deaf atomic.Bool // it only doesn't sync
}

func (l *link) check() error {
	if l.cut.Load() {
		return models.ErrLedgerUnavailable
	}
	return nil
}

func (l *link) Grant(ctx context.Context, req models.GrantRequest) (models.Grant, error) {
	if err := l.check(); err != nil {
		return models.Grant{}, err
	}
	return l.Fake.Grant(ctx, req)
}

func (l *link) Renew(ctx context.Context, node models.ID, epoch int64, offer string, ids []models.ID) ([]models.ID, models.Offer, error) {
	if err := l.check(); err != nil {
		return nil, models.Offer{}, err
	}
	return l.Fake.Renew(ctx, node, epoch, offer, ids)
}

func (l *link) ReturnLeases(ctx context.Context, offer string, ids []models.ID) ([]models.Lease, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return l.Fake.ReturnLeases(ctx, offer, ids)
}

func (l *link) ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error) {
	if err := l.check(); err != nil {
		return models.ExpiredHolds{}, err
	}
	return l.Fake.ExpiredHolds(ctx, limit)
}

func (l *link) SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error) {
	if err := l.check(); err != nil || l.deaf.Load() {
		return models.Snapshot{}, models.ErrLedgerUnavailable
	}
	return l.Fake.SyncOffers(ctx, window)
}

func (l *link) Balance(ctx context.Context, offer string) (models.Balance, error) {
	if err := l.check(); err != nil {
		return models.Balance{}, err
	}
	return l.Fake.Balance(ctx, offer)
}

func (l *link) Recall(ctx context.Context, offer string, from int64) (models.Offer, error) {
	if err := l.check(); err != nil {
		return models.Offer{}, err
	}
	return l.Fake.Recall(ctx, offer, from)
}

func (l *link) Settle(ctx context.Context, b models.Batch) ([]models.Verdict, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return l.Fake.Settle(ctx, b)
}

func (l *link) SettleCart(ctx context.Context, c models.Cart, items []models.Batch) ([]models.Verdict, error) {
	if err := l.check(); err != nil {
		return nil, err
	}
	return l.Fake.SettleCart(ctx, c, items)
}

// testNode is what a server puts together, without HTTP.
type testNode struct {
	*allocator.Allocator
	id        models.ID
	keeper    *lease.Keeper
	settler   *settle.Settler
	ledger    *health.Ledger
	sweeper   *refund.Sweeper
	catalogue *catalogue.Catalogue
	journal   *testJournal
	link      *link
}

// inFleet runs a test on some nodes, with the offer "o" that change adjusts: 100 units in leases of 10.
func inFleet(t *testing.T, nodes int, change func(*models.Offer), test func(t *testing.T, f *fleet)) {
	synctest.Test(t, func(t *testing.T) {
		f := newFleet(t)
		offer := models.Offer{
			ID: "o", Name: "O", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 100, BudgetTarget: 100,
			Status: models.StatusActive, LeaseSize: 10, LeaseTTLSeconds: 60, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
		}
		if change != nil {
			change(&offer)
		}
		if _, _, err := f.fake.CreateOffer(t.Context(), offer, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		sweep, stopSweeping := context.WithCancel(t.Context())
		var loops, sweeping sync.WaitGroup
		for range nodes {
			n := f.newNode()
			sweeping.Go(func() { n.sweeper.Run(sweep) })
			loops.Go(func() { n.keeper.Run(ctx) })
			loops.Go(func() { n.catalogue.Run(ctx, n.keeper.InTail) })
			loops.Go(func() {
				run.Every(ctx, models.NodeSilence/3, func(ctx context.Context) {
					_ = n.ledger.Heartbeat(func() error { return f.fake.Heartbeat(ctx, n.id, "n", n.keeper.Epoch()) })
				})
			})
		}
		synctest.Wait()
		test(t, f)
		f.back()
		stopSweeping()
		sweeping.Wait()
		for _, n := range f.nodes {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if left := n.keeper.Drain(ctx); left != 0 && !f.stranded {
				t.Errorf("%d leases left", left)
			}
			cancel()
			n.settler.Stop(t.Context())
		}
		cancel()
		loops.Wait()
		time.Sleep(10 * time.Second) // reads go on without their requesters
		if b := f.balance(); b.Outstanding != 0 && !f.stranded || b.Allocated-b.Outstanding != b.NetSpent() || b.Allocated > b.Budget && !f.overspent {
			t.Errorf("after the drain: %+v", b)
		}
	})
}

func newFleet(t *testing.T) *fleet {
	f := &fleet{t: t, fake: storetest.NewFake(time.Now)}
	f.fake.Fail, f.fake.After = asked(&f.fault), asked(&f.loss)
	return f
}

func asked(fault *atomic.Pointer[func(call string) error]) func(call string) error {
	return func(call string) error {
		if f := fault.Load(); f != nil && *f != nil {
			return (*f)(call)
		}
		return nil
	}
}

func (f *fleet) newNode() *testNode {
	id := models.NewID()
	epoch, err := f.fake.RegisterNode(f.t.Context(), id, "n")
	if err != nil {
		f.t.Fatal(err)
	}
	registry := prometheus.NewRegistry()
	link := &link{Fake: f.fake}
	offers := catalogue.New(link, time.Now)
	keeper := lease.NewKeeper(lease.Config{
		NodeID: id, Now: time.Now, Logger: zerolog.Nop(), Metrics: registry,
	}, link, offers)
	settler := settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: registry}, link)
	desk := refund.NewDesk(refund.DeskConfig{NodeID: id, Ledger: f.fake, Keeper: keeper, Settler: settler, Offers: offers, Now: time.Now, Logger: zerolog.Nop()})
	ledger := health.NewLedger(time.Now, f.fake.Available)
	sweeper := refund.NewSweeper(refund.SweeperConfig{NodeID: id, Now: time.Now, Logger: zerolog.Nop(), Metrics: registry}, link, ledger, offers, desk)
	journal := &testJournal{}
	n := &testNode{allocator.New(allocator.Config{
		NodeID: id, NodeName: "n", Offers: offers, Ledger: f.fake, Blocks: keeper, Settler: settler, Desk: desk, Journal: journal, Health: ledger, Now: time.Now,
	}), id, keeper, settler, ledger, sweeper, offers, journal, link}
	keeper.Begin(epoch)
	f.nodes = append(f.nodes, n)
	return n
}

func (f *fleet) fail(fault func(call string) error) { f.fault.Store(&fault) }

// lose loses the answers of calls that have succeeded.
func (f *fleet) lose(loss func(call string) error) { f.loss.Store(&loss) }

func (f *fleet) unallocated() int64 {
	b := f.balance()
	return b.Unallocated()
}

func (f *fleet) balance() models.Balance {
	f.t.Helper()
	return f.balanceOf("o")
}

func (f *fleet) balanceOf(offer string) models.Balance {
	f.t.Helper()
	b, err := f.fake.Balance(f.t.Context(), offer)
	if err != nil {
		f.t.Fatal(err)
	}
	return b
}

func (f *fleet) change(change func(*models.Offer)) {
	f.t.Helper()
	if _, err := f.nodes[0].ChangeOffer(f.t.Context(), "o", nil, func(o *models.Offer) error { change(o); return nil }, models.Audit{}); err != nil {
		f.t.Fatal(err)
	}
	time.Sleep(time.Second) // a sync on every node
}

func (n *testNode) redeem(key, user string, units int64) (allocator.Redeemed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Redeem(ctx, "o", allocator.RedeemRequest{Key: key, UserID: user, Units: units})
}

func (n *testNode) refund(key, refundKey string, units int64) (allocator.Refunded, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Refund(ctx, models.RedemptionIDOf("o", key), allocator.RefundRequest{Key: refundKey, Units: units})
}

func limitOne(o *models.Offer) { one := int64(1); o.UserLimitRedemptions = &one }
