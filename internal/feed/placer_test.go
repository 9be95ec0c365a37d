package feed

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

type ledger struct {
	placings, fillings atomic.Int64
	oldEntries         int64 // fillings that take them all up
	broken             atomic.Bool
}

func (l *ledger) PlaceEntries(_ context.Context, within time.Duration) (int, error) {
	if within <= 0 || within >= placeEvery {
		panic("a node that looks as often as the others must find that a placing is due")
	}
	l.placings.Add(1)
	if l.broken.Load() {
		return 0, errors.New("broken")
	}
	return 0, nil
}

func (l *ledger) FillFeed(context.Context) (bool, error) {
	return l.fillings.Add(1) >= l.oldEntries, nil
}

func TestAPlacerLooksAllTheTimeAndFillsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, log := &ledger{oldEntries: 3}, new(bytes.Buffer)
		var serves atomic.Bool
		serves.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		go NewPlacer(l, serves.Load, zerolog.New(log)).Run(ctx)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if l.placings.Load() < 30 || l.fillings.Load() != 3 {
			t.Errorf("%d placings and %d fillings in ten seconds", l.placings.Load(), l.fillings.Load())
		}
		l.broken.Store(true)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		serves.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		before := l.placings.Load()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if l.placings.Load() != before {
			t.Error("it asked a ledger that does not serve")
		}
		cancel()
		synctest.Wait()
		if n := strings.Count(log.String(), "broken"); n != 1 {
			t.Errorf("logged %d times: %s", n, log)
		}
	})
}
