package api

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tranche/allocator"
	"tranche/models"
)

// The JSON shapes. Absent values are null, never left out. Ids are written by their own text.

type offerJSON struct {
	ID                      string       `json:"id"`
	Name                    string       `json:"name"`
	Unit                    string       `json:"unit"`
	Budget                  int64        `json:"budget"`
	BudgetTarget            int64        `json:"budget_target"`
	Mode                    string       `json:"mode"`
	UserLimitRedemptions    *int64       `json:"user_limit_redemptions"`
	UserLimitUnits          *int64       `json:"user_limit_units"`
	StartsAt                *instantJSON `json:"starts_at"`
	EndsAt                  *instantJSON `json:"ends_at"`
	Status                  string       `json:"status"`
	LeaseSize               int64        `json:"lease_size"`
	LeaseTTLSeconds         int64        `json:"lease_ttl_seconds"`
	Adaptive                bool         `json:"adaptive"`
	RefundRestoresBudget    bool         `json:"refund_restores_budget"`
	RefundRestoresUserLimit bool         `json:"refund_restores_user_limit"`
	UserLimits              string       `json:"user_limits"`
	OverspendPerNode        int64        `json:"overspend_per_node"`
	Version                 int64        `json:"version"`
	CreatedAt               instantJSON  `json:"created_at"`
	UpdatedAt               instantJSON  `json:"updated_at"`
}

func toOffer(o *models.Offer, now models.Micros) offerJSON {
	return offerJSON{
		ID:                      o.ID,
		Name:                    o.Name,
		Unit:                    o.Unit,
		Budget:                  o.Budget,
		BudgetTarget:            o.BudgetTarget,
		Mode:                    string(o.Mode),
		UserLimitRedemptions:    o.UserLimitRedemptions,
		UserLimitUnits:          o.UserLimitUnits,
		StartsAt:                (*instantJSON)(o.StartsAt),
		EndsAt:                  (*instantJSON)(o.EndsAt),
		Status:                  string(o.StatusAt(now)),
		LeaseSize:               o.LeaseSize,
		LeaseTTLSeconds:         o.LeaseTTLSeconds,
		Adaptive:                o.Adaptive,
		RefundRestoresBudget:    o.RefundRestoresBudget,
		RefundRestoresUserLimit: o.RefundRestoresUserLimit,
		UserLimits:              string(o.UserLimits()),
		OverspendPerNode:        o.OverspendPerNode(),
		Version:                 o.Version,
		CreatedAt:               instantJSON(o.CreatedAt),
		UpdatedAt:               instantJSON(o.UpdatedAt),
	}
}

type redemptionJSON struct {
	ID             string         `json:"id"`
	OfferID        string         `json:"offer_id"`
	UserID         string         `json:"user_id"`
	OrderID        *string        `json:"order_id"`
	IdempotencyKey string         `json:"idempotency_key"`
	Units          int64          `json:"units"`
	RefundedUnits  int64          `json:"refunded_units"`
	State          string         `json:"state"`
	HoldExpiresAt  *instantJSON   `json:"hold_expires_at"`
	Recorded       string         `json:"recorded"`
	Late           bool           `json:"late"`
	CartID         *string        `json:"cart_id"`
	NodeID         models.ID      `json:"node_id"`
	LeaseID        models.ID      `json:"lease_id"`
	CreatedAt      instantJSON    `json:"created_at"`
	ResolvedAt     *instantJSON   `json:"resolved_at"`
	Metadata       jsontext.Value `json:"metadata"` // null when nil
}

// recorded says where a redemption is on record: in the database, or as yet on the disk of the node that acknowledged it.
func recorded(r *models.Redemption) string {
	if r.Journaled {
		return "journal"
	}
	return "ledger"
}

// cartIDOf gives the cart that a redemption is an item of, if it is one.
func cartIDOf(r *models.Redemption) *string {
	if r.CartID == nil {
		return nil
	}
	id := r.CartID.String()
	return &id
}

