package refund

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tranche/internal/catalogue"
	"tranche/internal/settle"
	"tranche/internal/storetest"
	"tranche/lease"
	"tranche/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// deskOnFake is a desk on a fake store, in a bubble of its own time, with the offer "o": 1000 units, in leases of 60.
type deskOnFake struct {
	t       *testing.T
	fake    *storetest.Fake
	offer   *models.Offer
	node    models.ID
	epoch   int64
	keeper  *lease.Keeper
	settler *settle.Settler
	desk    *Desk

	mu    sync.Mutex
	fault func(call string) error
	calls map[string]int
}

func inBubble(t *testing.T, test func(t *testing.T, b *deskOnFake)) {
	synctest.Test(t, func(t *testing.T) {
		b := &deskOnFake{t: t, fake: storetest.NewFake(time.Now), node: models.NewID(), calls: map[string]int{}}
		created, _, err := b.fake.CreateOffer(t.Context(), models.Offer{
			ID: "o", Name: "O", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 1000, BudgetTarget: 1000,
			Status: models.StatusActive, LeaseSize: 60, LeaseTTLSeconds: 60, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
		}, models.Audit{})
		if err != nil {
			t.Fatal(err)
		}
		b.offer = &created
		if b.epoch, err = b.fake.RegisterNode(t.Context(), b.node, "n"); err != nil {
			t.Fatal(err)
		}
		b.fake.Fail = b.asked
		registry := prometheus.NewRegistry()
		b.keeper = lease.NewKeeper(lease.Config{
			NodeID: b.node, Now: time.Now, Logger: zerolog.Nop(), Metrics: registry,
		}, b.fake, catalogue.New(b.fake, time.Now))
		b.settler = settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: registry}, b.fake)
		b.desk = NewDesk(DeskConfig{
			NodeID: b.node, Ledger: b.fake, Keeper: b.keeper, Settler: b.settler, Offers: b, Now: time.Now, Logger: zerolog.Nop(),
		})
		b.keeper.Begin(b.epoch)
		ctx, cancel := context.WithCancel(t.Context())
		var loop sync.WaitGroup
		loop.Go(func() { b.keeper.Run(ctx) })
		test(t, b)
		b.fail(nil)
		synctest.Wait()
		if left := b.keeper.Drain(t.Context()); left != 0 {
			t.Errorf("%d leases left", left)
		}
		b.settler.Stop(t.Context())
		cancel()
		loop.Wait()
	})
}

func (b *deskOnFake) asked(call string) error {
	b.mu.Lock()
	b.calls[call]++
	fault := b.fault
	b.mu.Unlock()
	if fault == nil {
		return nil
	}
	return fault(call)
}

func (b *deskOnFake) fail(fault func(call string) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fault = fault
}

func (b *deskOnFake) called(call string) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls[call]
}

// Offer is what the node knows of the offer.
func (b *deskOnFake) Offer(context.Context, string) (*models.Offer, error) { return b.offer, nil }

// Newer is what the node knows of it by now.
func (b *deskOnFake) Newer(o *models.Offer) *models.Offer { return o }

// take redeems, or holds if it is for a while.
func (b *deskOnFake) take(key string, units int64, holdFor time.Duration) {
	b.t.Helper()
	block, err := b.keeper.Spend(b.t.Context(), b.offer, units, time.Now())
	if err != nil {
		b.t.Fatal(err)
	}
	e := b.entry(key, models.KindRedeem, units)
	e.UserID, e.IdempotencyKey = "u", key
	if holdFor > 0 {
		ends := e.CreatedAt.Add(holdFor)
		e.Kind, e.HoldExpiresAt = models.KindHold, &ends
	}
	if _, err := b.settler.Settle(b.t.Context(), lease.Posting{Block: block, Offer: b.offer, Entry: e}, nil); err != nil {
		b.t.Fatal(err)
	}
}

func (b *deskOnFake) entry(key string, kind models.Kind, units int64) models.Entry {
	return models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", key).Hash, Kind: kind, Units: units, NodeID: b.node,
		CreatedAt: models.MicrosOf(time.Now()),
	}
}

func (b *deskOnFake) book(key string, kind models.Kind, units int64) (models.Verdict, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	e := b.entry(key, kind, units)
	if kind == models.KindRefund {
		e.IdempotencyKey = e.ID.String()
	}
	return b.desk.Book(ctx, b.offer, e)
}

func (b *deskOnFake) state(key string) models.RedemptionState {
	b.t.Helper()
	list, err := b.fake.Redemptions(b.t.Context(), models.RedemptionFilter{OfferID: "o", IdempotencyKey: key, Limit: 1})
	if err != nil || len(list) != 1 {
		b.t.Fatal(list, err)
	}
	return list[0].State
}

func TestWhatComesBackIsSpendableAtOnce(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("redeemed", 10, 0)
		b.take("confirmed", 10, time.Minute)
		b.take("cancelled", 10, time.Minute)
		for i, c := range []struct {
			key   string
			kind  models.Kind
			units int64
			left  int64
		}{
			{"redeemed", models.KindRefund, 4, 4},
			{"confirmed", models.KindConfirm, 7, 7},
			{"cancelled", models.KindCancel, 0, 17},
			{"confirmed", models.KindRefund, 0, 24},
		} {
			if v, err := b.book(c.key, c.kind, c.units); err != nil || v.Replayed {
				t.Fatal(i, v, err)
			}
			if got := b.keeper.Pool("o").Left(); got != c.left {
				t.Errorf("%d: the pool has %d, want %d", i, got, c.left)
			}
		}
		if n := b.called("OpenPool"); n != 1 {
			t.Errorf("%d pools for four requests", n)
		}
	})
}

