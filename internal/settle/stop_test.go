package settle

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

	"tranche/lease"
	"tranche/models"
)

func TestStopWaitsForWhatIsUnderWay(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = time.Second
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := b.redeem("a", 5*time.Second); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		b.settler.Stop(t.Context())
		b.check(1)
		wg.Wait()
		var decisions atomic.Int64
		if _, err := b.redeemWith("b", time.Second, func() { decisions.Add(1) }); !errors.Is(err, models.ErrDraining) || decisions.Load() != 1 {
			t.Errorf("after the stop: %v, decided %d times", err, decisions.Load())
		}
		b.check(1)
	})
}

func TestStopGivesUpInTheEnd(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.before = func(models.Batch) error { return models.ErrOutcomeUnknown }
		var decisions atomic.Int64
		var wg sync.WaitGroup
		for _, c := range []struct {
			key  string
			want error
		}{{"under way", models.ErrOutcomeUnknown}, {"queued", models.ErrDraining}} {
			wg.Go(func() {
				if _, err := b.redeemWith(c.key, time.Hour, func() { decisions.Add(1) }); !errors.Is(err, c.want) {
					t.Errorf("%s: %v", c.key, err)
				}
			})
			synctest.Wait()
		}
		b.block.Spend(1, time.Now())
		b.settler.Book(&lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem("acknowledged")}, hearing(func(models.Verdict) { t.Error("it was not booked") }))
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		b.settler.Stop(ctx)
		if took := time.Since(start); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("stopped after %s", took)
		}
		wg.Wait()
		if decisions.Load() != 2 {
			t.Errorf("decided %d of 2", decisions.Load())
		}
	})
}

// A call that hangs ends with its context.
func TestStopEndsACallThatHangs(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.settler.ledger = hanging{}
		go func() { _, _ = b.redeem("a", time.Hour) }()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		b.settler.Stop(ctx)
		if took := time.Since(start); took != time.Second {
			t.Errorf("stopped after %s", took)
		}
	})
}

// hanging is a database that accepts connections and never answers.
type hanging struct{}

func (hanging) Settle(ctx context.Context, _ models.Batch) ([]models.Verdict, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, ctx.Err())
}

func (hanging) Locked(context.Context, models.Batch) ([]bool, error) {
	return nil, errors.ErrUnsupported
}

func (hanging) SettleCart(ctx context.Context, _ models.Cart, _ []models.Batch) ([]models.Verdict, error) {
	<-ctx.Done()
	return nil, fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, ctx.Err())
}

// Submissions race with Stop: each is settled or refused, and nothing runs after Stop has returned.
func TestStopAgainstSubmissions(t *testing.T) {
	for range 200 {
		s := New(Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, hanging{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				now := time.Now()
				block := lease.NewBlock(&models.Lease{ID: models.NewID(), Granted: 1, TTLSeconds: 60}, now.Add(time.Minute))
				block.Spend(1, now)
				if _, err := s.Settle(t.Context(), lease.Posting{Block: block, Offer: &models.Offer{}, Entry: redeem("a")}, nil); err == nil {
					t.Error("settled by a database that never answers")
				}
				if block.Pending() != 0 {
					t.Error("the unit is not given back")
				}
			})
		}
		s.Stop(ctx)
		wg.Wait()
	}
}
