package main

import (
	"strings"

	"tranche/models"
)

// greeting is what the server prints when it listens: where it is, and three calls to try. They work as printed, more than once.
func greeting(addr string, keys bool) string {
	admin, checkout := "", ""
	if keys {
		admin = ` \
  -H "Authorization: Bearer $TRANCHE_ADMIN_KEY"`
		checkout = ` \
  -H "Authorization: Bearer $TRANCHE_CHECKOUT_KEY"`
	}
	const offer, key = "welcome", "order-1001"
	return strings.NewReplacer(
		"{base}", "http://"+addr, "{offer}", offer, "{key}", key,
		"{redemption}", models.RedemptionIDOf(offer, key).String(), "{admin}", admin, "{checkout}", checkout,
	).Replace(`Tranche listens on {base}

# make an offer of 10 000 redemptions, one per user
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
