package store

import "sync/atomic"

// foresight is how much a settle transaction reads before it writes, and in which order it then does.
//
// Nearly all entries begin a redemption that nobody has heard of, so looking each up first finds nothing. The unique key finds those
// that are not new; the transaction then runs again, and reads.
type foresight int

const (
	readNeeded foresight = iota // what goes on from an earlier entry, or must not be written
	readAll
)

// warySettles is for how many batches everything is read first after an entry was not new: keys that come twice come in swarms.
const warySettles = 32

// collisions remembers that entries of late were not new. Safe for concurrent use.
type collisions struct{ wary atomic.Int64 }

func (c *collisions) note() { c.wary.Store(warySettles) }

// foresight says how the next batch is to begin.
func (c *collisions) foresight() foresight {
	if c.wary.Load() > 0 && c.wary.Add(-1) >= 0 {
		return readAll
	}
	return readNeeded
}
