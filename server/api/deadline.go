package api

import (
	"context"
	"sync"
	"time"
)

// A deadline is a context that ends when its request must be decided, when the client has hung up, or once it is answered; the first
// two within a tick.
type deadline struct {
	context.Context // the request's, which ends when the client hangs up
	at              time.Time
	shared          *deadlines

	mu   sync.Mutex
	done chan struct{} // nil: nobody has waited yet
	err  error
}

// Deadline implements context.Context.
func (d *deadline) Deadline() (time.Time, bool) { return d.at, true }

// Done implements context.Context.
func (d *deadline) Done() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.done == nil {
		d.done = make(chan struct{})
		if d.err == nil {
			d.err = d.over(d.shared.now())
		}
		if d.err != nil {
			close(d.done)
		} else {
			d.shared.watch(d)
		}
	}
	return d.done
}

// Err implements context.Context.
func (d *deadline) Err() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		if err := d.over(d.shared.now()); err != nil {
			d.finish(err)
		}
	}
	return d.err
}

// over says why the request is over, unless it isn't.
func (d *deadline) over(now time.Time) error {
	if !now.Before(d.at) {
		return context.DeadlineExceeded
	}
	return d.Context.Err()
}

// stop ends the context: the request is answered.
func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil {
		d.finish(context.Canceled)
	}
}

// finish is called with mu held.
func (d *deadline) finish(err error) {
	d.err = err
	if d.done != nil {
		close(d.done)
		d.shared.forget(d)
	}
}

// deadlines looks which requests are over, a few dozen times a second, at all together that somebody waits with. A timer for each, and a
// place among the children of its request's context, would be a twentieth of what a redemption costs that waits for its commit.
type deadlines struct {
	now func() time.Time

	mu      sync.Mutex // a deadline's comes first
	waiting map[*deadline]struct{}
	ticking bool
}

const deadlineTick = 20 * time.Millisecond

func (s *deadlines) watch(d *deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		s.waiting = map[*deadline]struct{}{}
	}
	s.waiting[d] = struct{}{}
	if !s.ticking {
		s.ticking = true
		time.AfterFunc(deadlineTick, s.tick)
	}
}

func (s *deadlines) forget(d *deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, d)
}

// tick ends the requests that are over, and comes again while there are others.
func (s *deadlines) tick() {
	for _, d := range s.ended() {
		_ = d.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ticking = len(s.waiting) > 0
	if s.ticking {
		time.AfterFunc(deadlineTick, s.tick)
	}
}

func (s *deadlines) ended() (ended []*deadline) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.waiting) == 0 {
		return nil
	}
	now := s.now()
	for d := range s.waiting {
		if d.over(now) != nil {
			ended = append(ended, d)
		}
	}
	return ended
}
