// Package run has what loops and their work share: a period with jitter, a pause that grows with each failure, a bounded number of
// turns, and a report of trouble once it begins.
//
// A loop is a function Run(ctx) of its owner around a function that does the work once, so that tests call the latter.
// Loops end when their context does; nothing here starts a goroutine.
package run

import (
	"context"
	"math/rand/v2"
	"time"
)

// Every calls once, and again each time about interval has passed since it returned, until ctx ends.
// The jitter of a tenth keeps nodes that started together from asking the database together for ever.
func Every(ctx context.Context, interval time.Duration, once func(context.Context)) {
	Paced(ctx, func() time.Duration { return interval }, once)
}

// Paced is Every with an interval that is asked for anew each time.
func Paced(ctx context.Context, interval func() time.Duration, once func(context.Context)) {
	for {
		once(ctx)
		if !Pause(ctx, jitter(interval(), 10)) {
			return
		}
	}
}

// Pause waits for d, or until ctx ends; then it gives false.
func Pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Backoff is the pause between attempts of something that fails: it doubles from Min to Max, with a jitter of a quarter.
// The zero value is not useful; a Backoff is for one goroutine.
type Backoff struct {
	Min, Max time.Duration
	next     time.Duration
}

// Wait pauses before the next attempt. It gives false when ctx ended.
func (b *Backoff) Wait(ctx context.Context) bool {
	b.next = min(max(2*b.next, b.Min), b.Max)
	return Pause(ctx, jitter(b.next, 4))
}

// jitter moves d by up to a part-th of it, either way.
func jitter(d time.Duration, part int64) time.Duration {
	spread := int64(d) / part
	if spread <= 0 {
		return d
	}
	return d - time.Duration(spread) + time.Duration(rand.Int64N(2*spread))
}
