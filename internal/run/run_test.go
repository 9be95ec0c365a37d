package run

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryGoesOnUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls := 0
		Every(ctx, time.Second, func(context.Context) { calls++ })
		if calls < 54 || calls > 67 {
			t.Errorf("%d calls in a minute of a second each, give or take a tenth", calls)
		}
	})
}

func TestBackoffGrowsToItsMaximum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}
		for _, want := range []time.Duration{10, 20, 40, 80, 100, 100} {
			start := time.Now()
			if !b.Wait(t.Context()) {
				t.Fatal("the context has not ended")
			}
			want *= time.Millisecond
			if got := time.Since(start); got < want*3/4 || got > want*5/4 {
				t.Errorf("paused %s, want about %s", got, want)
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.Wait(ctx) {
			t.Error("the context had ended")
		}
	})
}
