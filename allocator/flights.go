package allocator

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"tranche/models"
)

// flights lets one request per idempotency key through at a time, so that a duplicate that arrives while the first is under way
// hears how that one ended, and does not take a second unit meanwhile.
type flights struct {
	shards [64]flightShard
}

type flightShard struct {
	mu    sync.Mutex
	under map[models.RedemptionID]*flight
}

// flight is a request under way. It lands when its requester has left and nothing of it is on its way to the ledger any more:
// a batch of unknown outcome keeps it up, for its duplicate must not be told "no" of what may yet come true.
type flight struct {
	flights *flights
	id      models.RedemptionID
	up      atomic.Int32  // the requester, and each entry that was handed to the settler
	landed  chan struct{} // made when somebody waits; guarded by the shard's mu
}

// begin waits until no other request with this id is under way, and starts the flight of this one, which its requester ends by
// done. It fails when ctx ends first.
func (f *flights) begin(ctx context.Context, id models.RedemptionID) (*flight, error) {
	shard := f.shard(id)
	for {
		shard.mu.Lock()
		other, under := shard.under[id]
		if !under {
			defer shard.mu.Unlock()
			return shard.launch(f, id), nil
		}
		if other.landed == nil {
			other.landed = make(chan struct{})
		}
		landed := other.landed
		shard.mu.Unlock()
		select {
		case <-landed:
		case <-ctx.Done():
			return nil, models.ErrRequestInFlight
		}
	}
}

// start is begin that doesn't wait: it gives nil if another request with this id is under way.
func (f *flights) start(id models.RedemptionID) *flight {
	shard := f.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if _, under := shard.under[id]; under {
		return nil
	}
	return shard.launch(f, id)
}

// launch puts a flight under way. mu is held.
func (s *flightShard) launch(f *flights, id models.RedemptionID) *flight {
	if s.under == nil {
		s.under = map[models.RedemptionID]*flight{}
	}
	mine := &flight{flights: f, id: id}
	mine.up.Store(1)
	s.under[id] = mine
	return mine
}

// hold keeps the flight up for one more part of it, until done is called for that, too.
func (f *flight) hold() { f.up.Add(1) }

func (f *flight) done() {
	if f.up.Add(-1) > 0 {
		return
	}
	shard := f.flights.shard(f.id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	delete(shard.under, f.id)
	if f.landed != nil {
		close(f.landed)
	}
}

// shard is chosen by the hash that the id already is.
func (f *flights) shard(id models.RedemptionID) *flightShard {
	return &f.shards[binary.LittleEndian.Uint64(id.Hash[:])%uint64(len(f.shards))]
}

// flying is the flights of a cart's items.
type flying []*flight

func (all flying) hold() {
	for _, f := range all {
		f.hold()
	}
}

func (all flying) done() {
	for _, f := range all {
		f.done()
	}
}
