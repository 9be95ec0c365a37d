package report

import "math"

// axis is one of the things that grow, and what is told of it: a plot with a panel per unit.
type axis struct {
	name   string
	title  string
	size   string // what its sizes count
	text   string
	panels []panel
}

type panel struct {
	unit        string
	logarithmic bool
	lines       []line
}

// line is one figure over the sizes.
type line struct {
	name string
	mode string // of the steps that it is about; empty: there is one step per size
	of   func(*Step) float64
}

func (a *axis) file() string { return "growth-" + a.name + ".svg" }

func axes() []axis {
	return []axis{
		{
			Offers, "Offers", "offers", "A node that knows so many offers; at most 100 of them are hot, and share the requests. Every node reads what has changed every 250 ms, " +
				"and all offers every 30 s; the latter is timed once, at its start. Memory is the most that was resident in half a minute of the same rate, after 200 000 redemptions more: a node remembers the latest 16 384, and the keys of eight times as many.",
			[]panel{
				{"MB", false, []line{{name: "memory of a node", of: megabytes}}},
				perRedemption(),
				{"ms", true, []line{{name: "sync of what has changed", of: perSync}, {name: "sync of all offers", of: func(s *Step) float64 { return s.FirstSync }}}},
				latency(),
			},
		},
		{
			Users, "Users", "users", "One strict offer with a limit per user, of whom so many have a counter already. Each request is from one of them, anywhere in the table.",
			[]panel{perRedemption(), settling(), latency()},
		},
		{
			Ledger, "Ledger", "entries", "One strict offer with so many entries already, and the closed leases that they were spent from. The readers ask one at a time, " +
				"after the redemptions.",
			[]panel{perRedemption(), settling(), latency(), {"ms at the median", true, reads()}},
		},
		{
			Nodes, "Nodes", "nodes", "The same rate over more and more nodes, one offer, for three times as long. A node leases what it uses in ten seconds, so the offer's row should see no more than a " +
				"fifth of a transaction a second for each of them. The nodes' journals are in memory here: each would have a disk of its own, and on one they would queue. Memory is that of so short a run.",
			[]panel{
				{"a second", true, []line{
					{name: "transactions on the offer's row", of: func(s *Step) float64 { return perSecond(s, s.Transactions) }},
					{name: "nodes / 5", of: func(s *Step) float64 { return float64(s.Size) / 5 }},
					{name: "syncs", of: func(s *Step) float64 { return perSecond(s, s.Syncs) }},
				}},
				{"ms of CPU a second", false, []line{
					{name: "all nodes", of: func(s *Step) float64 { return 1e3 * s.ServerCPU / s.Seconds }},
					{name: "database", of: func(s *Step) float64 { return 1e3 * s.DatabaseCPU / s.Seconds }},
				}},
				latency(),
				{"open", false, []line{{name: "connections to the database", of: func(s *Step) float64 { return float64(s.Connections) }}}},
				{"MB", false, []line{{name: "memory of all nodes", of: megabytes}}},
			},
		},
		{
			Leases, "Lease size", "lease size", "As many redemptions as 64 connections get through. Nodes lease no more at a time than this, so below what they use in ten seconds it is " +
				"this setting that decides how often the offer's row is locked.",
			[]panel{
				{"redemptions a second", true, []line{
					{"fast", "fast", func(s *Step) float64 { return s.Rate }},
					{"strict", "strict", func(s *Step) float64 { return s.Rate }},
				}},
				{"transactions on the offer's row per 1000", true, []line{
					{"fast", "fast", perThousand},
					{"strict", "strict", perThousand},
				}},
				{"ms, 99th percentile", true, []line{
					{"fast", "fast", func(s *Step) float64 { return s.P99 }},
					{"strict", "strict", func(s *Step) float64 { return s.P99 }},
				}},
			},
		},
	}
}

func perRedemption() panel {
	return panel{"µs of CPU per redemption", false, []line{
		{name: "node", of: func(s *Step) float64 { return 1e6 * s.ServerCPU / float64(s.Redemptions) }},
		{name: "database", of: func(s *Step) float64 { return 1e6 * s.DatabaseCPU / float64(s.Redemptions) }},
	}}
}

func latency() panel {
	return panel{"ms", false, []line{
		{name: "p50", of: func(s *Step) float64 { return s.P50 }},
		{name: "p99", of: func(s *Step) float64 { return s.P99 }},
	}}
}

func settling() panel {
	return panel{"ms of a transaction", false, []line{
		{name: "settling a batch", of: func(s *Step) float64 { return 1e3 * s.BatchSeconds / float64(s.Batches) }},
		{name: "per entry", of: func(s *Step) float64 { return 1e3 * s.BatchSeconds / float64(s.Entries) }},
	}}
}

// ReadNames are the kinds of reads of axis Ledger, in the order of its table.
var ReadNames = []string{"look-up by id", "by order", "by user", "first page", "page in the middle", "balance"} // read only

func reads() (lines []line) {
	for _, name := range ReadNames {
		lines = append(lines, line{name: name, of: func(s *Step) float64 {
			for _, r := range s.Reads {
				if r.Name == name {
					return r.Milliseconds
				}
			}
			return math.NaN()
		}})
	}
	return lines
}

func megabytes(s *Step) float64 { return float64(s.Memory) / (1 << 20) }

func perSync(s *Step) float64 { return 1e3 * s.SyncSeconds / float64(s.Syncs) }

func perSecond(s *Step, n int64) float64 { return float64(n) / s.Seconds }

func perThousand(s *Step) float64 { return 1e3 * float64(s.Transactions) / float64(s.Redemptions) }
