package contract

import (
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
)

// problem is the body of a refusal, as in RFC 9457, with the members of Tranche's that a client acts on.
type problem struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Retryable    bool   `json:"retryable"`
	RetryAfterMS int64  `json:"retry_after_ms,omitzero"`
	Outcome      string `json:"outcome,omitzero"`
}

// meaning is what an error is to a client.
type meaning struct {
	err    error
	name   string
	status int
}

var meanings = []meaning{ // read only
	{errInvalid, "invalid-request", http.StatusBadRequest},
	{errKeyMissing, "idempotency-key-missing", http.StatusBadRequest},
	{ErrOfferNotFound, "offer-not-found", http.StatusNotFound},
	{ErrRedemptionNotFound, "redemption-not-found", http.StatusNotFound},
	{ErrOfferExists, "already-exists", http.StatusConflict},
	{ErrSoldOut, "budget-exhausted", http.StatusConflict},
	{ErrUserLimit, "user-limit-reached", http.StatusConflict},
	{ErrRefundExceeds, "refund-exceeds-redemption", http.StatusConflict},
	{ErrKeyReused, "idempotency-key-reused", http.StatusUnprocessableEntity},
}

// writeProblem answers with an error. What is not in the table came from the database or from Redis: it is worth asking again.
func writeProblem(c *gin.Context, err error) {
	for i := range meanings {
		if m := &meanings[i]; errors.Is(err, m.err) {
			writeJSON(c, m.status, "application/problem+json", problem{Type: "/problems/" + m.name, Title: m.err.Error(), Status: m.status})
			return
		}
	}
	p := problem{
		Type: "/problems/ledger-unavailable", Title: "the books did not answer", Status: http.StatusServiceUnavailable,
		Retryable: true, RetryAfterMS: 250, Outcome: "unknown",
	}
	if errors.Is(err, ErrNotDone) {
		p.Outcome = "not_redeemed"
	}
	c.Header("Retry-After", "1")
	writeJSON(c, p.Status, "application/problem+json", p)
}
