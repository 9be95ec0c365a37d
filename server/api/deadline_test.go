package api

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestADeadlineEndsAsItsContextWould(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(d *deadline, hangUp context.CancelFunc)
		want error
	}{
		"not yet":      {func(*deadline, context.CancelFunc) {}, nil},
		"time is over": {func(*deadline, context.CancelFunc) { time.Sleep(time.Second) }, context.DeadlineExceeded},
		"client gone":  {func(_ *deadline, hangUp context.CancelFunc) { hangUp() }, context.Canceled},
		"answered":     {func(d *deadline, _ context.CancelFunc) { d.stop() }, context.Canceled},
	} {
		for _, waits := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				client, hangUp := context.WithCancel(t.Context())
				defer hangUp()
				d := &deadline{Context: client, at: time.Now().Add(time.Second), now: time.Now}
				defer d.stop()
				if waits {
					d.Done()
				}
				c.end(d, hangUp)
				synctest.Wait()
				if err := d.Err(); !errors.Is(err, c.want) {
					t.Errorf("%s, somebody waits: %v: %v", name, waits, err)
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
				child, cancel := context.WithTimeout(d, time.Hour)
				defer cancel()
				if at, _ := child.Deadline(); !at.Equal(d.at) || !errors.Is(child.Err(), c.want) {
					t.Errorf("%s: a child that ends at %s: %v", name, at, child.Err())
				}
			})
		}
	}
}
