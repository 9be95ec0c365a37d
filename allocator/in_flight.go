package allocator

import (
	"context"
	"encoding/binary"
	"sync"
	"sync/atomic"

	"tranche/models"
)

// inFlight lets one request per idempotency key through at a time. A duplicate that arrives while the first is under way waits for
// it, and does not take a second unit meanwhile.
type inFlight struct {
	shards [64]inFlightShard
}

type inFlightShard struct {
	mu      sync.Mutex
	flights map[models.RedemptionID]*flight
}

// flight is a request under way. It lands when its requester has left it, and each entry that was handed to the settler, too: while
// the outcome of a batch is unknown, a duplicate must not be told "no" of what may yet come true.
type flight struct {
	registry *inFlight
	id       models.RedemptionID
	parts    atomic.Int32  // the requester, and the entries at the settler
	landed   chan struct{} // closed when the last part has left
}

// begin starts the flight of a request, which its requester leaves in the end. When another request with this id is under way, mine
// is nil, and other is closed when that one has landed.
func (f *inFlight) begin(id models.RedemptionID) (mine *flight, other <-chan struct{}) {
	shard := f.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if earlier, under := shard.flights[id]; under {
		return nil, earlier.landed
	}
	if shard.flights == nil {
		shard.flights = map[models.RedemptionID]*flight{}
	}
	mine = &flight{registry: f, id: id, landed: make(chan struct{})}
	mine.parts.Store(1)
	shard.flights[id] = mine
	return mine, nil
}

// await begins as soon as no other request with this id is under way. It fails when ctx ends first.
func (f *inFlight) await(ctx context.Context, id models.RedemptionID) (*flight, error) {
	for {
		mine, other := f.begin(id)
		if mine != nil {
			return mine, nil
		}
		select {
		case <-other:
		case <-ctx.Done():
			return nil, models.ErrRequestInFlight
		}
	}
}

// join counts one more part of the flight, which has to leave, too.
func (f *flight) join() { f.parts.Add(1) }

// leave says that a part of the flight has ended; the last one lands it.
func (f *flight) leave() {
	if f.parts.Add(-1) > 0 {
		return
	}
	shard := f.registry.shard(f.id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	delete(shard.flights, f.id)
	close(f.landed)
}

// shard is chosen by the hash that the id already is.
func (f *inFlight) shard(id models.RedemptionID) *inFlightShard {
	return &f.shards[binary.LittleEndian.Uint64(id.Hash[:])%uint64(len(f.shards))]
}

// flights are those of a cart's items.
type flights []*flight

func (all flights) join() {
	for _, f := range all {
		f.join()
	}
}

func (all flights) leave() {
	for _, f := range all {
		f.leave()
	}
}
