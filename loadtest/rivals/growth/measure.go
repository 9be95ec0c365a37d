package main

import (
	"context"
	"fmt"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/bench/stats"
)

// connections is how many requests can be under way.
const connections = 64

// demand is what is redeemed at the fixed rate.
type demand struct {
	mode   string   // of the offers
	offers []string // wanted in turn
	user   func(i int) string
	times  int // the usual duration
}

// atRate redeems for as long as it measures, and before that for as long again without measuring, until leases are as large as the rate asks for.
func (g *growth) atRate(ctx context.Context, f *fleet, d demand) (s report.Step, err error) {
	first, err := f.read(ctx)
	if err != nil {
		return s, err
	}
	g.open(ctx, f, d)
	before, err := f.settled(ctx)
	if err != nil {
		return s, err
	}
	got := g.open(ctx, f, d)
	if len(got.Sorted) == 0 {
		return s, fmt.Errorf("nothing was acknowledged of %d requests", got.Due)
	}
	s, err = f.since(ctx, &before)
	s.Mode, s.FirstSync = d.mode, 1e3*first.metrics[syncSeconds]/float64(len(f.addrs))
	s.Redemptions, s.Refused = int64(len(got.Sorted)), int64(got.Due-len(got.Sorted))
	s.Rate = float64(s.Redemptions) / g.duration(d.times).Seconds()
	s.P50, s.P99 = milliseconds(stats.Percentile(got.Sorted, 50)), milliseconds(stats.Percentile(got.Sorted, 99))
	return s, err
}

func (g *growth) open(ctx context.Context, f *fleet, d demand) load.Latencies {
	run := g.requests(f, d)
	return run.Start(ctx)
}

func (g *growth) requests(f *fleet, d demand) load.Open {
	return load.Open{
		Addrs: f.addrs, Offers: d.offers, Run: g.fresh(), User: d.user,
		PerSecond: g.Rate, Duration: g.duration(d.times), Grace: g.duration(1), Connections: connections,
	}
}

// asMuch redeems as much as one node can.
func (g *growth) asMuch(ctx context.Context, f *fleet, mode, offer string) (s report.Step, err error) {
	loop := load.Closed{Script: g.Script, URL: "http://" + f.addrs[0], Offer: offer, Connections: connections, Run: g.fresh(), Duration: max(time.Second, g.duration(1)/5)}
	if _, err := loop.Start(ctx); err != nil { // until leases are as large as they get
		return s, err
	}
	before, err := f.settled(ctx)
	if err != nil {
		return s, err
	}
	loop.Run, loop.Duration = g.fresh(), g.duration(1)
	got, err := loop.Start(ctx)
	if err != nil {
		return s, err
	}
	s, err = f.since(ctx, &before)
	s.Mode, s.Redemptions, s.Refused, s.Rate = mode, got.Acknowledged(), got.NotSuccessful+got.Lost, got.Rate()
	s.P50, s.P99 = milliseconds(got.P50), milliseconds(got.P99)
	return s, err
}

// since is what has happened since a reading, once all of it is settled.
func (f *fleet) since(ctx context.Context, before *reading) (s report.Step, err error) {
	after, err := f.settled(ctx)
	if err != nil {
		return s, err
	}
	grown := func(series string) float64 { return after.metrics[series] - before.metrics[series] }
	s = report.Step{
		Seconds: after.at.Sub(before.at).Seconds(), ServerCPU: (after.nodes - before.nodes).Seconds(), DatabaseCPU: (after.database - before.database).Seconds(),
		Transactions: after.metrics.transactions() - before.metrics.transactions(), Syncs: int64(grown(syncs)), SyncSeconds: grown(syncSeconds),
		Batches: int64(grown(batches)), Entries: int64(grown(entries)), BatchSeconds: grown(batchSeconds),
	}
	if s.Memory, err = meter.PeakMemory(f.process.PID()); err != nil {
		return s, err
	}
	err = f.books.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.processlist WHERE db = ?", f.books.name).Scan(&s.Connections)
	s.Connections-- // that one
	return s, err
}

func (g *growth) duration(times int) time.Duration {
	return time.Duration(times*g.SecondsEach) * time.Second
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
