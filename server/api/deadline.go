package api

import (
	"context"
	"sync"
	"time"
)

// A deadline is a context.WithDeadline that makes its timer when somebody first waits for it. A redemption from a journal never does,
// and timers of all requests would be a good part of what one costs.
type deadline struct {
	context.Context // the request's, which ends when the client hangs up
	at              time.Time
	now             func() time.Time

	mu      sync.Mutex
	timed   context.Context // nil: nobody has waited yet
	cancel  context.CancelFunc
	stopped bool
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} { return d.timer().Done() }

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	timed, stopped := d.timed, d.stopped
	d.mu.Unlock()
	switch {
	case timed != nil:
		return timed.Err()
	case stopped:
		return context.Canceled
	case !d.now().Before(d.at):
		return context.DeadlineExceeded
	default:
		return d.Context.Err()
	}
}

func (d *deadline) timer() context.Context {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timed == nil {
		d.timed, d.cancel = context.WithTimeout(d.Context, d.at.Sub(d.now()))
		if d.stopped {
			d.cancel()
		}
	}
	return d.timed
}

// stop ends the context: the request is answered.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stopped = true
	if d.cancel != nil {
		d.cancel()
	}
}