func toRedemption(r *models.Redemption) redemptionJSON {
	return redemptionJSON{
		ID:             r.RedemptionID.String(),
		OfferID:        r.OfferID,
		UserID:         r.UserID,
		OrderID:        r.OrderID,
		IdempotencyKey: r.IdempotencyKey,
		Units:          r.Units,
		RefundedUnits:  r.RefundedUnits,
		State:          string(r.State),
		HoldExpiresAt:  (*instantJSON)(r.HoldExpiresAt),
		Recorded:       recorded(r),
		Late:           r.Late,
		CartID:         cartIDOf(r),
		NodeID:         r.NodeID,
		LeaseID:        r.LeaseID,
		CreatedAt:      instantJSON(r.CreatedAt),
		ResolvedAt:     (*instantJSON)(r.ResolvedAt),
		Metadata:       toRaw(r.Metadata),
	}
}

type refundJSON struct {
	ID             models.ID    `json:"id"`
	RedemptionID   string       `json:"redemption_id"`
	IdempotencyKey string       `json:"idempotency_key"`
	Units          int64        `json:"units"`
	Restored       restoredJSON `json:"restored"`
	Reason         *string      `json:"reason"`
	CreatedAt      instantJSON  `json:"created_at"`
	BookedAt       instantJSON  `json:"booked_at"`
}

type restoredJSON struct {
	Budget    bool `json:"budget"`
	UserLimit bool `json:"user_limit"`
}

func toRefund(e *models.Entry) refundJSON {
	return refundJSON{
		ID:             e.ID,
		RedemptionID:   e.RedemptionID().String(),
		IdempotencyKey: e.IdempotencyKey,
		Units:          e.Units,
		Restored:       restoredJSON{Budget: e.RestoresBudget, UserLimit: e.RestoresUserLimit},
		Reason:         e.Reason,
		CreatedAt:      instantJSON(e.CreatedAt),
		BookedAt:       instantJSON(e.Booked()),
	}
}

type cartJSON struct {
	ID    string           `json:"id"`
	Items []redemptionJSON `json:"items"`
}

func toCart(c *allocator.Carted) cartJSON {
	shown := cartJSON{ID: c.ID.String(), Items: make([]redemptionJSON, len(c.Redemptions))}
	for i := range c.Redemptions {
		shown.Items[i] = toRedemption(&c.Redemptions[i])
	}
	return shown
}

type cartRefundJSON struct {
	ID    string       `json:"id"`
	Items []refundJSON `json:"items"`
}

func toCartRefund(c *allocator.CartRefunded) cartRefundJSON {
	shown := cartRefundJSON{ID: c.ID.String(), Items: make([]refundJSON, len(c.Refunds))}
	for i := range c.Refunds {
		shown.Items[i] = toRefund(&c.Refunds[i])
	}
	return shown
}

type entryJSON struct {
	ID           models.ID   `json:"id"`
	Seq          int64       `json:"seq"`
	Kind         string      `json:"kind"`
	OfferID      string      `json:"offer_id"`
	RedemptionID string      `json:"redemption_id"`
	UserID       string      `json:"user_id"`
	OrderID      *string     `json:"order_id"`
	Units        int64       `json:"units"`
	LeaseID      models.ID   `json:"lease_id"`
	NodeID       models.ID   `json:"node_id"`
	Late         bool        `json:"late"`
	CreatedAt    instantJSON `json:"created_at"`
	BookedAt     instantJSON `json:"booked_at"`
}

func toEntry(e *models.Entry) entryJSON {
	return entryJSON{
		ID:           e.ID,
		Seq:          e.Seq,
		Kind:         string(e.Kind),
		OfferID:      e.OfferID,
		RedemptionID: e.RedemptionID().String(),
		UserID:       e.UserID,
		OrderID:      e.OrderID,
		Units:        e.Units,
		LeaseID:      e.LeaseID,
		NodeID:       e.NodeID,
		Late:         e.Late,
		CreatedAt:    instantJSON(e.CreatedAt),
		BookedAt:     instantJSON(e.Booked()),
	}
}

// fedJSON is an entry with its place in the feed.
type fedJSON struct {
	Position string `json:"position"`
	entryJSON
}

func toFed(e *models.Fed) fedJSON { return fedJSON{position(e), toEntry(&e.Entry)} }

func position(e *models.Fed) string { return strconv.FormatInt(e.Position, 10) }

