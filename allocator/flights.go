package allocator

import (
	"context"
	"encoding/binary"
	"sync"

	"tranche/models"
)

// flights lets one request per idempotency key through at a time, so that a duplicate that arrives while the first is under way
// hears how that one ended, and does not take a second unit meanwhile.
type flights struct {
	shards [64]flightShard
}

type flightShard struct {
	mu     sync.Mutex
	landed map[models.RedemptionID]chan struct{} // closed when the flight has landed
}

// begin waits until no other request with this id is under way, and makes this one the one that is; land ends it.
// It fails when ctx ends first.
func (f *flights) begin(ctx context.Context, id models.RedemptionID) error {
	shard := f.shard(id)
	for {
		shard.mu.Lock()
		other, under := shard.landed[id]
		if !under {
			if shard.landed == nil {
				shard.landed = map[models.RedemptionID]chan struct{}{}
			}
			shard.landed[id] = nil // a channel is made only when somebody waits
			shard.mu.Unlock()
			return nil
		}
		if other == nil {
			other = make(chan struct{})
			shard.landed[id] = other
		}
		shard.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return models.ErrRequestInFlight
		}
	}
}

func (f *flights) land(id models.RedemptionID) {
	shard := f.shard(id)
	shard.mu.Lock()
	defer shard.mu.Unlock()
	if waiting := shard.landed[id]; waiting != nil {
		close(waiting)
	}
	delete(shard.landed, id)
}

// shard is chosen by the hash that the id already is.
func (f *flights) shard(id models.RedemptionID) *flightShard {
	return &f.shards[binary.LittleEndian.Uint64(id.Hash[:])%uint64(len(f.shards))]
}
