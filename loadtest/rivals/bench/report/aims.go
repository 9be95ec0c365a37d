package report

import (
	"fmt"
	"strings"

	"tranche/loadtest/rivals/bench/stats"
)

// The contestants that aims are about, by their names in the results.
const (
	Floor       = "floor"
	Fast        = "fast"
	Strict      = "strict"
	StrictLimit = "strict + limit"
	Distant     = "far strict" // 1 ms of network to its database
	Naive       = "naive"
	Redis       = "redis"
)

const (
	// LongConnections is how many connections the sustained runs have.
	LongConnections = 64
	// DistantConnections is where the throughput of a distant contestant has an aim.
	DistantConnections = 256
	// SlowRate is the rate at which times have an aim, in redemptions a second.
	SlowRate = 300
)

// aim is what has to be shown, and what was.
type aim struct {
	what   string
	isMost bool    // the figures are limits from above
	must   float64 // else the run has failed
	aim    float64 // what it should be one day; zero: nothing more than must
	worst  bool    // the worst value decides, not the median
	unit   string
	digits int // behind the point
	got    stats.Summary
}

// reached reports whether the measured value is as good as a figure.
func (a *aim) reached(figure float64) bool {
	switch {
	case a.isMost && a.worst:
		return a.got.Max <= figure
	case a.isMost:
		return a.got.Median <= figure
	default:
		return a.got.Median >= figure
	}
}

// verdict says which of the two figures is reached.
func (a *aim) verdict() string {
	switch {
	case !a.reached(a.must):
		return "no"
	case a.aim > 0 && a.reached(a.aim):
		return "yes, and the aim"
	default:
		return "yes"
	}
}

func (a *aim) write(figure float64) string { return fmt.Sprintf("%.*f", a.digits, figure) }

// limit writes one of the figures.
func (a *aim) limit(figure float64) string {
	sign := "≥ "
	if a.isMost {
		sign = "≤ "
	}
	return sign + a.write(figure) + a.unit
}

// Aims is the table of all that has to be shown, in Markdown; empty if nothing of it was measured.
func (r *Results) Aims() string {
	aims := r.aims()
	if len(aims) == 0 {
		return ""
	}
	t := newTable("what", "must", "aim", "measured", "met")
	for i := range aims {
		a := &aims[i]
		further := "–"
		if a.aim > 0 {
			further = a.limit(a.aim)
		}
		t.row(a.what, a.limit(a.must), further, spread(a.got, a.write)+a.unit, a.verdict())
	}
	return t.String()
}

// aims gives those that were measured. Ratios are taken within a round, where both sides had the same machine.
func (r *Results) aims() (all []aim) {
	add := func(a aim, values []float64) {
		if len(values) > 0 {
			a.got = stats.Summarize(values)
			all = append(all, a)
		}
	}
	throughput := func(ours, theirs string, connections int, must, further float64) {
		add(aim{what: fmt.Sprintf("throughput of %s against %s, %d connections", ours, theirs, connections), must: must, aim: further, digits: 2, unit: " ×"},
			ratios(r.Closed, ours, theirs, connections, (*Closed).Rate))
	}
	tail := func(ours, theirs string, connections int, must float64) {
		add(aim{what: fmt.Sprintf("p99 of %s against %s, %d connections", ours, theirs, connections), isMost: true, must: must, digits: 2, unit: " ×"},
			ratios(r.Closed, ours, theirs, connections, func(c *Closed) float64 { return c.P99 }))
	}
	sustained := func(ours, theirs string, must, further float64) {
		add(aim{what: fmt.Sprintf("sustained throughput of %s against %s, %d connections", ours, theirs, LongConnections), must: must, aim: further, digits: 2, unit: " ×"},
			ratios(r.loops(), ours, theirs, LongConnections, (*Closed).Rate))
	}
	slow := func(ours string, must, further float64) {
		add(aim{what: fmt.Sprintf("p99 of %s at %d/s", ours, SlowRate), isMost: true, must: must, aim: further, digits: 1, unit: " ms"},
			overRounds(r.Open, func(o *Open) bool { return o.Contestant == ours && o.PerSecond == SlowRate && len(o.Quantiles) > 0 },
				func(o *Open) float64 { return o.Quantiles[2] }))
	}
	throughput(StrictLimit, Floor, 256, 0.33, 0.45)
	throughput(Strict, Naive, 64, 8, 12)
	throughput(Strict, Naive, 256, 12, 18)
	tail(Strict, Naive, 64, 0.2)
	tail(Strict, Naive, 256, 0.1)
	throughput(Strict, Redis, 64, 1.75, 2.5)
	throughput(Strict, Redis, 256, 2.5, 3.5)
	sustained(Fast, Floor, 0.50, 0.63)
	sustained(Fast, Redis, 3.2, 4)
	slow(Fast, 3, 2)
	slow(Strict, 10, 5)
	slow(Distant, 15, 10)
	add(aim{what: fmt.Sprintf("throughput of %s, 1 ms from its database, %d connections", Distant, DistantConnections), must: 5000, unit: "/s"},
		overRounds(r.Closed, func(c *Closed) bool { return c.Contestant == Distant && c.Connections == DistantConnections }, (*Closed).Rate))
	ofFast := func(l *Long) bool { return l.Contestant == Fast }
	add(aim{what: "memory under sustained fast, less 1 kB for each unsettled redemption", isMost: true, worst: true, must: 200, aim: 100, unit: " MB"},
		overRounds(r.Long, ofFast, func(l *Long) float64 { return megabyte(l.Memory - l.Unsettled<<10) }))
	add(aim{what: "memory under sustained fast, all of it", isMost: true, worst: true, must: 256, unit: " MB"},
		overRounds(r.Long, ofFast, func(l *Long) float64 { return megabyte(l.Memory) }))
	add(aim{what: "lost, double, oversold, overrun or refused in vain by Tranche, all sales together", isMost: true, worst: true}, r.tranchesFaults())
	return all
}

func megabyte(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// loops are the sustained runs as closed loops.
func (r *Results) loops() (loops []Closed) {
	for i := range r.Long {
		loops = append(loops, r.Long[i].Closed)
	}
	return loops
}

// ratios compares a figure of two contestants, a value per round that has both.
func ratios(runs []Closed, ours, theirs string, connections int, figure func(*Closed) float64) (values []float64) {
	for i := range runs {
		a := &runs[i]
		if a.Contestant != ours || a.Connections != connections {
			continue
		}
		for j := range runs {
			if b := &runs[j]; b.Contestant == theirs && b.Connections == connections && b.Round == a.Round && figure(b) > 0 {
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
