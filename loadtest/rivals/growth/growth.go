package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"tranche/loadtest/rivals/bench/machine"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/report"
)

// growth is one run of the program.
//
// Each axis has a database of its own, which grows from step to step. Each step has a fleet of its own, started when the books are large enough, so
// that its memory is what this size takes and not what it took to get there.
type growth struct {
	*settings
	database *meter.Database
	results  *report.Growth
	runs     int // so far: they must not use each other's keys
}

func newGrowth(ctx context.Context, s *settings) (*growth, error) {
	db, err := meter.OpenDatabase(ctx, s.DSN)
	if err != nil {
		return nil, fmt.Errorf("the database: %w", err)
	}
	m, err := machine.Describe(ctx, db)
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	var pool int64
	if err := db.QueryRowContext(ctx, "SELECT @@innodb_buffer_pool_size").Scan(&pool); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	m.Database += fmt.Sprintf(", innodb_buffer_pool_size=%dM", pool>>20)
	return &growth{settings: s, database: db, results: &report.Growth{Machine: m, Seconds: s.SecondsEach, PerSecond: s.Rate}}, nil
}

func (g *growth) close() { _ = g.database.Close() }

// grow takes all steps of an axis.
func (g *growth) grow(ctx context.Context, a axis) (err error) {
	if err := g.checkConnections(ctx, &a); err != nil {
		return err
	}
	b, err := newBooks(ctx, g, a.name)
	if err != nil {
		return err
	}
	defer b.drop(ctx)
	before := int64(0)
	for _, size := range a.sizes {
		if err := g.step(ctx, &a, b, before, size); err != nil {
			return fmt.Errorf("%d: %w", size, err)
		}
		before = size
	}
	return nil
}

func (g *growth) step(ctx context.Context, a *axis, b *books, before, size int64) error {
	began := time.Now()
	if a.prepare != nil {
		if err := a.prepare(ctx, b, before, size); err != nil {
			return err
		}
	}
	prepared := time.Since(began)
	f, err := startFleet(ctx, b, a.nodes(size), a.disk)
	if err != nil {
		return err
	}
	defer f.stop()
	steps, err := a.measure(ctx, g, f, size)
	if err != nil {
		return err
	}
	for i := range steps {
		s := &steps[i]
		s.Axis, s.Size = a.name, size
		g.say("%-6s %8d %-6s %8.0f/s, p99 %.1f ms, %d refused, %.2f transactions on the row a second; %.0f s to prepare",
			a.name, size, s.Mode, s.Rate, s.P99, s.Refused, float64(s.Transactions)/s.Seconds, prepared.Seconds())
	}
	g.results.Steps = append(g.results.Steps, steps...)
	return ctx.Err()
}

// checkConnections fails if the largest fleet's pools do not fit into the server: who finds no connection would only look slow.
func (g *growth) checkConnections(ctx context.Context, a *axis) error {
	const perNode, ours = 32 + 4, 16 // a pool by default, and those that are not of the pool
	var allowed int64
	if err := g.database.QueryRowContext(ctx, "SELECT @@max_connections").Scan(&allowed); err != nil {
		return err
	}
	if needed := perNode*a.most() + ours; allowed < needed {
		return fmt.Errorf("the database server allows %d connections, and the nodes may need %d: raise its max_connections", allowed, needed)
	}
	return nil
}

func (g *growth) say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// fresh is a name that no other run has.
func (g *growth) fresh() string {
	g.runs++
	return fmt.Sprintf("run%d", g.runs)
}

// rescue keeps what a run that failed had measured. A report of half a run must not take the place of a whole one's.
func (g *growth) rescue() error {
	file, err := os.CreateTemp("", "tranche-growth-*.json")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "growth: what was measured is in", file.Name())
	return errors.Join(file.Close(), g.results.Save(file.Name()))
}
