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
)

// grown are a few steps of two axes.
func grown() *Growth {
	nodes := func(n int64) Step {
		return Step{
			Axis: Nodes, Size: n, Mode: "fast", Redemptions: 3000, Seconds: 10, Rate: 300, P50: 1, P99: 2.5, ServerCPU: 0.3, DatabaseCPU: 0.1 * float64(n),
			Memory: n << 24, Transactions: n, Syncs: 40 * n, SyncSeconds: 0.01, FirstSync: 3, Batches: 100, Entries: 3000, BatchSeconds: 0.3, Connections: 2 * n,
		}
	}
	lease := func(size int64, mode string, acknowledged int64) Step {
		return Step{Axis: Leases, Size: size, Mode: mode, Redemptions: acknowledged, Refused: 7 * (size % 10), Seconds: 10, Rate: float64(acknowledged) / 10, P99: 8, Transactions: 4 * acknowledged / size}
	}
	return &Growth{
		Machine: Machine{CPU: "A processor", Cores: 2, Database: "A database", Date: time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)},
		Seconds: 10, PerSecond: 300,
		Steps: []Step{nodes(20), nodes(1), lease(1, "fast", 2000), lease(1, "strict", 1000), lease(1000, "fast", 200_000)},
	}
}

func TestGrowthInMarkdown(t *testing.T) {
	text := grown().markdown()
	for _, want := range []string{
		"A processor, 2 cores",
		"300 redemptions a second come in for 10 s",
		"## Nodes\n",
		"| nodes | transactions on the offer's row, a second | nodes / 5, a second | syncs, a second | all nodes, ms of CPU a second | database, ms of CPU a second | p50, ms |",
		"| 1 | 0.100 | 0.200 | 4.00 | 30.0 | 10.0 | 1.00 | 2.50 | 2.00 | 16.0 |\n| 20 | 2.00 | 4.00 | 80.0 |",
		"| 1 | 200 | 100 | 4 000 | 4 000 |",
		"| 1 000 | 20 000 | – | 4.00 | – |",
		"At 1, 7 of 2 007 requests were not acknowledged.",
		"![Lease size](growth-leases.svg)",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("missing: %s", want)
		}
	}
	if strings.Contains(text, "## Users") {
		t.Error("no users were measured, and there is a section about them")
	}
	if t.Failed() {
		t.Log(text)
	}
}

// Every axis can be drawn: of one size, and of nothing but zeros, too.
func TestGrowthIsWrittenAndReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "bench")
	want := grown()
	for _, axis := range []string{Offers, Users, Ledger} {
		want.Steps = append(want.Steps, Step{Axis: axis, Size: 1})
	}
	want.Steps[len(want.Steps)-1].Reads = []Read{{ReadNames[0], 0.5}}
	if err := want.Write(dir); err != nil {
		t.Fatal(err)
	}
	got, err := LoadGrowth(filepath.Join(dir, "growth.json"))
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("read back: %+v (%v)", got, err)
	}
	for _, axis := range axes() {
		file, err := os.Open(filepath.Join(dir, axis.file()))
		if err != nil {
			t.Error(err)
			continue
		}
		defer file.Close()
		for tokens := xml.NewDecoder(file); err == nil; _, err = tokens.Token() {
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("%s: %v", axis.file(), err)
		}
	}
}

func TestFiguresKeepThreeDigits(t *testing.T) {
	for v, want := range map[float64]string{0: "0", 0.01234: "0.012", 1.234: "1.23", 12.34: "12.3", 123.4: "123", 12345: "12 345"} {
		if got := figure(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}