type exceptionJSON struct {
	ID             models.ID   `json:"id"`
	Reason         string      `json:"reason"`
	RedemptionID   string      `json:"redemption_id"`
	UserID         string      `json:"user_id"`
	OrderID        *string     `json:"order_id"`
	IdempotencyKey string      `json:"idempotency_key"`
	Units          int64       `json:"units"`
	LeaseID        models.ID   `json:"lease_id"`
	NodeID         models.ID   `json:"node_id"`
	EntryID        models.ID   `json:"entry_id"`
	CreatedAt      instantJSON `json:"created_at"`
	BookedAt       instantJSON `json:"booked_at"`
}

func toException(e *models.Exception) exceptionJSON {
	return exceptionJSON{
		ID:             e.ID,
		Reason:         string(e.Reason),
		RedemptionID:   e.RedemptionID().String(),
		UserID:         e.UserID,
		OrderID:        e.OrderID,
		IdempotencyKey: e.IdempotencyKey,
		Units:          e.Units,
		LeaseID:        e.LeaseID,
		NodeID:         e.NodeID,
		EntryID:        e.EntryID,
		CreatedAt:      instantJSON(e.CreatedAt),
		BookedAt:       instantJSON(e.CreatedAt),
	}
}

type leaseJSON struct {
	ID        models.ID    `json:"id"`
	OfferID   string       `json:"offer_id"`
	NodeID    models.ID    `json:"node_id"`
	NodeName  string       `json:"node_name"`
	Epoch     int64        `json:"epoch"`
	Kind      string       `json:"kind"`
	Mode      string       `json:"mode"`
	Granted   int64        `json:"granted"`
	Spent     int64        `json:"spent"`
	State     string       `json:"state"`
	GrantedAt instantJSON  `json:"granted_at"`
	ExpiresAt instantJSON  `json:"expires_at"`
	ClosedAt  *instantJSON `json:"closed_at"`
}

func toLease(l *models.ListedLease) leaseJSON {
	return leaseJSON{
		ID:        l.ID,
		OfferID:   l.OfferID,
		NodeID:    l.NodeID,
		NodeName:  l.NodeName,
		Epoch:     l.Epoch,
		Kind:      string(l.Kind),
		Mode:      string(l.Mode),
		Granted:   l.Granted,
		Spent:     l.Spent,
		State:     string(l.State),
		GrantedAt: instantJSON(l.GrantedAt),
		ExpiresAt: instantJSON(l.ExpiresAt),
		ClosedAt:  (*instantJSON)(l.ClosedAt),
	}
}

type balanceJSON struct {
	Budget         int64       `json:"budget"`
	Allocated      int64       `json:"allocated"`
	Unallocated    int64       `json:"unallocated"`
	Outstanding    int64       `json:"outstanding"`
	Held           int64       `json:"held"`
	Redeemed       int64       `json:"redeemed"`
	Refunded       int64       `json:"refunded"`
	Forfeited      int64       `json:"forfeited"`
	NetSpent       int64       `json:"net_spent"`
	Overspend      int64       `json:"overspend"`
	OverspendBound int64       `json:"overspend_bound"`
	LateUnits      int64       `json:"late_units"`
	LeasesActive   int64       `json:"leases_active"`
	NodesActive    int64       `json:"nodes_active"`
	AsOf           instantJSON `json:"as_of"`
}

func toBalance(b *models.Balance) balanceJSON {
	return balanceJSON{
		Budget:         b.Budget,
		Allocated:      b.Allocated,
		Unallocated:    b.Unallocated(),
		Outstanding:    b.Outstanding,
		Held:           b.Held,
		Redeemed:       b.Redeemed,
		Refunded:       b.Refunded,
		Forfeited:      b.Forfeited,
		NetSpent:       b.NetSpent(),
		Overspend:      b.Overspend(),
		OverspendBound: b.OverspendBound,
		LateUnits:      b.LateUnits,
		LeasesActive:   b.LeasesActive,
		NodesActive:    b.NodesActive,
		AsOf:           instantJSON(b.AsOf),
	}
}

type usageJSON struct {
	OfferID              string `json:"offer_id"`
	UserID               string `json:"user_id"`
	Redemptions          int64  `json:"redemptions"`
	Units                int64  `json:"units"`
	HeldUnits            int64  `json:"held_units"`
	LimitRedemptions     *int64 `json:"limit_redemptions"`
	LimitUnits           *int64 `json:"limit_units"`
	RemainingRedemptions *int64 `json:"remaining_redemptions"`
	RemainingUnits       *int64 `json:"remaining_units"`
	Complete             bool   `json:"complete"`
}

