package settle

import (
	"testing"
	"time"

	"tranche/lease"
	"tranche/models"
)

// An outage leaves a backlog of hundreds of thousands. No batch copies it, and what a batch has claimed is let go of.
func TestABatchLeavesTheBacklogWhereItIs(t *testing.T) {
	backlog := make([]*submission, 3*maxBatchEntries)
	for i := range backlog {
		backlog[i] = &submission{Posting: &lease.Posting{}, acknowledged: true}
	}
	q := &queue{settler: &Settler{now: time.Now}, offer: &models.Offer{}, owed: backlog}
	b := q.claim()
	if len(b.items) != maxBatchEntries || len(q.owed) != 2*maxBatchEntries || &q.owed[0] != &backlog[maxBatchEntries] {
		t.Fatalf("%d claimed, %d left, in the same place: %t", len(b.items), len(q.owed), &q.owed[0] == &backlog[maxBatchEntries])
	}
	for i, sub := range backlog[:maxBatchEntries] {
		if sub != nil {
			t.Fatalf("submission %d is still kept", i)
		}
	}
}
