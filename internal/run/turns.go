package run

import "context"

// Turns bounds how many of something run at once. The one that asked first has the next turn. Make it with NewTurns.
type Turns struct{ taken chan struct{} }

// NewTurns makes Turns of which atOnce can be taken.
func NewTurns(atOnce int) Turns { return Turns{make(chan struct{}, atOnce)} }

// Take waits for a turn, which End ends. It gives false when ctx ended first.
func (t Turns) Take(ctx context.Context) bool { return t.TakeUnless(ctx, nil) }

// TakeUnless is Take that also gives false when something comes from instead.
func (t Turns) TakeUnless(ctx context.Context, instead <-chan struct{}) bool {
	select {
	case t.taken <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	case <-instead:
		return false
	}
}

// End ends a turn that was taken.
func (t Turns) End() { <-t.taken }
