package lease

import (
	"math"
	"time"
)

// demand measures how fast an offer is spent on this node, and what a grant costs, from grant to grant.
type demand struct {
	rate     float64       // units a second, averaged over the horizon: what is longer ago counts less and less
	cost     time.Duration // how long a grant takes, of late
	measured time.Time
	spent    int64 // at measured, ever
}

// measure looks at what was spent since the last time; spent counts from the beginning.
func (d *demand) measure(now time.Time, spent int64) {
	if elapsed := now.Sub(d.measured); !d.measured.IsZero() && elapsed > 0 {
		lately := float64(max(0, spent-d.spent)) / elapsed.Seconds()
		weight := 1 - math.Exp(-elapsed.Seconds()/horizon.Seconds())
		d.rate += weight * (lately - d.rate)
	}
	d.measured, d.spent = now, spent
}

// took notes how long a grant took.
func (d *demand) took(cost time.Duration) { d.cost = (d.cost + cost) / 2 }

// ahead is what is spent in the time of four grants, in units: with less than that left, the next block may come too late.
func (d *demand) ahead() int64 { return int64(d.rate * (4 * d.cost).Seconds()) }
