package catalogue

import (
	"sync/atomic"
	"time"

	"tranche/models"
)

// clock is the database's clock, as far as this node can tell. It ties the last reading to the node's monotonic clock.
type clock struct {
	last atomic.Pointer[reading] // nil before the first reading
}

type reading struct {
	ledger models.Micros
	at     time.Time // monotonic
}

// at gives the database's time at the instant now. Before the first reading, that is the node's own.
func (c *clock) at(now time.Time) models.Micros {
	r := c.last.Load()
	if r == nil {
		return models.MicrosOf(now)
	}
	return r.ledger.Add(now.Sub(r.at))
}

// set takes in the database's time, which was right at some moment between sent and now. A clock that is within these bounds
// already goes on as it is, so that time does not run backwards.
func (c *clock) set(ledger models.Micros, sent, now time.Time) {
	if c.last.Load() != nil {
		earliest, latest := ledger, ledger.Add(now.Sub(sent))
		ledger = min(max(c.at(now), earliest), latest)
	}
	c.last.Store(&reading{ledger: ledger, at: now})
}
