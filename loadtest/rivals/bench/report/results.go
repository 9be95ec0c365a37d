// Package report turns results into what a reader looks at: Markdown tables and SVG plots. The results themselves are kept as JSON beside them,
// so that the report can be written again without measuring again.
package report

import (
	"errors"
	"os"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/loadtest/rivals/bench/stats"
	"tranche/loadtest/rivals/bench/trial"
)

// Results are all that a benchmark has found out.
type Results struct {
	Machine     Machine
	Contestants []string // in the order of the tables
	Rounds      int
	Seconds     int // of each run
	Sustained   int // seconds of the sustained runs

	// Milliseconds of a statement that does nothing: directly, and as a distant contestant sees it.
	Direct, Distant float64

	Closed []Closed
	Open   []Open
	Long   []Long
	Memory []Memory
	Trials []Trial
}

// Machine is what the benchmark ran on.
type Machine struct {
	CPU      string
	Cores    int
	MemoryGB int
	Kernel   string
	Go       string
	Database string
	Redis    string
	Date     time.Time
}

// Closed is a closed loop.
type Closed struct {
	Round        int
	Contestant   string
	Connections  int
	Seconds      float64
	Requests     int64
	Acknowledged int64
	Lost         int64   // without an answer
	P50, P99     float64 // milliseconds
	P999         float64
	Settling     float64 // seconds until everything that was acknowledged was in the database

	// For all of it, until it was settled.
	ServerCPU   float64 // seconds
	DatabaseCPU float64 // of MySQL and, where there is one, Redis; zero if the database runs elsewhere
	Statements  int64
	LockWaits   int64
	RelayCPU    float64 // seconds, of a distant contestant's relay
}

// Long is a sustained run.
type Long struct {
	Closed
	Memory    int64 // bytes: the most that the server had resident
	Unsettled int64 // redemptions: the most that were acknowledged and not settled yet
}

// Open is a run at a fixed rate.
type Open struct {
	Round      int
	Contestant string
	PerSecond  int
	Due        int
	Served     int
	Refused    int
	Held       bool
	Quantiles  []float64 // milliseconds, for each of Percents; empty if nothing was served
}

// Percents are the percentiles that are kept of an open run.
var Percents = []float64{50, 90, 99, 99.9} // read only

// Memory is the most that was resident over the shorter runs of a round, in bytes.
type Memory struct {
	Round         int
	Contestant    string
	Server, Redis int64
}

// Trial is one sale.
type Trial struct {
	Contestant string
	Killed     bool
	Budget     int64
	Orders     int
	trial.Verdict
}

// AnsweredRate is acknowledged redemptions per second while requests came in.
func (c *Closed) AnsweredRate() float64 { return float64(c.Acknowledged) / c.Seconds }

// Rate is acknowledged redemptions per second until all of them were in the database.
func (c *Closed) Rate() float64 { return float64(c.Acknowledged) / (c.Seconds + c.Settling) }

// Save writes the results to a file.
func (r *Results) Save(path string) error {
	text, err := json.Marshal(r, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// Load reads what Save has written.
func Load(path string) (*Results, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Results
	return &r, json.Unmarshal(text, &r)
}

// Write writes the report and its plots into a folder.
func (r *Results) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return errors.Join(r.Save(dir+"/results.json"), os.WriteFile(dir+"/README.md", []byte(r.markdown()), 0o644), r.plot(dir))
}

// overRounds gives a figure of those runs that are wanted, a value for each.
func overRounds[T any](runs []T, wanted func(*T) bool, figure func(*T) float64) (values []float64) {
	for i := range runs {
		if wanted(&runs[i]) {
			values = append(values, figure(&runs[i]))
		}
	}
	return values
}

// closed gives a figure of a contestant's closed loops.
func (r *Results) closed(contestant string, connections int, figure func(*Closed) float64) stats.Summary {
	return stats.Summarize(overRounds(r.Closed, func(c *Closed) bool {
		return c.Contestant == contestant && c.Connections == connections
	}, figure))
}

// connections are those that were measured, and rates likewise, in rising order.
func (r *Results) connections() []int {
	return distinct(r.Closed, func(c *Closed) int { return c.Connections })
}

func (r *Results) rates() []int { return distinct(r.Open, func(o *Open) int { return o.PerSecond }) }

func distinct[T any](runs []T, of func(*T) int) (values []int) {
	for i := range runs {
		if v := of(&runs[i]); !slices.Contains(values, v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	return values
}