// remaining gives what is left of a limit, or nil where there is none.
func remaining(limit *int64, used int64) *int64 {
	if limit == nil {
		return nil
	}
	left := max(0, *limit-used)
	return &left
}

type nodeJSON struct {
	ID           models.ID   `json:"id"`
	Name         string      `json:"name"`
	Epoch        int64       `json:"epoch"`
	Version      *string     `json:"version"`
	Active       bool        `json:"active"`
	StartedAt    instantJSON `json:"started_at"`
	SeenAt       instantJSON `json:"seen_at"`
	LeasesActive int64       `json:"leases_active"`
	Outstanding  int64       `json:"outstanding"`
}

func toNode(n *models.NodeActivity, now models.Micros) nodeJSON {
	return nodeJSON{
		ID:           n.ID,
		Name:         n.Name,
		Epoch:        n.Epoch,
		Version:      versionOf(n),
		Active:       n.ActiveAt(now),
		StartedAt:    instantJSON(n.StartedAt),
		SeenAt:       instantJSON(n.SeenAt),
		LeasesActive: n.LeasesActive,
		Outstanding:  n.Outstanding,
	}
}

// versionOf gives the version of a node's program; nil: it is one that did not say.
func versionOf(n *models.NodeActivity) *string {
	if n.Version == "" {
		return nil
	}
	return &n.Version
}

type appliedJSON struct {
	Offer   offerJSON     `json:"offer"`
	Applied []ownerJSON   `json:"applied"`
	Pending []pendingJSON `json:"pending"`
}

func toApplied(a *allocator.Applied, now models.Micros) appliedJSON {
	shown := appliedJSON{
		Offer:   toOffer(&a.Offer, now),
		Applied: make([]ownerJSON, 0, len(a.Applied)),
		Pending: make([]pendingJSON, 0, len(a.Pending)),
	}
	for _, o := range a.Applied {
		shown.Applied = append(shown.Applied, ownerJSON(o))
	}
	for _, p := range a.Pending {
		shown.Pending = append(shown.Pending, pendingJSON{ownerJSON(p.Owner), instantJSON(p.Until)})
	}
	return shown
}

type ownerJSON struct {
	NodeID   models.ID `json:"node_id"`
	NodeName string    `json:"node_name"`
}

type pendingJSON struct {
	ownerJSON
	Until instantJSON `json:"until"`
}

type auditJSON struct {
	ID        models.ID      `json:"id"`
	At        instantJSON    `json:"at"`
	Actor     string         `json:"actor"`
	NodeID    models.ID      `json:"node_id"`
	Action    string         `json:"action"`
	OfferID   string         `json:"offer_id"`
	Before    jsontext.Value `json:"before"` // null when nil
	After     jsontext.Value `json:"after"`
	Reason    *string        `json:"reason"`
	RequestID string         `json:"request_id"`
}

func toAudit(a *models.Audit) auditJSON {
	return auditJSON{
		ID:        a.ID,
		At:        instantJSON(a.At),
		Actor:     string(a.Actor),
		NodeID:    a.NodeID,
		Action:    string(a.Action),
		OfferID:   a.OfferID,
		Before:    toRaw(a.TermsBefore),
		After:     toRaw(&a.TermsAfter),
		Reason:    a.Reason,
		RequestID: a.RequestID,
	}
}

type healthJSON struct {
	Status  string `json:"status"`
	Version string `json:"version"`
}

type readinessJSON struct {
	Ready    bool           `json:"ready"`
	Detail   string         `json:"detail"`
	Degraded []degradedJSON `json:"degraded"`
}

type degradedJSON struct {
	Part   string      `json:"part"`
	Since  instantJSON `json:"since"`
	Detail string      `json:"detail"`
}

// toRaw shows kept JSON as it is.
func toRaw(document *string) jsontext.Value {
	if document == nil {
		return nil
	}
	return jsontext.Value(*document)
}

// instantJSON is written as RFC 3339 in UTC, with as many digits of the second as are needed.
type instantJSON models.Micros

// MarshalJSONTo implements json.MarshalerTo.
func (i instantJSON) MarshalJSONTo(enc *jsontext.Encoder) error {
	b := append(enc.AvailableBuffer(), '"')
	b = models.Micros(i).Time().AppendFormat(b, time.RFC3339Nano)
	return enc.WriteValue(append(b, '"'))
}
