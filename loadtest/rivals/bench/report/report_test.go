package report

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tranche/loadtest/rivals/bench/stats"
	"tranche/loadtest/rivals/bench/trial"
)

// measured are results of two rounds, in the first of which two contestants took a second turn.
func measured() *Results {
	closed := func(round int, who string, connections int, acknowledged int64, p99 float64) Closed {
		return Closed{
			Round: round, Contestant: who, Connections: connections, Seconds: 2, Requests: acknowledged, Acknowledged: acknowledged, P99: p99,
			ServerCPU: float64(acknowledged) * 50e-6, DatabaseCPU: float64(acknowledged) * 25e-6, Statements: acknowledged / 2, LockWaits: acknowledged / 4,
		}
	}
	again := func(c Closed) Closed {
		c.Turn = 1
		return c
	}
	long := closed(0, Fast, LongConnections, 4000, 1)
	long.Settling = 2
	return &Results{
		Machine:     Machine{CPU: "A processor", Cores: 2, Database: "A database", Date: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		Contestants: []string{Floor, Fast, Strict, Naive},
		Rounds:      2, Seconds: 2, Sustained: 60,
		Closed: []Closed{
			closed(0, Floor, 64, 40_000, 1), closed(1, Floor, 64, 20_000, 1),
			closed(0, Fast, 64, 32_000, 1), closed(1, Fast, 64, 14_000, 1), // 0.8 and 0.7 of the floor
			again(closed(0, Floor, 64, 10_000, 1)), again(closed(0, Fast, 64, 7_500, 1)), // 0.75
			closed(0, Strict, 64, 8_000, 5), closed(1, Strict, 64, 8_000, 5),
			closed(0, Naive, 64, 1_000, 100), closed(1, Naive, 64, 500, 100),
			closed(0, Floor, 1, 10_000, 1), closed(0, Fast, 1, 8_000, 1),
		},
		Open: []Open{
			{Contestant: Fast, PerSecond: 300, Due: 600, Served: 600, Held: true, Quantiles: []float64{1, 2, 2.5, 4}},
			{Contestant: Naive, PerSecond: 300, Due: 600, Served: 240, Quantiles: []float64{100, 200, 250, 400}},
		},
		Long:   []Closed{closed(0, Floor, LongConnections, 8000, 1), long},
		Memory: []Memory{{Contestant: Fast, Server: 50 << 20}, {Round: 1, Contestant: Fast, Server: 60 << 20}},
		Trials: []Trial{
			{Contestant: Fast, Budget: 500, Orders: 1000, Verdict: trial.Verdict{Acknowledged: 1234}},
			{Contestant: Naive, Killed: true, Budget: 500, Orders: 1000, Verdict: trial.Verdict{Acknowledged: 500, Lost: 7}},
		},
	}
}

func TestTargets(t *testing.T) {
	got := map[string]target{}
	for _, g := range measured().targets() {
		got[g.what] = g
	}
	for what, want := range map[string]struct {
		stats.Summary
		met bool
	}{
		"throughput of fast against floor, 64 connections":                                  {stats.Summary{Median: 0.75, Min: 0.7, Max: 0.8}, true},
		"sustained throughput of fast against floor, 64 connections":                        {stats.Summary{Median: 0.25, Min: 0.25, Max: 0.25}, false},
		"throughput of strict against naive, 64 connections":                                {stats.Summary{Median: 12, Min: 8, Max: 16}, true},
		"p99 of strict against naive, 64 connections":                                       {stats.Summary{Median: 0.05, Min: 0.05, Max: 0.05}, true},
		"p99 of fast at 300/s":                                                              {stats.Summary{Median: 2.5, Min: 2.5, Max: 2.5}, true},
		"lost, double, oversold, overrun or refused in vain by Tranche, all sales together": {stats.Summary{}, true},
	} {
		g, ok := got[what]
		if !ok || g.got != want.Summary || g.met() != want.met {
			t.Errorf("%s: %+v, met %v; want %+v", what, g.got, g.met(), want)
		}
		delete(got, what)
	}
	for what := range got {
		t.Errorf("%s was not measured", what)
	}
}

func TestMatched(t *testing.T) {
	for _, m := range []struct {
		contestant  string
		connections int
		want        bool
	}{{Fast, 64, true}, {Floor, 64, true}, {Fast, 256, false}, {Floor, 256, true}, {Naive, 256, true}, {Naive, 1, false}, {"slotted", 64, false}} {
		if got := Matched(m.contestant, m.connections); got != m.want {
			t.Errorf("%s over %d connections: %v", m.contestant, m.connections, got)
		}
	}
}

func TestMarkdown(t *testing.T) {
	text := measured().markdown()
	for _, want := range []string{
		"A processor, 2 cores",
		"| throughput of fast against floor, 64 connections | ≥ 0.75 × | 0.75 (0.70–0.80) × | yes |",
		"| connections | 1 | 64 |\n|---|--:|--:|\n",
		"| fast | 4 000 | 7 000 (3 750–16 000) |",
		"| naive | – | 375 (250–500) |",
		"| naive | – | 100.0 |",
		"| fast | 1.00 | 2.00 | 2.50 | 4.00 |",
		"| naive | not held: 40 % served in time |",
		"| fast | 50 | 25 | 0.50 | 0.250 | 60 | – |",
		"| fast | 2 000 | 2.0 s | 1 000 |",
		"| naive | is killed | 500 | 7 | 0 |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if t.Failed() {
		t.Log(text)
	}
	if empty := (&Results{Contestants: []string{Floor}}).markdown(); strings.Contains(empty, "## ") {
		t.Errorf("nothing was measured, and it says %s", empty)
	}
}

func TestWhatWasNotAcknowledgedIsTold(t *testing.T) {
	r := measured()
	r.Closed[0].Requests += 1500
	r.Closed[0].Lost = 3
	if want := "Round 1, floor, 64 connections: 1 500 of 41 500 requests were answered with an error, and 3 not at all."; !strings.Contains(r.markdown(), want) {
		t.Errorf("missing: %s", want)
	}
}

func TestWrite(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	want := measured()
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := Load(filepath.Join(dir, "results.json"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back: %+v (%v)", got, err)
	}
	for _, name := range []string{"throughput.svg", "cpu.svg", "latency-300.svg"} {
		file, err := os.Open(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			continue
		}
		defer file.Close()
		for tokens := xml.NewDecoder(file); err == nil; _, err = tokens.Token() {
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if text, err := os.ReadFile(filepath.Join(dir, "README.md")); err != nil || string(text) != want.markdown() {
		t.Errorf("the report: %v", err)
	}
}
