package allocator

import (
	"fmt"

	"github.com/go-json-experiment/json"

	"tranche/models"
)

// recordRedeem is the type of the journal's records: a redemption that was acknowledged.
const recordRedeem byte = 1

// record is a redemption in the journal, as JSON: it must be readable years later, by a newer program and by people.
// A member may be added; none may change its meaning.
type record struct {
	OfferID        string    `json:"offer_id"`
	EntryID        models.ID `json:"entry_id"`
	UserID         string    `json:"user_id"`
	OrderID        *string   `json:"order_id,omitempty"`
	IdempotencyKey string    `json:"idempotency_key"`
	Units          int64     `json:"units"`
	LeaseID        models.ID `json:"lease_id"`
	NodeID         models.ID `json:"node_id"`
	Metadata       *string   `json:"metadata,omitempty"`
	CreatedAt      int64     `json:"created_at_us"` // models.Micros
}

// encodeRecord gives the journal's form of an entry that was spent from its lease.
func encodeRecord(e *models.Entry) ([]byte, error) {
	return json.Marshal(&record{
		OfferID: e.OfferID, EntryID: e.ID, UserID: e.UserID, OrderID: e.OrderID, IdempotencyKey: e.IdempotencyKey,
		Units: e.Units, LeaseID: e.LeaseID, NodeID: e.NodeID, Metadata: e.Metadata, CreatedAt: int64(e.CreatedAt),
	})
}

// decodeRecord gives the entry back that a record holds.
func decodeRecord(kind byte, payload []byte) (models.Entry, error) {
	if kind != recordRedeem {
		return models.Entry{}, fmt.Errorf("journal: a record of type %d, which this program does not know", kind)
	}
	var r record
	if err := json.Unmarshal(payload, &r); err != nil {
		return models.Entry{}, fmt.Errorf("journal: %w", err)
	}
	return models.Entry{
		OfferID: r.OfferID, ID: r.EntryID, Redemption: models.RedemptionIDOf(r.OfferID, r.IdempotencyKey).Hash, Kind: models.KindRedeem,
		UserID: r.UserID, OrderID: r.OrderID, IdempotencyKey: r.IdempotencyKey, Units: r.Units,
		LeaseID: r.LeaseID, NodeID: r.NodeID, Metadata: r.Metadata, CreatedAt: models.Micros(r.CreatedAt),
	}, nil
}
