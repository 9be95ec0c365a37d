package report

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Growth is how what a redemption costs grows with the size of things.
type Growth struct {
	Machine   Machine
	Seconds   int // of each run
	PerSecond int // redemptions, over all nodes, in the runs at a fixed rate
	Steps     []Step
}

// The axes, as steps name them.
const (
	Offers = "offers"
	Users  = "users"
	Ledger = "ledger"
	Nodes  = "nodes"
	Leases = "leases"
)

// Step is what was measured of one size, with everything else as it was.
type Step struct {
	Axis string
	Size int64
	Mode string // of the offers

	Redemptions int64   // acknowledged
	Refused     int64   // answered with something else, or not at all
	Seconds     float64 // until all of it was settled, and the counts below were read
	Rate        float64 // acknowledged a second while requests came in
	P50, P99    float64 // milliseconds

	ServerCPU    float64 // seconds, of all nodes together
	DatabaseCPU  float64 // seconds; zero if the database runs elsewhere
	Memory       int64   // bytes: the most that the nodes together have had resident since their start
	Transactions int64   // on offers' rows: grants, returns, reclaims and recalls
	Syncs        int64   // of all nodes, and how long they took
	SyncSeconds  float64
	FirstSync    float64 // milliseconds: the first one of a node, which reads all offers, on average
	Batches      int64   // that were settled, the entries in them, and how long they took
	Entries      int64
	BatchSeconds float64
	Connections  int64 // to the database, at the end

	Reads []Read `json:",omitempty"` // of the ledger
}

// Read is a kind of request that reads, and how long it takes at the median.
type Read struct {
	Name         string
	Milliseconds float64
}

// Save writes the results to a file.
func (g *Growth) Save(path string) error {
	text, err := json.Marshal(g, jsontext.WithIndent("  "))
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

// LoadGrowth reads what Save has written.
func LoadGrowth(path string) (*Growth, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var g Growth
	return &g, json.Unmarshal(text, &g)
}

// Write writes the report and its plots into a folder: growth.md, growth.json and growth-….svg.
func (g *Growth) Write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	errs := []error{g.Save(filepath.Join(dir, "growth.json")), os.WriteFile(filepath.Join(dir, "growth.md"), []byte(g.markdown()), 0o644)}
	for _, a := range g.measured() {
		errs = append(errs, g.plot(&a, filepath.Join(dir, a.file())))
	}
	return errors.Join(errs...)
}

// measured gives the axes that there are steps of.
func (g *Growth) measured() []axis {
	return slices.DeleteFunc(axes(), func(a axis) bool { return len(g.sizes(a.name)) == 0 })
}

// sizes of an axis, in rising order.
func (g *Growth) sizes(axis string) (sizes []int64) {
	for i := range g.Steps {
		if s := &g.Steps[i]; s.Axis == axis && !slices.Contains(sizes, s.Size) {
			sizes = append(sizes, s.Size)
		}
	}
	slices.Sort(sizes)
	return sizes
}

// at gives a line's value for a size; ok is false if it was not measured.
func (g *Growth) at(axis string, l *line, size int64) (value float64, ok bool) {
	for i := range g.Steps {
		if s := &g.Steps[i]; s.Axis == axis && s.Size == size && (l.mode == "" || s.Mode == l.mode) {
			return l.of(s), true
		}
	}
	return 0, false
}

func (g *Growth) markdown() string {
	var out strings.Builder
	m := &g.Machine
	fmt.Fprintf(&out, "# How cost grows\n\nWritten by `make growth`; the figures are in `growth.json`, too.\n\n"+
		"%s, %d cores, %d GB, Linux %s, %s. %s. %s.\n\n", m.CPU, m.Cores, m.MemoryGB, m.Kernel, m.Go, m.Database, m.Date.Format("January 2006"))
	fmt.Fprintf(&out, "One thing grows, everything else stays. The nodes are real ones, all in one process; they, the database and the load generator share these cores: "+
		"compare, don't quote. Unless something else is said, %s redemptions a second come in for %d s, after as long a time to warm up. "+
		"At so low a rate, what nodes and database do in any case is a good part of a redemption's cost.\n", count(float64(g.PerSecond)), g.Seconds)
	for _, a := range g.measured() {
		fmt.Fprintf(&out, "\n## %s\n\n%s\n\n![%s](%s)\n\n%s", a.title, a.text, a.title, a.file(), g.table(&a))
		out.WriteString(g.refusals(a.name))
	}
	return out.String()
}

// table has a row per size and a column per line.
func (g *Growth) table(a *axis) string {
	t := newTable(a.size)
	for _, p := range a.panels {
		for _, l := range p.lines {
			t.column(l.name + ", " + p.unit)
		}
	}
	for _, size := range g.sizes(a.name) {
		cells := []string{count(float64(size))}
		for _, p := range a.panels {
			for _, l := range p.lines {
				cells = append(cells, "–")
				if v, ok := g.at(a.name, &l, size); ok {
					cells[len(cells)-1] = figure(v)
				}
			}
		}
		t.row(cells...)
	}
	return t.String()
}

// refusals tells of steps in which not everything was acknowledged.
func (g *Growth) refusals(axis string) string {
	var out strings.Builder
	for i := range g.Steps {
		if s := &g.Steps[i]; s.Axis == axis && s.Refused > 0 {
			fmt.Fprintf(&out, "\nAt %s, %s of %s requests were not acknowledged.\n", count(float64(s.Size)), count(float64(s.Refused)), count(float64(s.Redemptions+s.Refused)))
		}
	}
	return out.String()
}

// figure writes a number with three digits that count.
func figure(v float64) string {
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0): // of nothing
		return "–"
	case v >= 100 || v == 0:
		return count(v)
	case v >= 10:
		return fmt.Sprintf("%.1f", v)
	case v >= 1:
		return fmt.Sprintf("%.2f", v)
	default:
		return fmt.Sprintf("%.3f", v)
	}
}
