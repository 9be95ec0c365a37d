// Command growth measures how what a redemption costs grows with the number of offers, of users, of entries and of nodes, and with the size of
// leases, and writes the report. loadtest/growth.sh sees to what it needs and starts it; `make growth` calls that.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"tranche/loadtest/rivals/bench/report"
)

type settings struct {
	DSN    string `env:"TRANCHE_TEST_DSN" name:"dsn" help:"The database server, as user:password@tcp(host:3306)/. Databases of the program's own are made and dropped."`
	Bin    string `default:".bin" help:"Folder with the program fleet."`
	Script string `default:"loadtest/redeem.lua" help:"What wrk runs."`

	SecondsEach int      `env:"SECONDS_EACH" default:"10" help:"Of each run, and of its warm-up."`
	Rate        int      `env:"RATE" default:"300" help:"Redemptions a second, where the rate is fixed."`
	Only        []string `env:"ONLY" help:"Axes: offers, users, ledger, nodes, leases; all if empty."`
	Offers      []int64  `env:"OFFERS" default:"1,10,100,1000,10000" help:"How many; from few to many, as everything that follows."`
	Users       []int64  `env:"USERS" default:"10000,100000,1000000,10000000" help:"With a counter."`
	Ledger      []int64  `env:"LEDGER" default:"100000,1000000,10000000" help:"Entries, by the thousand."`
	Nodes       []int64  `env:"NODES" default:"1,5,20,50,100,200" help:"In one process."`
	Leases      []int64  `env:"LEASES" default:"1,10,100,1000,10000,100000" help:"Sizes."`

	Out  string `env:"OUT" default:"docs/bench" help:"Folder for the report."`
	From string `help:"Writes the report again, from a growth.json, and measures nothing." placeholder:"FILE"`
}

func main() {
	var s settings
	kong.Parse(&s, kong.Name("growth"), kong.Description("Measures how what a redemption costs grows."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := s.run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "growth:", err)
		os.Exit(1)
	}
}

func (s *settings) run(ctx context.Context) error {
	if s.From != "" {
		results, err := report.LoadGrowth(s.From)
		if err != nil {
			return err
		}
		return results.Write(s.Out)
	}
	axes, err := s.axes()
	if err != nil {
		return err
	}
	g, err := newGrowth(ctx, s)
	if err != nil {
		return err
	}
	defer g.close()
	for _, a := range axes {
		if err := g.grow(ctx, a); err != nil {
			return errors.Join(fmt.Errorf("%s: %w", a.name, err), g.rescue())
		}
	}
	if err := g.results.Write(s.Out); err != nil {
		return err
	}
	fmt.Printf("written: %s/growth.md\n", s.Out)
	return nil
}
