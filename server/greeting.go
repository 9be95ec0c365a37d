package main

import (
	"strings"

	"tranche/models"
)

// greeting is what the server prints when it listens: where it is, and three calls to try. They work as printed, more than once.
func greeting(base string, s *settings) string {
	admin, checkout := header("TRANCHE_ADMIN_KEY", s.AdminKey), header("TRANCHE_CHECKOUT_KEY", s.CheckoutKey)
	where := "Tranche listens on " + base + "\n\n"
	switch {
	case admin == "" && checkout != "":
		return where + "# nothing to try: to make an offer takes an admin key, and TRANCHE_ADMIN_KEY is not set\n\n"
	case checkout == "":
		checkout = admin // which may do everything
	}
	const offer, key = "welcome", "order-1001"
	return where + strings.NewReplacer(
		"{base}", base, "{offer}", offer, "{key}", key,
		"{redemption}", models.RedemptionIDOf(offer, key).String(), "{admin}", admin, "{checkout}", checkout,
	).Replace(`# make an offer of 10 000 redemptions, one per user
curl -s {base}/v1/offers{admin} -H 'Content-Type: application/json' \
  -d '{"id": "{offer}", "name": "Welcome!", "budget": 10000, "user_limit_redemptions": 1}'

# redeem it
curl -s {base}/v1/offers/{offer}/redemptions{checkout} -H 'Content-Type: application/json' \
  -H 'Idempotency-Key: {key}' -d '{"user_id": "alice", "order_id": "1001"}'

# give it back
curl -s {base}/v1/redemptions/{redemption}/refunds{checkout} -H 'Content-Type: application/json' \
  -H 'Idempotency-Key: return-1' -d '{"reason": "changed her mind"}'

`)
}

// header is the part of a call that shows a key, by the variable that has it; empty where the key is not set.
func header(variable string, key filled) string {
	if key == "" {
		return ""
	}
	return ` \
  -H "Authorization: Bearer $` + variable + `"`
}
