package refund

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/rs/zerolog"

	"tranche/internal/health"
	"tranche/internal/run"
	"tranche/models"
)

const (
	chance  = 5 * time.Second // for shops after an outage, as package health says
	silence = 2 * time.Second // of the database, after which it counts as having been away
)

// sweep lets a sweeper run while the test does, at least until it has given holds their chance once.
func sweep(t *testing.T, test func(t *testing.T, b *deskOnFake, s *Sweeper)) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		s, stop := b.sweeper()
		defer stop()
		time.Sleep(2 * chance)
		test(t, b, s)
	})
}

// sweeper starts one, as that of a node of its own would be.
func (b *deskOnFake) sweeper() (s *Sweeper, stop func()) {
	ledger := health.NewLedger(time.Now, func() bool { return true })
	s = NewSweeper(b.config(zerolog.Nop()), b.fake, ledger, b, b.desk)
	ctx, cancel := context.WithCancel(b.t.Context())
	var loop sync.WaitGroup
	loop.Go(func() { s.Run(ctx) })
	loop.Go(func() {
		run.Every(ctx, sweepEvery, func(context.Context) { _ = ledger.Heartbeat(func() error { return b.asked("Heartbeat") }) })
	})
	return s, func() { cancel(); loop.Wait() }
}

func (b *deskOnFake) config(logger zerolog.Logger) SweeperConfig {
	return SweeperConfig{NodeID: b.node, Now: time.Now, Logger: logger, Metrics: prometheus.NewRegistry()}
}

// count is how many holds a sweeper has expired.
func count(t *testing.T, s *Sweeper) float64 {
	t.Helper()
	var m dto.Metric
	if err := s.expired.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.Counter.GetValue()
}

func TestAHoldIsExpiredAMomentAfterItsEnd(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, s *Sweeper) {
		b.take("k", 5, 10*time.Second)
		time.Sleep(10*time.Second + grace - time.Millisecond)
		if got := b.state("k"); got != models.StateHeld {
			t.Fatalf("within its grace it is %s", got)
		}
		time.Sleep(2 * sweepEvery)
		if got := b.state("k"); got != models.StateExpired {
			t.Fatalf("it is %s", got)
		}
		if n, left := count(t, s), b.keeper.Pool("o").Left(); n != 1 || left != 5 {
			t.Errorf("%v are counted, and the pool has %d", n, left)
		}
	})
}

func TestWhatWasConfirmedOrCancelledDoesNotExpire(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, s *Sweeper) {
		b.take("confirmed", 1, time.Second)
		b.take("cancelled", 1, time.Second)
		b.take("at the last moment", 1, time.Second)
		b.take("redeemed", 1, 0)
		for key, kind := range map[string]models.Kind{"confirmed": models.KindConfirm, "cancelled": models.KindCancel} {
			if _, err := b.book(key, kind, 0); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Second + grace - time.Millisecond) // past its end
		if _, err := b.book("at the last moment", models.KindConfirm, 0); err != nil {
			t.Fatal(err)
		}
		settles := b.called("Settle")
		time.Sleep(time.Minute)
		for key, want := range map[string]models.RedemptionState{
			"confirmed": models.StateRedeemed, "cancelled": models.StateCancelled, "at the last moment": models.StateRedeemed, "redeemed": models.StateRedeemed,
		} {
			if got := b.state(key); got != want {
				t.Errorf("%s is %s", key, got)
			}
		}
		if n := count(t, s); n != 0 || b.called("Settle") != settles {
			t.Errorf("%v expired, in %d transactions", n, b.called("Settle")-settles)
		}
	})
}

// Holds ran out while nobody could reach the database. When it is back, shops have their chance before the sweeper.
func TestAfterAnOutageShopsComeFirst(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, _ *Sweeper) {
		b.take("k", 1, 10*time.Second)
		b.take("l", 1, 10*time.Second)
		b.fail(func(string) error { return models.ErrLedgerUnavailable })
		time.Sleep(time.Minute)
		b.fail(nil)
		time.Sleep(chance - sweepEvery)
		if _, err := b.book("k", models.KindConfirm, 0); err != nil {
			t.Errorf("confirmed in time: %v", err)
		}
		time.Sleep(4 * sweepEvery)
		if got := b.state("l"); got != models.StateExpired {
			t.Errorf("after its chance, it is %s", got)
		}
	})
}

func TestAtTheStartShopsComeFirst(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.take("k", 1, time.Second)
		time.Sleep(time.Hour)
		_, stop := b.sweeper()
		defer stop()
		time.Sleep(chance - sweepEvery)
		if got := b.state("k"); got != models.StateHeld {
			t.Errorf("it is %s", got)
		}
		time.Sleep(3 * sweepEvery)
		if got := b.state("k"); got != models.StateExpired {
			t.Errorf("after its chance, it is %s", got)
		}
	})
}

