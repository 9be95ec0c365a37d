package report

import (
	"fmt"
	"math"
	"strings"

	"tranche/loadtest/rivals/bench/stats"
)

// markdown writes the whole report.
func (r *Results) markdown() string {
	var out strings.Builder
	m := &r.Machine
	fmt.Fprintf(&out, "# Against the rivals\n\nWritten by `make bench`; the figures are in `results.json`, too.\n\n")
	fmt.Fprintf(&out, "%s, %d cores, %d GB, Linux %s, %s. %s. %s. %s.\n\n", m.CPU, m.Cores, m.MemoryGB, m.Kernel, m.Go, m.Database, m.Redis, m.Date.Format("January 2006"))
	fmt.Fprintf(&out, "Servers, databases and the load generator share these cores: compare, don't quote. A figure is the median of %d rounds, with the least and the most "+
		"in parentheses. Within a round, all contestants take turns at each step. "+
		"`loadtest/rivals/rival` says what the rivals are, and what each gives and loses.\n", r.Rounds)
	for _, section := range []func() string{r.aimTable, r.throughput, r.latency, r.distance, r.costs, r.sustained, r.correctness} {
		out.WriteString(section())
	}
	return out.String()
}

func (r *Results) aimTable() string {
	table := r.Aims()
	if table == "" {
		return ""
	}
	return "\n## What it must show\n\nRatios are taken within a round. The median decides; for memory and for the books the worst value does. " +
		"`naive` is a transaction on the hot row, `redis` is Redis counters and a log.\n\n" + table
}

// distance says what the network of the distant contestant is, and what it costs here.
func (r *Results) distance() string {
	if r.Distant == 0 {
		return ""
	}
	text := fmt.Sprintf("\n## A database 1 ms away\n\nThe node of `%s` reaches its database through a relay on this machine, which hands every byte on half a millisecond late. "+
		"A statement that does nothing takes %.2f ms directly, and %.2f ms through the relay.", Distant, r.Direct, r.Distant)
	cpu := r.closed(Distant, DistantConnections, func(c *Closed) float64 { return 1e6 * c.RelayCPU / float64(c.Acknowledged) }).Median
	if !math.IsNaN(cpu) {
		text += fmt.Sprintf(" The relay takes %.0f µs of CPU a redemption from the cores that it shares, over %d connections: a real network takes none, so the figures are too low.", cpu, DistantConnections)
	}
	return text + "\n"
}

func (r *Results) throughput() string {
	if len(r.Closed) == 0 {
		return ""
	}
	rate := func(s stats.Summary) string { return spread(s, count) }
	p99 := func(s stats.Summary) string {
		return spread(s, func(v float64) string { return fmt.Sprintf("%.1f", v) })
	}
	return fmt.Sprintf("\n## Throughput\n\nRedemptions a second over so many connections, each with a new key and a new user, in runs of %d s. The time until the last one is settled counts.\n\n"+
		"![Throughput](throughput.svg)\n\n", r.Seconds) + r.overConnections((*Closed).Rate, rate) +
		"\nThe 99th percentile of the time to the answer meanwhile, in milliseconds.\n\n" +
		r.overConnections(func(c *Closed) float64 { return c.P99 }, p99) + r.losses()
}

// overConnections is a table with a row per contestant and a column per number of connections.
func (r *Results) overConnections(figure func(*Closed) float64, format func(stats.Summary) string) string {
	t := newTable("connections")
	for _, n := range r.connections() {
		t.column(count(float64(n)))
	}
	for _, c := range r.Contestants {
		cells := []string{c}
		for _, n := range r.connections() {
			cells = append(cells, format(r.closed(c, n, figure)))
		}
		t.row(cells...)
	}
	return t.String()
}

// losses tells of runs that were not all acknowledged.
func (r *Results) losses() string {
	var out strings.Builder
	for _, runs := range [][]Closed{r.Closed, r.loops()} {
		for i := range runs {
			if c := &runs[i]; c.Requests != c.Acknowledged || c.Lost > 0 {
				fmt.Fprintf(&out, "\nRound %d, %s, %d connections: %s of %s requests were answered with an error, and %s not at all.\n",
					c.Round+1, c.Contestant, c.Connections, count(float64(c.Requests-c.Acknowledged)), count(float64(c.Requests)), count(float64(c.Lost)))
			}
		}
	}
	return out.String()
}

func (r *Results) latency() string {
	if len(r.Open) == 0 {
		return ""
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n## Latency at a fixed rate\n\nMilliseconds from the moment at which a request was due until its answer, in runs of %d s. "+
		"What the generator itself adds shows in the floor's row.\n", r.Seconds)
	for _, rate := range r.rates() {
		t := newTable("")
		for _, p := range Percents {
			t.column(fmt.Sprintf("p%v", p))
		}
		for _, c := range r.Contestants {
			t.row(r.latencyRow(c, rate)...)
		}
		fmt.Fprintf(&out, "\n### %s a second\n\n![Latency at %d/s](latency-%d.svg)\n\n%s", count(float64(rate)), rate, rate, &t)
	}
	return out.String()
}

