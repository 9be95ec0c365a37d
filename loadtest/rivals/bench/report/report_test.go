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

// measured are results of two rounds.
func measured() *Results {
	closed := func(round int, who string, connections int, acknowledged int64, p99 float64) Closed {
		return Closed{
			Round: round, Contestant: who, Connections: connections, Seconds: 2, Requests: acknowledged, Acknowledged: acknowledged, P99: p99,
			ServerCPU: float64(acknowledged) * 50e-6, DatabaseCPU: float64(acknowledged) * 25e-6, Statements: acknowledged / 2, LockWaits: acknowledged / 4,
		}
	}
	long := Long{closed(0, Fast, LongConnections, 4000, 1), 250 << 20, 60 << 10}
	long.Settling = 2
	distant := closed(0, Distant, DistantConnections, 12_000, 9)
	distant.RelayCPU = 12_000 * 5e-6
	return &Results{
		Machine:     Machine{CPU: "A processor", Cores: 2, Database: "A database", Date: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		Contestants: []string{Floor, Fast, Strict, Distant, Naive},
		Direct:      0.1, Distant: 1.25,
		Rounds: 2, Seconds: 2, Sustained: 60,
		Closed: []Closed{
			closed(0, Floor, 64, 40_000, 1), closed(1, Floor, 64, 20_000, 1),
			closed(0, Fast, 64, 32_000, 1), closed(1, Fast, 64, 14_000, 1), distant,
			closed(0, Strict, 64, 8_000, 5), closed(1, Strict, 64, 8_000, 5),
			closed(0, Naive, 64, 1_000, 100), closed(1, Naive, 64, 500, 100),
			closed(0, Floor, 1, 10_000, 1), closed(0, Fast, 1, 8_000, 1),
		},
		Open: []Open{
			{Contestant: Fast, PerSecond: 300, Due: 600, Served: 600, Held: true, Quantiles: []float64{1, 2, 2.5, 4}},
			{Contestant: Naive, PerSecond: 300, Due: 600, Served: 240, Quantiles: []float64{100, 200, 250, 400}},
		},
		Long:   []Long{{Closed: closed(0, Floor, LongConnections, 8000, 1)}, long},
		Memory: []Memory{{Contestant: Fast, Server: 50 << 20}, {Round: 1, Contestant: Fast, Server: 60 << 20}},
		Trials: []Trial{
			{Contestant: Fast, Budget: 500, Orders: 1000, Verdict: trial.Verdict{Acknowledged: 1234}},
			{Contestant: Naive, Killed: true, Budget: 500, Orders: 1000, Verdict: trial.Verdict{Acknowledged: 500, Lost: 7}},
		},
	}
}

func TestAims(t *testing.T) {
	got := map[string]aim{}
	for _, a := range measured().aims() {
		got[a.what] = a
	}
	one := func(v float64) stats.Summary { return stats.Summary{Median: v, Min: v, Max: v} }
	for what, want := range map[string]struct {
		got     stats.Summary
		verdict string
	}{
		"sustained throughput of fast against floor, 64 connections":                        {one(0.25), "no"},
		"throughput of strict against naive, 64 connections":                                {stats.Summary{Median: 12, Min: 8, Max: 16}, "yes, and the aim"},
		"p99 of strict against naive, 64 connections":                                       {one(0.05), "yes"},
		"p99 of fast at 300/s":                                                              {one(2.5), "yes"},
		"throughput of far strict, 1 ms from its database, 256 connections":                 {one(6000), "yes"},
		"memory under sustained fast, less 1 kB for each unsettled redemption":              {one(190), "yes"},
		"memory under sustained fast, all of it":                                            {one(250), "yes"},
		"lost, double, oversold, overrun or refused in vain by Tranche, all sales together": {stats.Summary{}, "yes"},
	} {
		a, ok := got[what]
		if !ok || a.got != want.got || a.verdict() != want.verdict {
			t.Errorf("%s: %+v, %s; want %+v", what, a.got, a.verdict(), want)
		}
		delete(got, what)
	}
	for what := range got {
		t.Errorf("%s was not measured", what)
	}
}

func TestTheWorstValueDecidesOverMemory(t *testing.T) {
	a := aim{isMost: true, must: 256, worst: true, got: stats.Summary{Median: 100, Min: 90, Max: 300}}
	if got := a.verdict(); got != "no" {
		t.Errorf("%s: one round of three had too much", got)
	}
	a.worst = false
	if got := a.verdict(); got != "yes" {
		t.Errorf("%s: the median is below the limit", got)
	}
}

func TestMarkdown(t *testing.T) {
	text := measured().markdown()
	for _, want := range []string{
		"A processor, 2 cores",
		"| throughput of strict against naive, 64 connections | ≥ 8.00 × | ≥ 12.00 × | 12.00 (8.00–16.00) × | yes, and the aim |",
		"takes 0.10 ms directly, and 1.25 ms through the relay. The relay takes 5 µs of CPU a redemption",
		"| connections | 1 | 64 | 256 |\n|---|--:|--:|--:|\n",
		"| fast | 4 000 | 11 500 (7 000–16 000) | – |",
		"| naive | – | 375 (250–500) | – |",
		"| naive | – | 100.0 | – |",
		"| fast | 1.00 | 2.00 | 2.50 | 4.00 |",
		"| naive | not held: 40 % served in time |",
		"| fast | 50 | 25 | 0.50 | 0.250 | 60 | – |",
		"| fast | 2 000 | 2.0 s | 1 000 | 61 440 | 250 |",
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
