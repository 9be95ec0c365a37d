package lease

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tranche/models"
)

// pieces seals open blocks that have so many units together, the largest first. They go back with the next grant, in one transaction: so
// nobody else gets their units, and the requests that wait are served from one block. mu is held.
func (ol *offerLeases) pieces(units int64) (pieces []*Block) {
	open := slices.SortedFunc(slices.Values(*ol.open.Load()), func(a, b *Block) int { return cmp.Compare(b.Left(), a.Left()) })
	for _, b := range open {
		if units <= 0 {
			break
		}
		units -= b.Left()
		b.Seal()
		pieces = append(pieces, b)
	}
	ol.publish()
	return pieces
}

// leftHere is how many units can be spent on this node.
func (ol *offerLeases) leftHere(now time.Time) (units int64) {
	for _, b := range *ol.open.Load() {
		if !b.ExpiredAt(now) {
			units += b.Left()
		}
	}
	return units
}

// gather waits until all that was spent from the pieces is settled, for no longer than requests wait. Maintenance returns the others.
func (ol *offerLeases) gather(ctx context.Context, pieces []*Block) {
	over := time.After(recallWithin)
	var quiet []models.ID
	for _, b := range pieces {
		select {
		case <-b.Quiet():
			quiet = append(quiet, b.LeaseID)
		case <-over:
			return
		case <-ctx.Done():
			return
		}
	}
	ol.mu.Lock()
	defer ol.mu.Unlock()
	ol.returns = quiet
}