func TestRequestsAtOnceOpenOnePool(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("k", 50, 0)
		b.fail(func(call string) error {
			if call == "OpenPool" {
				time.Sleep(time.Second)
			}
			return nil
		})
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := b.book("k", models.KindRefund, 1); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n, left := b.called("OpenPool"), b.keeper.Pool("o").Left(); n != 1 || left != 20 {
			t.Errorf("%d pools, with %d units", n, left)
		}
	})
}

func TestAPoolThatIsFullIsReturnedAndAnotherOpened(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("k", 60, 0)
		b.take("l", 1, 0)
		for _, key := range []string{"k", "l"} {
			if _, err := b.book(key, models.KindRefund, 0); err != nil {
				t.Fatal(err)
			}
		}
		if n := b.called("OpenPool"); n != 2 {
			t.Errorf("%d pools", n)
		}
	})
}

// After a budget was lowered below what is out, nothing that comes back is spent again.
func TestWhatComesBackToALoweredBudgetIsNotSpentAgain(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		other := models.NewID()
		epoch, err := b.fake.RegisterNode(t.Context(), other, "other")
		if err != nil {
			t.Fatal(err)
		}
		_, err = b.fake.Grant(t.Context(), models.GrantRequest{
			OfferID: "o", NodeID: other, Epoch: epoch, LeaseID: models.NewID(),
			Size: func(*models.Offer, int64, int64) int64 { return 500 },
		})
		if err != nil {
			t.Fatal(err)
		}
		b.take("k", 50, 0)
		if _, err := b.fake.ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.BudgetTarget = 200; return nil }, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if _, err := b.book("k", models.KindRefund, 10); err != nil {
				t.Fatal(i, err)
			}
			if pool := b.keeper.Pool("o"); pool != nil {
				t.Errorf("%d units may be spent again", pool.Left())
			}
		}
		time.Sleep(15 * time.Second)
		if balance, err := b.fake.Balance(t.Context(), "o"); err != nil || balance.Allocated != 500 || balance.Budget != 500 {
			t.Errorf("%+v, %v", balance, err)
		}
	})
}

// The pool was reclaimed while this node thought that it had it.
func TestAnEntryForAClosedPoolGoesToANewOne(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("k", 5, 0)
		b.take("held", 5, time.Hour)
		if _, err := b.book("k", models.KindRefund, 1); err != nil {
			t.Fatal(err)
		}
		first := b.keeper.Pool("o").LeaseID
		if _, _, err := b.fake.CloseLease(t.Context(), "o", first, models.LeaseReclaimed, nil); err != nil {
			t.Fatal(err)
		}
		if v, err := b.book("held", models.KindCancel, 0); err != nil || v.Entry.LeaseID == first {
			t.Errorf("%+v, %v", v, err)
		}
		if left := b.keeper.Pool("o").Left(); left != 5 {
			t.Errorf("the pool has %d", left)
		}
	})
}

func TestAnOpeningThatFailsOrPanicsIsNotTheLast(t *testing.T) {
	for name, fault := range map[string]func() error{
		"fails":       func() error { return models.ErrLedgerUnavailable },
		"is unknown":  func() error { return models.ErrOutcomeUnknown },
		"panics":      func() error { panic("in OpenPool") },
		"hangs a bit": func() error { time.Sleep(10 * time.Second); return models.ErrLedgerUnavailable },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, b *deskOnFake) {
				b.take("k", 50, 0)
				b.fail(func(call string) error {
					if call != "OpenPool" {
						return nil
					}
					return fault()
				})
				var wg sync.WaitGroup
				for range 5 {
					wg.Go(func() {
						if _, err := b.book("k", models.KindRefund, 1); !errors.Is(err, models.ErrLedgerUnavailable) {
							t.Errorf("without a pool: %v", err)
						}
					})
				}
				wg.Wait()
				b.fail(nil)
				time.Sleep(10 * time.Second) // the opening has ended by then
				if _, err := b.book("k", models.KindRefund, 1); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		})
	}
}

func TestRefusalsComeThroughTheDesk(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("redeemed", 2, 0)
		b.take("held", 2, time.Minute)
		for i, c := range []struct {
			key   string
			kind  models.Kind
			units int64
			want  error
		}{
			{"none", models.KindCancel, 0, models.ErrRedemptionNotFound},
			{"redeemed", models.KindConfirm, 0, models.ErrNotAHold},
			{"redeemed", models.KindRefund, 3, models.ErrRefundExceeds},
			{"held", models.KindRefund, 0, models.ErrNotConfirmed},
			{"held", models.KindConfirm, 3, models.ErrConfirmExceeds},
			{"held", models.KindConfirm, 0, nil},
			{"held", models.KindConfirm, 2, nil},
			{"held", models.KindCancel, 0, models.ErrHoldResolved},
		} {
			if _, err := b.book(c.key, c.kind, c.units); !errors.Is(err, c.want) {
				t.Errorf("%d: %v, want %v", i, err, c.want)
			}
		}
		if left := b.keeper.Pool("o").Left(); left != 0 {
			t.Errorf("the pool has %d", left)
		}
	})
}
