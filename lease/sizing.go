package lease

import (
	"math"
	"time"
)

// Appetite is what a node would like to lease of one offer.
type Appetite struct {
	Waiting []int64 // units of each waiting request, first come first
	Want    int64   // units for the time to come
}

const (
	// horizon is how far ahead a block should reach, at the rate of late.
	horizon = 10 * time.Second
	// shares is into how many parts each node divides what is left: a grant takes one, so grants shrink with the budget,
	// and all nodes together can strand at most a quarter of it.
	shares = 4
)

// Want is what a node that has been redeeming rate units a second should lease at once, at most size.
// A node that doesn't adapt always wants size.
func Want(adaptive bool, rate float64, size int64) int64 {
	if !adaptive {
		return size
	}
	want := math.Ceil(rate * horizon.Seconds())
	return int64(max(1, min(want, float64(size))))
}

// Size decides how many units to grant, of unallocated ones that activeNodes share. Waiting requests are served as far as they
// fit, first come first; beyond them a node gets what it wants, as long as that is only its share of what is left. So the last
// units go exactly to those who wait, and a request larger than any block is served too.
func Size(unallocated, activeNodes int64, a Appetite) int64 {
	if unallocated <= 0 {
		return 0
	}
	return max(fit(a.Waiting, unallocated), min(a.Want, Share(unallocated, activeNodes)))
}

// Share is the most that a node gets for the time to come. Where that is less than it wants, the budget is in its tail.
func Share(unallocated, activeNodes int64) int64 { return unallocated / (shares * max(1, activeNodes)) }

// fit adds up the requests that can be served, each in turn, out of units.
func fit(waiting []int64, units int64) int64 {
	var sum int64
	for _, n := range waiting {
		if n <= units-sum {
			sum += n
		}
	}
	return sum
}

// Tail is how many unallocated units the end of a budget begins at: with fewer, nodes that want that many each get less.
func Tail(activeNodes, want int64) int64 { return shares * max(1, activeNodes) * want }

// RefillBelow is how many units must be left of a grant for the next one not to be asked for yet: half of it, or what is spent in the
// time that grants take. In the tail nothing is fetched ahead, since others may be waiting for those units.
func RefillBelow(granted, ahead int64) int64 { return max(granted/2, min(ahead, granted)) }

// Margin is how much earlier than the database an owner takes its lease for ended: for clocks that run at different speeds,
// and for a spend that is on its way.
func Margin(ttl time.Duration) time.Duration { return max(time.Second, ttl/20) }

// IdleWithin is the longest that a lease is kept that nobody spends from any more: it may have been renewed once for its last spend.
func IdleWithin(ttl time.Duration) time.Duration { return ttl/3 + ttl - Margin(ttl) + 2*maintainEvery }

// ReclaimedWithin is the longest that a lease outlives its owner, while the database serves. Reapers watch it from the last quarter of
// its time to live on, so that they have watched for long enough when its grace is over.
func ReclaimedWithin(ttl time.Duration) time.Duration { return ttl + Grace(ttl) + 2*longestPause }

// Grace is how long past its end a lease is left to its owner.
func Grace(ttl time.Duration) time.Duration { return max(2*time.Second, ttl/4) }
