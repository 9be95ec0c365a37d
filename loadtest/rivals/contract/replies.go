package contract

import "time"

// nobody stands where Tranche names a node and a lease: a rival has neither, and its replies must not be shorter for it.
const nobody = "00000000-0000-0000-0000-000000000000"

type redemptionJSON struct {
	ID             string    `json:"id"`
	OfferID        string    `json:"offer_id"`
	UserID         string    `json:"user_id"`
	OrderID        *string   `json:"order_id"`
	IdempotencyKey string    `json:"idempotency_key"`
	Units          int64     `json:"units"`
	RefundedUnits  int64     `json:"refunded_units"`
	State          string    `json:"state"`
	HoldExpiresAt  *string   `json:"hold_expires_at"`
	Recorded       string    `json:"recorded"`
	Late           bool      `json:"late"`
	CartID         *string   `json:"cart_id"`
	NodeID         string    `json:"node_id"`
	LeaseID        string    `json:"lease_id"`
	CreatedAt      time.Time `json:"created_at"`
	ResolvedAt     time.Time `json:"resolved_at"`
	Metadata       *string   `json:"metadata"`
}

func toRedemption(r *Redemption) *redemptionJSON {
	return &redemptionJSON{
		ID:             RedemptionID(r.OfferID, r.Hash),
		OfferID:        r.OfferID,
		UserID:         r.UserID,
		OrderID:        r.OrderID,
		IdempotencyKey: r.Key,
		Units:          r.Units,
		RefundedUnits:  r.UnitsRefunded,
		State:          "redeemed",
		Recorded:       "ledger",
		NodeID:         nobody,
		LeaseID:        nobody,
		CreatedAt:      r.CreatedAt,
		ResolvedAt:     r.CreatedAt,
	}
}

type refundJSON struct {
	RedemptionID   string       `json:"redemption_id"`
	IdempotencyKey string       `json:"idempotency_key"`
	Units          int64        `json:"units"`
	Restored       restoredJSON `json:"restored"`
	CreatedAt      time.Time    `json:"created_at"`
}

type restoredJSON struct {
	Budget    bool `json:"budget"`
	UserLimit bool `json:"user_limit"`
}

func toRefund(r *Refund) refundJSON {
	return refundJSON{
		RedemptionID:   RedemptionID(r.OfferID, r.Hash),
		IdempotencyKey: r.Key,
		Units:          r.Units,
		Restored:       restoredJSON{Budget: true, UserLimit: true},
		CreatedAt:      r.CreatedAt,
	}
}

type balanceJSON struct {
	Budget   int64 `json:"budget"`
	Redeemed int64 `json:"redeemed"`
	Refunded int64 `json:"refunded"`
	NetSpent int64 `json:"net_spent"`
}

func toBalance(b *Balance) balanceJSON {
	return balanceJSON{Budget: b.Budget, Redeemed: b.UnitsRedeemed, Refunded: b.UnitsRefunded, NetSpent: b.UnitsRedeemed - b.UnitsRefunded}
}

type usageJSON struct {
	OfferID          string `json:"offer_id"`
	UserID           string `json:"user_id"`
	Redemptions      int64  `json:"redemptions"`
	LimitRedemptions *int64 `json:"limit_redemptions"`
}

func toUsage(offerID, userID string, u *Usage) usageJSON {
	out := usageJSON{OfferID: offerID, UserID: userID, Redemptions: u.Redemptions}
	if u.Limit > 0 {
		out.LimitRedemptions = &u.Limit
	}
	return out
}
