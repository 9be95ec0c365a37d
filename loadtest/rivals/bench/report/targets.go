package report

import (
	"fmt"
	"strings"

	"tranche/loadtest/rivals/bench/stats"
)

// The contestants that targets are about, by their names in the results.
const (
	Floor       = "floor"
	Fast        = "fast"
	Strict      = "strict"
	StrictLimit = "strict + limit"
	Naive       = "naive"
	Redis       = "redis"
)

// matches are the ratios of throughput that have to be shown.
var matches = []struct { // read only
	ours, theirs string
	connections  int
	goal         float64
}{
	{Fast, Floor, 64, 0.75},
	{StrictLimit, Floor, 256, 0.30},
	{Strict, Naive, 64, 10},
	{Strict, Naive, 256, 16},
	{Strict, Redis, 64, 1.25},
	{Strict, Redis, 256, 2.5},
}

// Matched tells whether a contestant's throughput over so many connections has to be held against another's.
func Matched(contestant string, connections int) bool {
	for _, m := range matches {
		if m.connections == connections && (m.ours == contestant || m.theirs == contestant) {
			return true
		}
	}
	return false
}

// target is what has to be shown, and what was.
type target struct {
	what   string
	most   bool // the goal is a limit from above
	goal   float64
	got    stats.Summary
	format string // of the figures
	unit   string
}

func (t *target) met() bool {
	if t.most {
		return t.got.Median <= t.goal
	}
	return t.got.Median >= t.goal
}

// targets gives those that were measured. Ratios are taken within a turn of a round, where both sides had the same machine.
func (r *Results) targets() (all []target) {
	add := func(t target, values []float64) {
		if len(values) > 0 {
			t.got = stats.Summarize(values)
			all = append(all, t)
		}
	}
	tail := func(goal float64, ours, theirs string, connections int) {
		add(target{what: fmt.Sprintf("p99 of %s against %s, %d connections", ours, theirs, connections), most: true, goal: goal, format: "%.2f", unit: " ×"},
			ratios(r.Closed, ours, theirs, connections, func(c *Closed) float64 { return c.P99 }))
	}
	long := func(goal float64, ours, theirs string) {
		add(target{what: fmt.Sprintf("sustained throughput of %s against %s, %d connections", ours, theirs, LongConnections), goal: goal, format: "%.2f", unit: " ×"},
			ratios(r.Long, ours, theirs, LongConnections, (*Closed).SettledRate))
	}
	slow := func(goal float64, ours string) {
		add(target{what: fmt.Sprintf("p99 of %s at 300/s", ours), most: true, goal: goal, format: "%.1f", unit: " ms"},
			overRounds(r.Open, func(o *Open) bool { return o.Contestant == ours && o.PerSecond == 300 && len(o.Quantiles) > 0 },
				func(o *Open) float64 { return o.Quantiles[2] }))
	}
	for _, m := range matches {
		add(target{what: fmt.Sprintf("throughput of %s against %s, %d connections", m.ours, m.theirs, m.connections), goal: m.goal, format: "%.2f", unit: " ×"},
			ratios(r.Closed, m.ours, m.theirs, m.connections, (*Closed).Rate))
	}
	tail(0.1, Strict, Naive, 64)
	tail(0.1, Strict, Naive, 256)
	long(0.50, Fast, Floor)
	long(4, Fast, Redis)
	slow(3, Fast)
	slow(10, Strict)
	add(target{what: "lost, double, oversold, overrun or refused in vain by Tranche, all sales together", most: true, format: "%.0f"}, r.tranchesFaults())
	return all
}

// LongConnections is how many connections the sustained runs have.
const LongConnections = 64

// ratios compares a figure of two contestants, a value per turn that has both.
func ratios(runs []Closed, ours, theirs string, connections int, figure func(*Closed) float64) (values []float64) {
	for i := range runs {
		a := &runs[i]
		if a.Contestant != ours || a.Connections != connections {
			continue
		}
		for j := range runs {
			if b := &runs[j]; b.Contestant == theirs && b.Connections == connections && b.Round == a.Round && b.Turn == a.Turn && figure(b) > 0 {
				values = append(values, figure(a)/figure(b))
			}
		}
	}
	return values
}

// tranchesFaults sums up over all sales; nothing if there was none.
func (r *Results) tranchesFaults() []float64 {
	faults, sales := 0.0, 0
	for _, t := range r.Trials {
		if t.Contestant == Fast || t.Contestant == "available" || strings.HasPrefix(t.Contestant, Strict) {
			faults += float64(t.Lost+t.Double+t.Refused) + float64(t.Oversold+t.Overrun)
			sales++
		}
	}
	if sales == 0 {
		return nil
	}
	return []float64{faults}
}
