package allocator

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"tranche/models"
)

// The types of the journal's records: a redemption that was acknowledged, or a hold. A program that doesn't know holds must not take
// one for a redemption, so they are no mere member of it.
const (
	recordRedeem byte = 1
	recordHold   byte = 2
)

// record is a redemption or a hold in the journal, as JSON: it must be readable years later, by a newer program and by people.
// A member may be added; none may change its meaning.
type record struct {
	OfferID        string    `json:"offer_id"`
	EntryID        models.ID `json:"entry_id"`
	UserID         string    `json:"user_id"`
	OrderID        *string   `json:"order_id,omitzero"`
	IdempotencyKey string    `json:"idempotency_key"`
	Units          int64     `json:"units"`
	LeaseID        models.ID `json:"lease_id"`
	NodeID         models.ID `json:"node_id"`
	Metadata       *string   `json:"metadata,omitzero"`
	CreatedAt      int64     `json:"created_at_us"` // models.Micros
	HoldExpiresAt  *int64    `json:"hold_expires_at_us,omitzero"`
}

// encodeRecord gives the journal's form of an entry that was spent from its lease.
func encodeRecord(e *models.Entry) (kind byte, payload []byte, err error) {
	kind = recordRedeem
	if e.Kind == models.KindHold {
		kind = recordHold
	}
	payload, err = json.Marshal(&record{
		OfferID: e.OfferID, EntryID: e.ID, UserID: e.UserID, OrderID: e.OrderID, IdempotencyKey: e.IdempotencyKey, Units: e.Units,
		LeaseID: e.LeaseID, NodeID: e.NodeID, Metadata: e.Metadata, CreatedAt: int64(e.CreatedAt), HoldExpiresAt: (*int64)(e.HoldExpiresAt),
	})
	return kind, payload, err
}

// decodeRecord gives the entry back that a record holds.
func decodeRecord(kind byte, payload []byte) (models.Entry, error) {
	kinds := map[byte]models.Kind{recordRedeem: models.KindRedeem, recordHold: models.KindHold}
	if kinds[kind] == "" {
		return models.Entry{}, fmt.Errorf("journal: a record of type %d, which this program does not know", kind)
	}
	var r record
	if err := json.Unmarshal(payload, &r); err != nil {
		return models.Entry{}, fmt.Errorf("journal: %w", err)
	}
	if (kind == recordHold) != (r.HoldExpiresAt != nil) {
		return models.Entry{}, fmt.Errorf("journal: a record of type %d, and its end of a hold is %v", kind, r.HoldExpiresAt)
	}
	return models.Entry{
		OfferID: r.OfferID, ID: r.EntryID, Redemption: models.RedemptionIDOf(r.OfferID, r.IdempotencyKey).Hash, Kind: kinds[kind],
		UserID: r.UserID, OrderID: r.OrderID, IdempotencyKey: r.IdempotencyKey, Units: r.Units,
		LeaseID: r.LeaseID, NodeID: r.NodeID, Metadata: r.Metadata, CreatedAt: models.Micros(r.CreatedAt),
		HoldExpiresAt: (*models.Micros)(r.HoldExpiresAt),
	}, nil
}
