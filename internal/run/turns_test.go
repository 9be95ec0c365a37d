package run_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tranche/internal/run"
)

func TestTurnsBoundWhatRunsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		turns := run.NewTurns(2)
		began := time.Now()
		var wg sync.WaitGroup
		for range 6 {
			wg.Go(func() {
				if turns.Take(t.Context()) {
					time.Sleep(time.Second)
					turns.End()
				}
			})
		}
		wg.Wait()
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("6 turns of a second, 2 at once, took %s", took)
		}
	})
}

func TestATurnIsNotWaitedForInVain(t *testing.T) {
	turns := run.NewTurns(1)
	turns.Take(t.Context())
	ctx, cancel := context.WithCancel(t.Context())
	instead := make(chan struct{}, 1)
	instead <- struct{}{}
	if turns.TakeUnless(ctx, instead) {
		t.Error("took a turn that somebody has")
	}
	cancel()
	if turns.Take(ctx) {
		t.Error("took a turn that somebody has")
	}
}

func TestTroubleIsReportedOnceWhenItBegins(t *testing.T) {
	var trouble run.Trouble
	fault := errors.New("a fault")
	for i, c := range []struct {
		err  error
		want bool
	}{{nil, false}, {fault, true}, {fault, false}, {nil, false}, {fault, true}} {
		if got := trouble.Begins(c.err); got != c.want {
			t.Errorf("%d: %v begins: %t", i, c.err, got)
		}
	}
}
