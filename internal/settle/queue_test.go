package settle

import (
	"testing"
	"time"

	"tranche/lease"
	"tranche/models"
)

// A burst leaves a backlog of hundreds of thousands. Nobody copies it for each batch, and what a batch has claimed is let go of.
func TestABatchLeavesTheBacklogWhereItIs(t *testing.T) {
	backlog := make([]*item, 3*maxBatchEntries)
	for i := range backlog {
		backlog[i] = &item{Posting: &lease.Posting{}, acknowledged: true}
	}
	q := &queue{settler: &Settler{now: time.Now}, offer: &models.Offer{}, items: backlog, running: true}
	b := q.claim()
	if len(b.items) != maxBatchEntries || len(q.items) != 2*maxBatchEntries || &q.items[0] != &backlog[maxBatchEntries] {
		t.Fatalf("%d claimed, %d left, in the same place: %t", len(b.items), len(q.items), &q.items[0] == &backlog[maxBatchEntries])
	}
	for i, it := range backlog[:maxBatchEntries] {
		if it != nil {
			t.Fatalf("item %d is still kept", i)
		}
	}
}
