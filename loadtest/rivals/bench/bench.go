package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/machine"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/network"
	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/bench/stats"
	"tranche/loadtest/rivals/bench/trial"
	"tranche/loadtest/rivals/redisserver"
)

// What the offer of the measurements is like: it is never sold out, and what Tranche leases at a time lasts for seconds.
const (
	plenty    = 1_000_000_000
	leaseSize = 100_000
)

// bench is one run of the program.
//
// A round starts all contestants with empty books, so that no round finds larger tables than the one before. Then, step by step, the contestants
// take turns: what is compared was measured within the same minute or two. The others stand by meanwhile and do next to nothing.
type bench struct {
	*settings
	contestants []contestant
	database    *meter.Database
	results     *report.Results
	runs        int // so far: they must not use each other's keys
}

func newBench(ctx context.Context, s *settings, contestants []contestant) (*bench, error) {
	if _, err := exec.LookPath("wrk"); err != nil {
		return nil, err
	}
	db, err := meter.OpenDatabase(ctx, s.DSN)
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	if err := checkConnections(ctx, db, contestants); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	m, err := machine.Describe(ctx, db)
	if err == nil {
		m.Redis, err = redisserver.Version(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	b := &bench{settings: s, contestants: contestants, database: db, results: &report.Results{
		Machine: m, Rounds: s.Rounds, Seconds: s.SecondsEach, Sustained: s.SecondsSustained,
	}}
	for _, c := range contestants {
		b.results.Contestants = append(b.results.Contestants, c.name)
	}
	return b, nil
}

// checkConnections fails if not all contestants' pools fit into the server: who finds no connection would only look slow.
func checkConnections(ctx context.Context, db *meter.Database, contestants []contestant) error {
	const ours = 16
	needed, allowed := ours, 0
	for i := range contestants {
		needed += contestants[i].connections()
	}
	if err := db.QueryRowContext(ctx, "SELECT @@max_connections").Scan(&allowed); err != nil {
		return err
	}
	if allowed < needed {
		return fmt.Errorf("the database server allows %d connections, and the contestants may need %d: raise its max_connections", allowed, needed)
	}
	return nil
}

func (b *bench) close() { _ = b.database.Close() }

func (b *bench) run(ctx context.Context) error {
	if err := b.measureNetwork(ctx); err != nil {
		return err
	}
	for round := range b.Rounds {
		if err := b.round(ctx, round); err != nil {
			return err
		}
	}
	return b.sales(ctx)
}

// measureNetwork notes how long a statement takes that does nothing, directly and through the relay.
func (b *bench) measureNetwork(ctx context.Context) (err error) {
	relay, err := network.Listen(b.database.Addr(), networkDelay)
	if err != nil {
		return err
	}
	defer relay.Close()
	var direct, distant time.Duration
	if direct, err = b.database.RoundTrip(ctx, b.database.Addr()); err != nil {
		return err
	}
	if distant, err = b.database.RoundTrip(ctx, relay.Addr()); err != nil {
		return err
	}
	b.results.Direct, b.results.Distant = inMilliseconds(direct), inMilliseconds(distant)
	return nil
}

// round measures everything once.
func (b *bench) round(ctx context.Context, round int) error {
	var servers []*server
	defer func() {
		for _, v := range servers {
			v.stop(ctx)
		}
	}()
	// Each round begins with another contestant, so that none always comes after the same neighbour.
	for i := range b.contestants {
		v, err := startServer(ctx, b.contestants[(i+round)%len(b.contestants)], b.settings, b.database, plenty, leaseSize)
		if err != nil {
			return err
		}
		servers = append(servers, v)
	}
	for _, measure := range b.steps(round) {
		for _, v := range servers {
			if err := measure(ctx, v); err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
		}
	}
	return nil
}

// step measures one thing of a contestant, or nothing if the contestant has no part in it.
type step func(context.Context, *server) error

// steps are what is measured in a round.
func (b *bench) steps(round int) (steps []step) {
	each := seconds(b.SecondsEach)
	steps = append(steps, func(ctx context.Context, v *server) error { // pools fill, leases grow
		_, err := b.closed(ctx, v, round, 64, min(each, time.Second))
		return err
	})
	for _, connections := range b.Connections {
		steps = append(steps, func(ctx context.Context, v *server) error { return b.loop(ctx, v, round, connections, each) })
	}
	for _, rate := range b.Rates {
		steps = append(steps, func(ctx context.Context, v *server) error { return b.flow(ctx, v, round, rate, each) })
	}
	return append(steps,
		func(_ context.Context, v *server) error { return b.remember(v, round) },
		func(ctx context.Context, v *server) error { return b.sustain(ctx, v, round) })
}

// loop is a closed loop that is reported.
func (b *bench) loop(ctx context.Context, v *server, round, connections int, duration time.Duration) error {
	if !v.takesPart(report.DistantConnections, connections) {
		return nil
	}
	c, err := b.closed(ctx, v, round, connections, duration)
	if err != nil {
		return err
	}
	b.results.Closed = append(b.results.Closed, c)
	b.say("%-20s %4d connections %8.0f/s, p99 %.1f ms, %d refused, %d lost", v.name, connections, c.Rate(), c.P99, c.Requests-c.Acknowledged, c.Lost)
	return nil
}

// flow is a run at a fixed rate that is reported.
func (b *bench) flow(ctx context.Context, v *server, round, rate int, duration time.Duration) error {
	if !v.takesPart(report.SlowRate, rate) {
		return nil
	}
	o, err := b.open(ctx, v, round, rate, duration)
	if err != nil {
		return err
	}
	b.results.Open = append(b.results.Open, o)
	b.say("%-20s %4d a second: held %v, ms %.2f, %d refused", v.name, rate, o.Held, o.Quantiles, o.Refused)
	return nil
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func (b *bench) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// fresh is a name that no other run has.
func (b *bench) fresh() string {
	b.runs++
	return fmt.Sprintf("run%d", b.runs)
}

// closed runs a closed loop.
func (b *bench) closed(ctx context.Context, v *server, round, connections int, duration time.Duration) (report.Closed, error) {
	before, err := v.read(ctx)
	if err != nil {
		return report.Closed{}, err
	}
	loop := load.Closed{Script: b.Script, URL: "http://" + v.addr, Offer: hot, Run: b.fresh(), Connections: connections, Duration: duration}
	got, err := loop.Start(ctx)
	if err != nil {
		return report.Closed{}, err
	}
	settling, err := v.settle(ctx)
	if err != nil {
		return report.Closed{}, err
	}
	after, err := v.read(ctx)
	return report.Closed{
		Round: round, Contestant: v.name, Connections: connections, Seconds: got.Elapsed.Seconds(),
		Requests: got.Requests, Acknowledged: got.Acknowledged(), Lost: got.Lost,
		P50: inMilliseconds(got.P50), P99: inMilliseconds(got.P99), P999: inMilliseconds(got.P999), Settling: settling.Seconds(),
		ServerCPU: (after.server - before.server).Seconds(), DatabaseCPU: (after.databases - before.databases).Seconds(),
		Statements: after.Statements - before.Statements, LockWaits: after.LockWaits - before.LockWaits,
		RelayCPU: (after.relay - before.relay).Seconds(),
	}, err
}

func inMilliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// open runs at a fixed rate.
func (b *bench) open(ctx context.Context, v *server, round, rate int, duration time.Duration) (report.Open, error) {
	run := load.Open{
		Addrs: []string{v.addr}, Offers: []string{hot}, Run: b.fresh(), PerSecond: rate, Duration: duration, Grace: duration / 2, Connections: openConnections,
	}
	got := run.Start(ctx)
	o := report.Open{Round: round, Contestant: v.name, PerSecond: rate, Due: got.Due, Served: len(got.Sorted), Refused: got.Refused, Held: got.Held()}
	if o.Served > 0 {
		for _, p := range report.Percents {
			o.Quantiles = append(o.Quantiles, inMilliseconds(stats.Percentile(got.Sorted, p)))
		}
	}
	_, err := v.settle(ctx)
	return o, errors.Join(err, ctx.Err())
}

// openConnections is how many requests can be under way at a fixed rate. A server that is slower than the rate has more of them waiting.
const openConnections = 256

// sustain is a long closed loop. It notes the most memory that the server had, and the most redemptions that were not settled yet.
func (b *bench) sustain(ctx context.Context, v *server, round int) error {
	if !v.endures || b.SecondsSustained == 0 {
		return nil
	}
	if err := meter.ForgetPeakMemory(v.process.PID()); err != nil {
		return err
	}
	watch := v.watchBacklog(ctx)
	c, err := b.closed(ctx, v, round, report.LongConnections, seconds(b.SecondsSustained))
	unsettled := watch()
	if err != nil {
		return err
	}
	memory, err := meter.PeakMemory(v.process.PID())
	if err != nil {
		return err
	}
	b.results.Long = append(b.results.Long, report.Long{Closed: c, Memory: memory, Unsettled: unsettled})
	b.say("%-20s sustained %8.0f/s, settled %.1f s later; %d MB, %d unsettled at most", v.name, c.Rate(), c.Settling, memory>>20, unsettled)
	return nil
}

// remember notes the memory that was used by the shorter runs.
func (b *bench) remember(v *server, round int) (err error) {
	m := report.Memory{Round: round, Contestant: v.name}
	if m.Server, err = meter.PeakMemory(v.process.PID()); err != nil {
		return err
	}
	if v.redis != nil {
		if m.Redis, err = meter.PeakMemory(v.redis.PID()); err != nil {
			return err
		}
	}
	b.results.Memory = append(b.results.Memory, m)
	return nil
}

// sales tries the books of all that have some.
func (b *bench) sales(ctx context.Context) error {
	for _, c := range b.contestants {
		for _, kill := range []bool{false, true} {
			if !c.hasBooks() || c.distant || b.Orders == 0 {
				continue
			}
			if err := b.sale(ctx, c, kill); err != nil {
				return fmt.Errorf("%s, killed %v: %w", c.name, kill, err)
			}
		}
	}
	return nil
}

func (b *bench) sale(ctx context.Context, c contestant, kill bool) error {
	budget := int64(b.Orders) / 2
	v, err := startServer(ctx, c, b.settings, b.database, budget, 0)
	if err != nil {
		return err
	}
	defer v.stop(ctx)
	t := trial.Trial{Server: v, Offer: hot, Budget: budget, Limit: c.limit, Orders: b.Orders, Kill: kill}
	verdict, err := t.Run(ctx)
	if err != nil {
		return err
	}
	b.results.Trials = append(b.results.Trials, report.Trial{Contestant: c.name, Killed: kill, Budget: budget, Orders: b.Orders, Verdict: verdict})
	b.say("%-20s killed %v: %+v", c.name, kill, verdict)
	return nil
}

// reading is what a run's cost is the difference of.
type reading struct {
	meter.Status
	server, databases, relay time.Duration
}

func (v *server) read(ctx context.Context) (r reading, err error) {
	if r.server, err = meter.CPU(v.process.PID()); err != nil {
		return r, err
	}
	if v.database.PID != 0 {
		if r.databases, err = meter.CPU(v.database.PID); err != nil {
			return r, err
		}
		if v.redis != nil {
			redis, err := meter.CPU(v.redis.PID())
			if err != nil {
				return r, err
			}
			r.databases += redis
		}
	}
	if v.relay != nil { // in this process, which does next to nothing else in a closed loop
		if r.relay, err = meter.CPU(os.Getpid()); err != nil {
			return r, err
		}
	}
	r.Status, err = v.database.Status(ctx)
	return r, err
}