func (r *Results) latencyRow(contestant string, rate int) []string {
	cells := []string{contestant}
	wanted := func(o *Open) bool { return o.Contestant == contestant && o.PerSecond == rate }
	unheld := overRounds(r.Open, func(o *Open) bool { return wanted(o) && !o.Held }, func(o *Open) float64 { return float64(o.Served) / float64(o.Due) })
	if len(unheld) > 0 {
		return append(cells, fmt.Sprintf("not held: %.0f %% served in time", 100*stats.Summarize(unheld).Median), "", "", "")
	}
	for i := range Percents {
		cells = append(cells, spread(stats.Summarize(overRounds(r.Open, wanted, func(o *Open) float64 { return o.Quantiles[i] })),
			func(v float64) string { return fmt.Sprintf("%.2f", v) }))
	}
	return cells
}

func (r *Results) costs() string {
	const connections = 64
	t := newTable("", "server, µs of CPU", "databases, µs of CPU", "statements", "row lock waits", "server, MB", "Redis, MB")
	found := false
	for _, c := range r.Contestants {
		per := func(of func(*Closed) float64) stats.Summary {
			return r.closed(c, connections, func(c *Closed) float64 { return of(c) / float64(c.Acknowledged) })
		}
		if math.IsNaN(per((*Closed).Rate).Median) {
			continue // it took no part over so many connections
		}
		found = true
		memory := func(of func(*Memory) int64) string {
			peak := stats.Summarize(overRounds(r.Memory, func(m *Memory) bool { return m.Contestant == c }, func(m *Memory) float64 { return float64(of(m)) })).Max
			if peak == 0 || math.IsNaN(peak) {
				return "–"
			}
			return fmt.Sprintf("%.0f", peak/(1<<20))
		}
		t.row(c,
			fmt.Sprintf("%.0f", 1e6*per(func(c *Closed) float64 { return c.ServerCPU }).Median),
			fmt.Sprintf("%.0f", 1e6*per(func(c *Closed) float64 { return c.DatabaseCPU }).Median),
			fmt.Sprintf("%.2f", per(func(c *Closed) float64 { return float64(c.Statements) }).Median),
			fmt.Sprintf("%.3f", per(func(c *Closed) float64 { return float64(c.LockWaits) }).Median),
			memory(func(m *Memory) int64 { return m.Server }), memory(func(m *Memory) int64 { return m.Redis }))
	}
	if !found {
		return ""
	}
	return fmt.Sprintf("\n## What one redemption costs\n\nOver %d connections, until everything is settled. Memory is the most that was resident over the shorter runs of "+
		"a round.\n\n![CPU time](cpu.svg)\n\n", connections) + t.String()
}

func (r *Results) sustained() string {
	if len(r.Long) == 0 {
		return ""
	}
	t := newTable("", "acknowledged, per second", "settled after", "settled, per second", "unsettled at most", "server, MB")
	for _, c := range r.Contestants {
		figure := func(of func(*Long) float64) stats.Summary {
			return stats.Summarize(overRounds(r.Long, func(l *Long) bool { return l.Contestant == c }, of))
		}
		if math.IsNaN(figure(func(l *Long) float64 { return l.Seconds }).Median) {
			continue
		}
		t.row(c, spread(figure(func(l *Long) float64 { return l.AnsweredRate() }), count),
			spread(figure(func(l *Long) float64 { return l.Settling }), func(v float64) string { return fmt.Sprintf("%.1f s", v) }),
			spread(figure(func(l *Long) float64 { return l.Rate() }), count),
			spread(figure(func(l *Long) float64 { return float64(l.Unsettled) }), count),
			spread(figure(func(l *Long) float64 { return megabyte(l.Memory) }), count))
	}
	return fmt.Sprintf("\n## Sustained\n\n%d s over %d connections, and the time after that until everything acknowledged was in the database. "+
		"Memory is the most that was resident meanwhile.\n\n", r.Sustained, LongConnections) + t.String()
}

func (r *Results) correctness() string {
	if len(r.Trials) == 0 {
		return ""
	}
	first := &r.Trials[0]
	t := newTable("", "the server", "sold", "lost", "double", "oversold", "over a limit", "refused in vain", "drift", "left open")
	for i := range r.Trials {
		v := &r.Trials[i]
		server := "runs"
		if v.Killed {
			server = "is killed"
		}
		t.row(v.Contestant, server, count(float64(v.Acknowledged)), fmt.Sprint(v.Lost), fmt.Sprint(v.Double), fmt.Sprint(v.Oversold), fmt.Sprint(v.Overrun),
			fmt.Sprint(v.Refused), fmt.Sprint(v.Drift), fmt.Sprint(v.Open))
	}
	return fmt.Sprintf("\n## Are the books right?\n\n%s orders for %s units, 64 customers at once. Some click twice, ask again, order twice under two keys, or give back. "+
		"In every second sale the server is killed three times (`kill -9`) in the middle and started again, and one in three of those whose answer was lost "+
		"does not come back: those are left open. `loadtest/rivals/bench/trial` says how each figure is proved.\n\n", count(float64(first.Orders)), count(float64(first.Budget))) + t.String()
}

// spread writes a summary: the median, and the extremes if there are any.
func spread(s stats.Summary, format func(float64) string) string {
	if math.IsNaN(s.Median) {
		return "–"
	}
	if s.Min == s.Max {
		return format(s.Median)
	}
	return fmt.Sprintf("%s (%s–%s)", format(s.Median), format(s.Min), format(s.Max))
}

// count writes a whole number with its thousands set apart.
func count(v float64) string {
	if math.IsNaN(v) {
		return "–"
	}
	digits := fmt.Sprintf("%.0f", v)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + " " + digits[i:]
	}
	return digits
}
