// Command bench measures Tranche and its rivals side by side on this machine, and writes the report. loadtest/bench.sh sees to what it needs
// and starts it; `make bench` calls that.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"tranche/loadtest/rivals/bench/report"
)

type settings struct {
	DSN    string `env:"TRANCHE_TEST_DSN" name:"dsn" help:"The database server, as user:password@tcp(host:3306)/. Databases of the bench's own are made and dropped."`
	Bin    string `default:".bin" help:"Folder with the programs tranche, floor and rivals."`
	Script string `default:"loadtest/redeem.lua" help:"What wrk runs."`

	Rounds           int           `env:"ROUNDS" default:"3" help:"How often everything is measured."`
	SecondsEach      int           `env:"SECONDS_EACH" default:"10" help:"Of each run."`
	SecondsSustained int           `env:"SECONDS_SUSTAINED" default:"40" help:"Of each sustained run; 0 leaves them out."`
	Connections      []int         `env:"CONNECTIONS" default:"64,256" help:"Of the closed loops."`
	Rates            []int         `env:"RATES" default:"300,2000" help:"Requests a second of the open runs."`
	Orders           int           `env:"ORDERS" default:"6000" help:"Of each sale that tries the books; 0 leaves them out."`
	Only             []string      `env:"ONLY" help:"Names of contestants; all if empty. The floor is always among them."`
	Period           time.Duration `env:"PERIOD" default:"10s" help:"How often the rivals roll their logs up."`

	Out  string `env:"OUT" default:"docs/bench" help:"Folder for the report."`
	From string `help:"Writes the report again, from a results.json, and measures nothing." placeholder:"FILE"`
}

func main() {
	var s settings
	kong.Parse(&s, kong.Name("bench"), kong.Description("Measures Tranche and its rivals side by side."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) error {
	if s.From != "" {
		results, err := report.Load(s.From)
		if err != nil {
			return err
		}
		return results.Write(s.Out)
	}
	contestants, err := s.contestants()
	if err != nil {
		return err
	}
	b, err := newBench(ctx, s, contestants)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.run(ctx); err != nil {
		return errors.Join(err, b.rescue())
	}
	if err := b.results.Write(s.Out); err != nil {
		return err
	}
	fmt.Printf("%s\nwritten: %s/README.md\n", b.results.Aims(), s.Out)
	return nil
}

// rescue keeps what a run that failed had measured. A report of half a run must not take the place of a whole one's.
func (b *bench) rescue() error {
	file, err := os.CreateTemp("", "tranche-bench-*.json")
	if err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "bench: what was measured is in", file.Name())
	return errors.Join(file.Close(), b.results.Save(file.Name()))
}

// contestants gives those that are wanted.
func (s *settings) contestants() ([]contestant, error) {
	if len(s.Only) == 0 {
		return field, nil
	}
	for _, name := range s.Only {
		if !slices.ContainsFunc(field, func(c contestant) bool { return c.name == name }) {
			return nil, fmt.Errorf("there is no contestant %q", name)
		}
	}
	return slices.DeleteFunc(slices.Clone(field), func(c contestant) bool { return c.name != report.Floor && !slices.Contains(s.Only, c.name) }), nil
}
