package store

import (
	"cmp"
	"slices"

	"tranche/models"
)

// append inserts the entries. If the next seq of a redemption is taken, that is a duplicate key.
//
// The statement's clock dates them, unless this transaction has read the clock: then its requesters hear of that time.
//
// They go in the order of their redemptions. So of two transactions with the same ones the second waits for the first, instead of a deadlock.
func (q *query) append(entries []models.Entry) error {
	entries = slices.SortedFunc(slices.Values(entries), byRedemption)
	exprs := q.computed(entries)
	for chunk := range slices.Chunk(entries, chunkSize) {
		if _, err := insert(q, chunk, exprs, ""); err != nil {
			return err
		}
	}
	return q.listForFeed(entries)
}

// computed is what an INSERT of entries computes: that they are listed for the feed, and the time of booking of those that have none. Where
// the table dates them, it says nothing of that: an expression is read for each row.
func (q *query) computed(entries []models.Entry) computed {
	exprs := computed{"fed": "TRUE"}
	dated := func(e models.Entry) bool { return e.BookedAt != nil }
	undated := func(e models.Entry) bool { return e.BookedAt == nil }
	byTable := q.dialect.datesEntries && !slices.ContainsFunc(entries, dated) // a column that is named has no default
	if byTable || !slices.ContainsFunc(entries, undated) {
		return exprs
	}
	exprs["booked_at"] = q.dialect.now
	return exprs
}

func byRedemption(a, b models.Entry) int {
	return cmp.Or(cmp.Compare(a.OfferID, b.OfferID), compareIDs(a.Redemption, b.Redemption), cmp.Compare(a.Seq, b.Seq))
}
