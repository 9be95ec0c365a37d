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
	var exprs computed
	if slices.ContainsFunc(entries, func(e models.Entry) bool { return e.BookedAt == nil }) {
		exprs = computed{"booked_at": q.dialect.now}
	}
	for chunk := range slices.Chunk(entries, chunkSize) {
		if _, err := insert(q, chunk, exprs, ""); err != nil {
			return err
		}
	}
	return nil
}

func byRedemption(a, b models.Entry) int {
	return cmp.Or(cmp.Compare(a.OfferID, b.OfferID), compareIDs(a.Redemption, b.Redemption), cmp.Compare(a.Seq, b.Seq))
}
