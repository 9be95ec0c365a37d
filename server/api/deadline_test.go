package api

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestADeadlineEndsWithItsTimeOrItsRequest(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(d *deadline, hangUp context.CancelFunc)
		want error
	}{
		"not yet":      {func(*deadline, context.CancelFunc) { time.Sleep(time.Second - time.Nanosecond) }, nil},
		"time is over": {func(*deadline, context.CancelFunc) { time.Sleep(time.Second) }, context.DeadlineExceeded},
		"client gone":  {func(_ *deadline, hangUp context.CancelFunc) { hangUp() }, context.Canceled},
		"answered":     {func(d *deadline, _ context.CancelFunc) { d.stop() }, context.Canceled},
		"answered late": {func(d *deadline, _ context.CancelFunc) {
			time.Sleep(2 * time.Second)
			_ = d.Err()
			d.stop()
		}, context.DeadlineExceeded},
	} {
		for _, waits := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				client, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				all := deadlines{now: time.Now}
				d := &deadline{Context: client, at: time.Now().Add(time.Second), shared: &all}
				defer d.stop()
				if waits {
					d.Done()
				}
				c.end(d, hangUp)
				if waits {
					_ = d.Err() // or it would be noticed at the next tick
				}
				select {
				case <-d.Done():
					if c.want == nil {
						t.Errorf("%s, somebody waits: %v: done", name, waits)
					}
				default:
					if c.want != nil {
						t.Errorf("%s, somebody waits: %v: not done", name, waits)
					}
				}
				if err := d.Err(); !errors.Is(err, c.want) {
					t.Errorf("%s, somebody waits: %v: %v", name, waits, err)
				}
				child, cancel := context.WithTimeout(d, time.Hour)
				defer cancel()
				if at, _ := child.Deadline(); !at.Equal(d.at) || !errors.Is(child.Err(), c.want) {
					t.Errorf("%s: a child that ends at %s: %v", name, at, child.Err())
				}
				d.stop()
				if len(all.waiting) != 0 {
					t.Errorf("%s, somebody waits: %v: it is looked at after its end", name, waits)
				}
			})
		}
	}
}

// A request that is answered at the moment at which it is over ends once.
func TestADeadlineIsStoppedWhileItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := deadlines{now: time.Now}
		var crowd sync.WaitGroup
		for range 1000 {
			d := &deadline{Context: t.Context(), at: time.Now().Add(deadlineTick), shared: &all}
			crowd.Go(func() {
				select {
				case <-d.Done():
				case <-time.After(deadlineTick):
				}
				d.stop()
				<-d.Done()
			})
		}
		crowd.Wait()
		if len(all.waiting) != 0 {
			t.Errorf("%d are looked at after their end", len(all.waiting))
		}
	})
}

// Each waiter is woken within a tick of its own time, and nothing ticks when nobody waits.
func TestDeadlinesWakeThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := deadlines{now: time.Now}
		client, hangUp := context.WithCancel(t.Context())
		began := time.Now()
		var crowd sync.WaitGroup
		wait := func(ctx context.Context, timeout, want time.Duration, wantErr error) {
			d := &deadline{Context: ctx, at: time.Now().Add(timeout), shared: &all}
			child, cancel := context.WithTimeout(d, time.Hour) // as the store makes one for each call
			crowd.Go(func() {
				defer cancel()
				<-child.Done()
				if late := time.Since(began) - want; late < 0 || late > deadlineTick {
					t.Errorf("woken after %s, want %s", time.Since(began), want)
				}
				if err := child.Err(); !errors.Is(err, wantErr) {
					t.Error(err)
				}
			})
		}
		for i := range 100 {
			timeout := time.Duration(i) * 7 * time.Millisecond
			wait(t.Context(), timeout, timeout, context.DeadlineExceeded)
		}
		wait(client, time.Hour, time.Second, context.Canceled)
		time.Sleep(time.Second)
		hangUp()
		crowd.Wait()
		time.Sleep(deadlineTick)
		synctest.Wait()
		if all.ticking {
			t.Error("it ticks, and nobody waits")
		}
		time.Sleep(time.Minute)
		began = time.Now()
		wait(t.Context(), time.Second, time.Second, context.DeadlineExceeded)
		crowd.Wait()
	})
}