// A database that is away now and then, for longer than a silence, does not keep holds for ever; nor do single errors keep them at all.
func TestOutagesAgainAndAgainDoNotKeepHolds(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, _ *Sweeper) {
		b.take("k", 1, time.Second)
		for range 4 {
			b.fail(func(string) error { return models.ErrLedgerUnavailable })
			time.Sleep(silence + sweepEvery)
			b.fail(nil)
			time.Sleep(chance - sweepEvery) // more than the outage was, less than a chance is at most
		}
		if got := b.state("k"); got != models.StateExpired {
			t.Errorf("it is %s", got)
		}
		b.take("l", 1, time.Second)
		odd := false
		b.fail(func(call string) error {
			if call == "ExpiredHolds" {
				odd = !odd
			}
			if call == "ExpiredHolds" && odd {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		time.Sleep(time.Second + grace + 3*sweepEvery)
		if got := b.state("l"); got != models.StateExpired {
			t.Errorf("with every other look in vain, it is %s", got)
		}
	})
}

func TestWhatCouldNotBeBookedIsFoundAgain(t *testing.T) {
	for _, trouble := range []error{models.ErrBusy, models.ErrLedgerUnavailable, models.ErrOutcomeUnknown, errors.New("a bug")} {
		sweep(t, func(t *testing.T, b *deskOnFake, s *Sweeper) {
			b.take("k", 1, time.Second)
			b.fail(func(call string) error {
				if call == "Settle" {
					return trouble
				}
				return nil
			})
			time.Sleep(10 * time.Second)
			b.fail(nil)
			time.Sleep(20 * time.Second)
			if got := b.state("k"); got != models.StateExpired {
				t.Errorf("after %v, it is %s", trouble, got)
			}
			if left := b.keeper.Pool("o").Left(); left != 1 {
				t.Errorf("after %v, the pool has %d", trouble, left)
			}
		})
	}
}

// More holds than one sweep takes, and several sweepers that all want them.
func TestManySweepersGiveEachHoldBackOnce(t *testing.T) {
	const holds = 3*sweepAtOnce + 1
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		b.offer.LeaseSize = 1000 // so that one pool takes them all
		var sweepers []*Sweeper
		for range 4 {
			s, stop := b.sweeper()
			defer stop()
			sweepers = append(sweepers, s)
		}
		time.Sleep(2 * chance)
		for i := range holds {
			b.take(fmt.Sprint(i), 1, time.Second)
		}
		time.Sleep(time.Second + grace + 3*sweepEvery)
		var expired float64
		for _, s := range sweepers {
			expired += count(t, s)
		}
		balance, err := b.fake.Balance(t.Context(), "o")
		if err != nil || balance.Held != 0 || expired != holds {
			t.Errorf("%v expired: %+v, %v", expired, balance, err)
		}
		if left := b.keeper.Pool("o").Left(); left != holds {
			t.Errorf("the pool has %d", left)
		}
	})
}

// recovered is a ledger that has always served.
type recovered struct{}

func (recovered) Looked(time.Time, error) {}
func (recovered) Recovered() bool         { return true }

// overtaken is a list of holds that are out of date by the time it arrives: all of them have been confirmed.
type overtaken struct{ *deskOnFake }

func (o overtaken) ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error) {
	list, err := o.fake.ExpiredHolds(ctx, limit)
	for range list.Holds {
		if _, err := o.book("k", models.KindConfirm, 0); err != nil {
			o.t.Error(err)
		}
	}
	return list, err
}

func TestToBeSecondIsNoTrouble(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		var log bytes.Buffer
		s := NewSweeper(b.config(zerolog.New(&log)), overtaken{b}, recovered{}, b, b.desk)
		b.take("k", 2, time.Second)
		time.Sleep(time.Second + grace)
		if s.sweep(t.Context()); count(t, s) != 0 || log.Len() > 0 || b.state("k") != models.StateRedeemed {
			t.Errorf("%v expired, it is %s, and the log has %s", count(t, s), b.state("k"), &log)
		}
	})
}

// A database that answers and takes no writes lets no shop confirm.
func TestWithoutHeartbeatsNoHoldIsExpired(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, _ *Sweeper) {
		b.take("k", 1, 20*time.Second)
		b.fail(func(call string) error {
			if call == "Heartbeat" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		time.Sleep(time.Minute)
		if got := b.state("k"); got != models.StateHeld {
			t.Errorf("it is %s", got)
		}
		b.fail(nil)
		time.Sleep(chance - sweepEvery)
		if _, err := b.book("k", models.KindConfirm, 0); err != nil {
			t.Errorf("confirmed in time: %v", err)
		}
	})
}

// What takes long is not a silence.
func TestASlowDatabaseIsSweptOn(t *testing.T) {
	sweep(t, func(t *testing.T, b *deskOnFake, _ *Sweeper) {
		b.take("k", 1, time.Second)
		b.take("l", 1, 4*time.Second)
		b.fail(func(call string) error {
			if call == "Settle" {
				time.Sleep(silence + sweepEvery)
			}
			return nil
		})
		time.Sleep(4*time.Second + grace + silence + 4*sweepEvery)
		if k, l := b.state("k"), b.state("l"); k != models.StateExpired || l != models.StateExpired {
			t.Errorf("they are %s and %s", k, l)
		}
	})
}
