package store

import (
	"cmp"
	"slices"

	"tranche/models"
)

// append inserts the entries. If the next seq of a redemption is taken, that is a duplicate key.
//
// They go in the order of their redemptions. So of two transactions with the same ones the second waits for the first, instead of a deadlock.
func (q *query) append(appends []models.Entry) error {
	entries := make([]*models.Entry, len(appends))
	for i := range appends {
		entries[i] = &appends[i]
	}
	slices.SortFunc(entries, byRedemption)
	for chunk := range slices.Chunk(entries, chunkSize) {
		if err := q.insertEntries(chunk); err != nil {
			return err
		}
	}
	return nil
}

func byRedemption(a, b *models.Entry) int {
	return cmp.Or(cmp.Compare(a.OfferID, b.OfferID), compareIDs(a.Redemption, b.Redemption), cmp.Compare(a.Seq, b.Seq))
}

// insertEntries writes entries in one statement. What it costs grows with the columns that it names, for the database and for this process: it
// names those only in which some entry has more than a row has by default.
func (q *query) insertEntries(entries []*models.Entry) error {
	names := make([]string, 0, len(entryColumns))
	columns := make([]*entryColumn, 0, len(entryColumns))
	for i := range entryColumns {
		if c := &entryColumns[i]; c.has == nil || c.zero && !q.dialect.columnDefaults || slices.ContainsFunc(entries, c.has) {
			names, columns = append(names, c.name), append(columns, c)
		}
	}
	rows := insertInto("entries", names, len(entries))
	for _, e := range entries {
		for _, c := range columns {
			if c.id != nil {
				rows.id(c.id(e))
			} else {
				rows.value(c.value(e))
			}
		}
		rows.endRow()
	}
	_, err := q.insert(rows, "")
	return err
}

// entryColumn is a column of the table, and the id or other value that an entry has in it. Where has is set, the others are NULL, or if zero
// is set, their value is: then a row has that by default, where the dialect has such defaults.
type entryColumn struct {
	name  string
	id    func(*models.Entry) *models.ID
	value func(*models.Entry) any
	has   func(*models.Entry) bool
	zero  bool
}

// entryColumns are all of them. A test holds them against the model.
var entryColumns = []entryColumn{ // read only
	{name: "offer_id", value: func(e *models.Entry) any { return e.OfferID }},
	{name: "id", id: func(e *models.Entry) *models.ID { return &e.ID }},
	{name: "redemption", id: func(e *models.Entry) *models.ID { return &e.Redemption }},
	{name: "seq", value: func(e *models.Entry) any { return e.Seq }, has: func(e *models.Entry) bool { return e.Seq != 0 }, zero: true},
	{name: "kind", value: func(e *models.Entry) any { return string(e.Kind) }},
	{name: "user_id", value: func(e *models.Entry) any { return e.UserID }},
	{name: "order_id", value: func(e *models.Entry) any { return e.OrderID }, has: func(e *models.Entry) bool { return e.OrderID != nil }},
	{name: "idempotency_key", value: func(e *models.Entry) any { return e.IdempotencyKey }},
	{name: "units", value: func(e *models.Entry) any { return e.Units }},
	{name: "lease_id", id: func(e *models.Entry) *models.ID { return &e.LeaseID }},
	{name: "node_id", id: func(e *models.Entry) *models.ID { return &e.NodeID }},
	{
		name:  "hold_expires_at",
		value: func(e *models.Entry) any { return (*int64)(e.HoldExpiresAt) },
		has:   func(e *models.Entry) bool { return e.HoldExpiresAt != nil },
	},
	{
		name: "cart_id",
		value: func(e *models.Entry) any {
			if e.CartID == nil {
				return nil
			}
			return e.CartID[:]
		},
		has: func(e *models.Entry) bool { return e.CartID != nil },
	},
	{
		name:  "restores_budget",
		value: func(e *models.Entry) any { return e.RestoresBudget },
		has:   func(e *models.Entry) bool { return e.RestoresBudget },
		zero:  true,
	},
	{
		name:  "restores_user_limit",
		value: func(e *models.Entry) any { return e.RestoresUserLimit },
		has:   func(e *models.Entry) bool { return e.RestoresUserLimit },
		zero:  true,
	},
	{name: "late", value: func(e *models.Entry) any { return e.Late }, has: func(e *models.Entry) bool { return e.Late }, zero: true},
	{name: "reason", value: func(e *models.Entry) any { return e.Reason }, has: func(e *models.Entry) bool { return e.Reason != nil }},
	{name: "metadata", value: func(e *models.Entry) any { return e.Metadata }, has: func(e *models.Entry) bool { return e.Metadata != nil }},
	{name: "created_at", value: func(e *models.Entry) any { return int64(e.CreatedAt) }},
}
