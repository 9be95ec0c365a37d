package ledger

import (
	"fmt"
	"time"

	"github.com/go-json-experiment/json"

	"tranche/models"
)

// NewAudit completes the record of a change: who made it, where and why is the caller's to say. before is nil for a new offer.
func NewAudit(by models.Audit, before, after *models.Offer, now models.Micros) (models.Audit, error) {
	by.OfferID, by.ID, by.At, by.TermsBefore = after.ID, models.NewID(), now, nil
	if before != nil {
		text, err := termsOf(before)
		if err != nil {
			return models.Audit{}, err
		}
		by.TermsBefore = &text
	}
	var err error
	by.TermsAfter, err = termsOf(after)
	return by, err
}

// terms are what an admin sets of an offer, under the names that the API has for them.
type terms struct {
	Name                    string  `json:"name"`
	Unit                    string  `json:"unit"`
	Budget                  int64   `json:"budget"`
	Mode                    string  `json:"mode"`
	UserLimitRedemptions    *int64  `json:"user_limit_redemptions"`
	UserLimitUnits          *int64  `json:"user_limit_units"`
	StartsAt                *string `json:"starts_at"`
	EndsAt                  *string `json:"ends_at"`
	Status                  string  `json:"status"`
	LeaseSize               int64   `json:"lease_size"`
	LeaseTTLSeconds         int64   `json:"lease_ttl_seconds"`
	Adaptive                bool    `json:"adaptive"`
	RefundRestoresBudget    bool    `json:"refund_restores_budget"`
	RefundRestoresUserLimit bool    `json:"refund_restores_user_limit"`
}

func termsOf(o *models.Offer) (string, error) {
	text, err := json.Marshal(terms{
		Name: o.Name, Unit: o.Unit, Budget: o.BudgetTarget, Mode: string(o.Mode),
		UserLimitRedemptions: o.UserLimitRedemptions, UserLimitUnits: o.UserLimitUnits,
		StartsAt: instant(o.StartsAt), EndsAt: instant(o.EndsAt), Status: string(o.Status),
		LeaseSize: o.LeaseSize, LeaseTTLSeconds: o.LeaseTTLSeconds, Adaptive: o.Adaptive,
		RefundRestoresBudget: o.RefundRestoresBudget, RefundRestoresUserLimit: o.RefundRestoresUserLimit,
	})
	if err != nil {
		return "", fmt.Errorf("terms of offer %q: %w", o.ID, err)
	}
	return string(text), nil
}

func instant(at *models.Micros) *string {
	if at == nil {
		return nil
	}
	text := at.Time().Format(time.RFC3339Nano)
	return &text
}
