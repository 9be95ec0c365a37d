package models

import (
	"errors"
	"fmt"
)

// Refusals: the request was understood and answered, nothing was spent.
var (
	ErrOfferNotFound      = errors.New("there is no offer with this id")
	ErrOfferExists        = errors.New("an offer with this id is there, with other settings")
	ErrOfferNotActive     = errors.New("the offer is not active")
	ErrModeNotPossible    = errors.New("mode not possible")
	ErrStaleVersion       = errors.New("the offer has another version than If-Match names: it was changed since it was read")
	ErrBudgetBelowSpent   = errors.New("the budget would be below what is spent")
	ErrBudgetExhausted    = errors.New("nothing is left of the budget, and no node or hold has units that can come back")
	ErrBudgetInsufficient = errors.New("less is left of the budget than is wanted")
	ErrBudgetHeld         = errors.New("nodes or holds have units that are missing now and may come back")
	ErrTotalsExceeded     = errors.New("the offer's sums are too large for anything more to be redeemed")
	ErrUserLimitReached   = errors.New("the redemption would go over the user's limit")
	ErrKeyReused          = errors.New("the idempotency key was used for a request that said something else: a new request needs a new key")
	ErrRequestInFlight    = errors.New("a request with this idempotency key is under way")
	ErrRedemptionNotFound = errors.New("there is no redemption with this id")
	ErrCartNotFound       = errors.New("there is no cart with this id")
	ErrRefundExceeds      = errors.New("the refund exceeds what is left of the redemption")
	ErrTooManyRefunds     = fmt.Errorf("the redemption has %d refunds; one more may take all that is left", MaxRefunds)
	ErrNotConfirmed       = errors.New("only what is redeemed can be refunded, and this is or was a hold that is not confirmed")
	ErrNotAHold           = errors.New("the redemption was never a hold")
	ErrHoldResolved       = errors.New("the hold has already ended")
	ErrConfirmExceeds     = errors.New("more units are confirmed than are held")
)

// ErrRedemptionUnsettled is an ErrRedemptionNotFound that may pass: a node may have acknowledged it and not settled it yet.
var ErrRedemptionUnsettled = fmt.Errorf("%w in the ledger; a node may have acknowledged it a moment ago", ErrRedemptionNotFound)

// Conditions of the machinery.
var (
	// ErrLedgerUnavailable: the database could not be asked, or could not answer in time. Nothing was changed.
	ErrLedgerUnavailable = errors.New("ledger unavailable")
	// ErrJournalUnavailable: this node's journal takes no records, for lack of space or after a failure. Nothing was changed.
	ErrJournalUnavailable = errors.New("journal unavailable")
	// ErrOutcomeUnknown: COMMIT was sent and its reply is missing. The change may still come true.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrBusy: the database answered, and others held its locks for too long. Nothing was changed.
	ErrBusy = errors.New("ledger busy")
	// ErrOverloaded: a queue of this node is full, or its connections to the database are all in use. Nothing was changed.
	ErrOverloaded = errors.New("overloaded")
	// ErrDraining: this node is going away. Nothing was changed.
	ErrDraining = errors.New("draining")
	// ErrLeaseClosed: the lease is closed, so nothing was, or will be, booked on it, unless it was acknowledged before.
	ErrLeaseClosed = errors.New("lease closed")
	// ErrNotSettled: the entry is not in the ledger and was not judged.
	ErrNotSettled = errors.New("not settled")
	// ErrEpochSuperseded: another process has started with this node's identity since.
	ErrEpochSuperseded = errors.New("node epoch superseded")
)

// NotActiveError is ErrOfferNotActive with the reason.
type NotActiveError struct {
	Status   Status
	StartsAt *Micros
	EndsAt   *Micros
}

func (e *NotActiveError) Error() string {
	return fmt.Sprintf("%v: it is %s", ErrOfferNotActive, e.Status)
}
func (e *NotActiveError) Unwrap() error { return ErrOfferNotActive }

// ShortError is ErrBudgetExhausted, ErrBudgetInsufficient or ErrBudgetHeld with the figures behind it.
type ShortError struct {
	Wanted  int64
	Balance Balance
	Holders []Holder // of the outstanding units, most first, where they are known
	// NextReleaseAt is when units may come back at the latest, where it is known.
	NextReleaseAt *Micros
}

