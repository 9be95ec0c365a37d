package main

import (
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/internal/plan"
	"tranche/models"
)

// planning is the command that foretells what an offer costs a fleet. It needs neither a node nor a database.
type planning struct {
	Rate      float64       `required:"" help:"Redemptions of the offer per second, over all nodes."`
	Nodes     int64         `required:"" help:"Nodes that share them."`
	LeaseSize int64         `default:"1000" help:"The offer's lease_size."`
	TTL       time.Duration `name:"ttl" default:"60s" help:"The offer's lease_ttl_seconds, as a duration: 5s to 1h."`
	Adaptive  bool          `default:"true" negatable:"" help:"The offer's adaptive: blocks of 10 s instead of the lease size, where that is less."`
	Mode      string        `default:"strict" enum:"strict,available,fast" help:"The offer's mode: ${enum}."`
	Commit    time.Duration `default:"5ms" help:"What a transaction takes on the database, all in all."`
	JSON      bool          `name:"json" help:"Print JSON instead of a table."`
}

// Validate implements kong's check of a command's flags.
func (p *planning) Validate() error {
	switch {
	case !(p.Rate > 0 && p.Rate <= 1e9):
		return fmt.Errorf("--rate must be above 0 and at most a billion")
	case p.Nodes < 1 || p.Nodes > 10_000:
		return fmt.Errorf("--nodes must be from 1 to 10000")
	case p.LeaseSize < 1 || p.LeaseSize > 1e9:
		return fmt.Errorf("--lease-size must be from 1 to a billion")
	case p.TTL < models.MinLeaseTTL || p.TTL > models.MaxLeaseTTL || p.TTL%time.Second != 0:
		return fmt.Errorf("--ttl must be whole seconds from %s to %s", models.MinLeaseTTL, models.MaxLeaseTTL)
	case p.Commit <= 0 || p.Commit > time.Second:
		return fmt.Errorf("--commit must be above 0 and at most a second")
	}
	return nil
}

// Run implements the command.
func (p planning) Run(out io.Writer) error {
	fleet := plan.Fleet{
		Rate: p.Rate, Nodes: p.Nodes, LeaseSize: p.LeaseSize, TTL: p.TTL, Adaptive: p.Adaptive,
		Mode: models.Mode(p.Mode), Commit: p.Commit,
	}
	what := plan.Of(fleet)
	if p.JSON {
		return json.MarshalEncode(jsontext.NewEncoder(out, jsontext.WithIndent("  ")), what)
	}
	return what.Print(out, fleet)
}
