// Package feed brings committed entries into the feed, off the way of requests.
//
// The feed is all committed entries in an order that never gets a late member before a position already given out. An entry may commit
// hours after its units were spent, and transactions commit in another order than they began, so neither a time nor an id is such an
// order. Positions are given after the commit, by whichever node looks next.
package feed

import (
	"context"
	"time"

	"github.com/rs/zerolog"

	"tranche/internal/run"
)

// Ledger is what a Placer needs of the database.
type Ledger interface {
	PlaceEntries(ctx context.Context, within time.Duration) (entries int, err error)
	FillFeed(ctx context.Context) (done bool, err error)
}

// placeEvery is how often each node looks for entries without a position. Only one places within that time, so this is about how long an
// entry waits, however many nodes there are.
const placeEvery = 250 * time.Millisecond

// Placer gives positions to committed entries. Every node runs one, and any may be first.
type Placer struct {
	ledger  Ledger
	serves  func() bool // whether the ledger does
	log     zerolog.Logger
	trouble run.Trouble
	filled  bool
}

// NewPlacer makes a Placer.
func NewPlacer(ledger Ledger, serves func() bool, log zerolog.Logger) *Placer {
	return &Placer{ledger: ledger, serves: serves, log: log}
}

// Run places until ctx ends.
func (p *Placer) Run(ctx context.Context) { run.Every(ctx, placeEvery, p.place) }

func (p *Placer) place(ctx context.Context) {
	if !p.serves() {
		return // the store reports that
	}
	_, err := p.ledger.PlaceEntries(ctx, placeEvery*4/5)
	if err == nil && !p.filled {
		p.filled, err = p.ledger.FillFeed(ctx)
	}
	if p.trouble.Begins(err) && ctx.Err() == nil {
		p.log.Error().Err(err).Msg("committed entries get no positions in the feed")
	}
}
