package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tranche/models"
)

// Refusals that are made before anybody else is asked.
var (
	errInvalidRequest       = errors.New("the request is not valid")
	errKeyMissing           = errors.New("the header Idempotency-Key is needed: it makes the request safe to repeat")
	errUnauthenticated      = errors.New("a key is needed: Authorization: Bearer KEY")
	errWrongKey             = errors.New("the key in the header Authorization is none of this node's keys")
	errForbidden            = errors.New("the checkout key may not do this: the admin key is needed")
	errNotLocal             = errors.New("no keys are set, so only programs on this machine are served: not through a proxy, and with a loopback address as Host and Origin")
	errRouteNotFound        = errors.New("there is no such path; /openapi.json has all of them")
	errMethodNotAllowed     = errors.New("this path does not take this method; the header Allow has those that it takes")
	errUnsupportedMediaType = errors.New("the body must be application/json, in UTF-8, not compressed")
	errSlowBody             = errors.New("the body was not there within the request's time; nothing was changed")
	errBodyTooLarge         = fmt.Errorf("a body is at most %d bytes", maxBodyBytes)
)

// How long a client is asked to wait where nothing better is known.
const (
	noRetry      = time.Duration(0)
	retrySoon    = 250 * time.Millisecond // what holds it up is gone in a moment
	retryLater   = time.Second            // something must recover first
	retryChange  = 5 * time.Second        // an admin must do something
	retryLongest = time.Hour
)

// The outcomes of a request that was not answered as it should have been.
const (
	outcomeNone        = ""
	outcomeNotRedeemed = "not_redeemed" // nothing was changed
	outcomeUnknown     = "unknown"      // ask again with the same key
)

// meaning is what an error means to a client.
type meaning struct {
	err     error
	name    string // the last segment of the problem's type
	status  int
	title   string
	retry   time.Duration // noRetry: asking again is of no use
	outcome string        // told of calls that write
}

// meanings is the one table from errors to problems. The first line that an error is, holds; what is in no line is internal.
var meanings = [...]meaning{
	{errInvalidRequest, "invalid-request", 400, "The request is not valid", noRetry, outcomeNone},
	{errKeyMissing, "idempotency-key-missing", 400, "The idempotency key is missing", noRetry, outcomeNone},
	{errUnauthenticated, "unauthenticated", 401, "A key is needed", noRetry, outcomeNone},
	{errWrongKey, "unauthenticated", 401, "The key is not known", noRetry, outcomeNone},
	{errForbidden, "forbidden", 403, "Not allowed", noRetry, outcomeNone},
	{errNotLocal, "forbidden", 403, "Not allowed", noRetry, outcomeNone},
	{errRouteNotFound, "route-not-found", 404, "No such path", noRetry, outcomeNone},
	{errMethodNotAllowed, "method-not-allowed", 405, "Method not allowed", noRetry, outcomeNone},
	{errSlowBody, "request-timeout", 408, "The body came too slowly", retrySoon, outcomeNone},
	{errBodyTooLarge, "body-too-large", 413, "The body is too large", noRetry, outcomeNone},
	{errUnsupportedMediaType, "unsupported-media-type", 415, "Unsupported media type", noRetry, outcomeNone},

	{models.ErrOfferNotFound, "offer-not-found", 404, "No such offer", noRetry, outcomeNone},
	{models.ErrRedemptionUnsettled, "redemption-not-found", 404, "The redemption is not there yet", retryLater, outcomeNone}, // is the next one, too
	{models.ErrRedemptionNotFound, "redemption-not-found", 404, "No such redemption", noRetry, outcomeNone},
	{models.ErrCartNotFound, "cart-not-found", 404, "No such cart", noRetry, outcomeNone},
	{models.ErrBudgetExhausted, "budget-exhausted", 409, "The budget is used up", noRetry, outcomeNone},
	{models.ErrBudgetInsufficient, "budget-insufficient", 409, "Less is left of the budget than is wanted", noRetry, outcomeNone},
	{models.ErrBudgetHeld, "budget-held", 409, "Too few units are free now, and enough may come back", retryLater, outcomeNone},
	{models.ErrTotalsExceeded, "totals-exceeded", 409, "The sums of the offer are too large", noRetry, outcomeNone},
	{models.ErrUserLimitReached, "user-limit-reached", 409, "The user's limit does not allow it", noRetry, outcomeNone},
	{models.ErrOfferNotActive, "offer-not-active", 409, "The offer is not active", noRetry, outcomeNone},
	{models.ErrOfferExists, "already-exists", 409, "The offer is there, with other settings", noRetry, outcomeNone},
	{models.ErrRequestInFlight, "request-in-flight", 409, "A request with this key is under way", retrySoon, outcomeNone},
	{models.ErrRefundExceeds, "refund-exceeds-redemption", 409, "The refund exceeds what is left of the redemption", noRetry, outcomeNone},
	{models.ErrTooManyRefunds, "too-many-refunds", 409, "The redemption has too many refunds", noRetry, outcomeNone},
	{models.ErrNotConfirmed, "not-confirmed", 409, "Only what is redeemed can be refunded", noRetry, outcomeNone},
	{models.ErrNotAHold, "not-a-hold", 409, "The redemption was never a hold", noRetry, outcomeNone},
	{models.ErrHoldResolved, "hold-already-resolved", 409, "The hold has already ended", noRetry, outcomeNone},
	{models.ErrBudgetBelowSpent, "budget-below-spent", 409, "The budget would be below what is spent", noRetry, outcomeNone},
	{models.ErrStaleVersion, "stale-version", 412, "The offer was changed meanwhile", noRetry, outcomeNone},
	{models.ErrKeyReused, "idempotency-key-reused", 422, "The idempotency key was used for another request", noRetry, outcomeNone},
	{models.ErrModeNotPossible, "mode-not-possible", 422, "The mode is not possible", noRetry, outcomeNone},

	{models.ErrOutcomeUnknown, "ledger-unavailable", 503, "The ledger did not answer", retryLater, outcomeUnknown},
	{models.ErrLedgerUnavailable, "ledger-unavailable", 503, "The ledger is not available", retryLater, outcomeNotRedeemed},
	{models.ErrJournalUnavailable, "journal-unavailable", 503, "The node's journal is not available", retryLater, outcomeNotRedeemed},
	{models.ErrBusy, "ledger-busy", 503, "The ledger is busy", retrySoon, outcomeNotRedeemed},
	{models.ErrNotSettled, "ledger-busy", 503, "The ledger is busy", retrySoon, outcomeNotRedeemed},
	{models.ErrLeaseClosed, "ledger-busy", 503, "The ledger is busy", retrySoon, outcomeNotRedeemed},
	{models.ErrOverloaded, "overloaded", 503, "The node has too much to do", retrySoon, outcomeNotRedeemed},
	{models.ErrDraining, "draining", 503, "The node is going away", retrySoon, outcomeNotRedeemed},
	{models.ErrEpochSuperseded, "draining", 503, "The node is going away", retrySoon, outcomeNotRedeemed},
	{context.DeadlineExceeded, "ledger-unavailable", 503, "Not decided in time", retryLater, outcomeUnknown},
	{context.Canceled, "ledger-unavailable", 503, "Not decided", retryLater, outcomeUnknown},
}

// meaningOf finds an error in the table.
func meaningOf(err error) meaning {
	for i := range meanings {
		if errors.Is(err, meanings[i].err) {
			return meanings[i]
		}
	}
	return meaning{err, "internal", 500, "Something went wrong here", retryLater, outcomeUnknown}
}