// Holder is a node that has units of an offer leased and not spent.
type Holder struct {
	NodeID   ID
	NodeName string
	Units    int64
	Until    Micros // when its leases end, unless they are renewed
}

// Left is how many units can be had at most: what no node has, and what nodes and holds may give back.
func (e *ShortError) Left() int64 {
	return max(0, e.Balance.Unallocated()+e.Balance.Outstanding+e.Balance.Held)
}

// Unwrap says which of the three it is.
func (e *ShortError) Unwrap() error {
	switch left := e.Left(); {
	case left >= e.Wanted:
		return ErrBudgetHeld
	case left > 0:
		return ErrBudgetInsufficient
	default:
		return ErrBudgetExhausted
	}
}

func (e *ShortError) Error() string {
	return fmt.Sprintf("%v: %d units are wanted, %d are free, %d are leased by nodes, %d are in holds",
		e.Unwrap(), e.Wanted, max(0, e.Balance.Unallocated()), e.Balance.Outstanding, e.Balance.Held)
}

// UserLimitError is ErrUserLimitReached with what the request wants and what the user has used before it.
type UserLimitError struct {
	Wanted           int64 // units, for one redemption
	Usage            Usage
	LimitRedemptions *int64
	LimitUnits       *int64
}

func (e *UserLimitError) Error() string {
	text := ErrUserLimitReached.Error()
	if e.LimitRedemptions != nil {
		text += fmt.Sprintf("; of %d redemptions %d are used", *e.LimitRedemptions, e.Usage.Redemptions)
	}
	if e.LimitUnits != nil {
		text += fmt.Sprintf("; of %d units %d are used, and %d are wanted", *e.LimitUnits, e.Usage.Units, e.Wanted)
	}
	return text
}
func (e *UserLimitError) Unwrap() error { return ErrUserLimitReached }

// TooManyRefundsError is ErrTooManyRefunds with what is left, which one refund may take.
type TooManyRefundsError struct{ Remaining int64 }

func (e *TooManyRefundsError) Error() string {
	return fmt.Sprintf("%v: %d units", ErrTooManyRefunds, e.Remaining)
}
func (e *TooManyRefundsError) Unwrap() error { return ErrTooManyRefunds }

// RefundExceedsError is ErrRefundExceeds with what can be refunded.
type RefundExceedsError struct{ Remaining int64 }

func (e *RefundExceedsError) Error() string {
	return fmt.Sprintf("%v: %d units are left", ErrRefundExceeds, e.Remaining)
}
func (e *RefundExceedsError) Unwrap() error { return ErrRefundExceeds }

// HoldResolvedError is ErrHoldResolved with what became of the hold.
type HoldResolvedError struct{ Redemption Redemption }

func (e *HoldResolvedError) Error() string {
	return fmt.Sprintf("%v: its state is %s, with %d units", ErrHoldResolved, e.Redemption.State, e.Redemption.Units)
}
func (e *HoldResolvedError) Unwrap() error { return ErrHoldResolved }

// ConfirmExceedsError is ErrConfirmExceeds with what can be confirmed.
type ConfirmExceedsError struct{ Held int64 }

func (e *ConfirmExceedsError) Error() string {
	return fmt.Sprintf("%v: %d", ErrConfirmExceeds, e.Held)
}
func (e *ConfirmExceedsError) Unwrap() error { return ErrConfirmExceeds }

// BudgetBelowSpentError is ErrBudgetBelowSpent with the lowest budget that is possible now.
type BudgetBelowSpentError struct{ Minimum int64 }

func (e *BudgetBelowSpentError) Error() string {
	return fmt.Sprintf("%v: it must be at least %d", ErrBudgetBelowSpent, e.Minimum)
}
func (e *BudgetBelowSpentError) Unwrap() error { return ErrBudgetBelowSpent }

// CartError is a refusal of a cart as a whole, by Err: nothing of it was changed.
type CartError struct {
	OfferID string // of the item that is refused; empty where it is the cart itself
	Err     error
}

func (e *CartError) Error() string {
	if e.OfferID == "" {
		return fmt.Sprintf("cart: %v", e.Err)
	}
	return fmt.Sprintf("cart, item of offer %q: %v", e.OfferID, e.Err)
}
func (e *CartError) Unwrap() error { return e.Err }
