package models

import (
	"errors"
	"fmt"
)

// Refusals: the request was understood and answered, nothing was spent.
var (
	ErrOfferNotFound      = errors.New("offer not found")
	ErrOfferExists        = errors.New("another offer has this id")
	ErrOfferNotActive     = errors.New("offer not active")
	ErrModeNotPossible    = errors.New("mode not possible")
	ErrStaleVersion       = errors.New("offer was changed meanwhile")
	ErrBudgetBelowSpent   = errors.New("budget below what is spent")
	ErrLimitAfterStart    = errors.New("a user limit can be added only before the first redemption")
	ErrBudgetExhausted    = errors.New("budget exhausted")
	ErrBudgetHeld         = errors.New("budget held elsewhere for now")
	ErrUserLimitReached   = errors.New("user limit reached")
	ErrKeyReused          = errors.New("idempotency key was used for another request")
	ErrRequestInFlight    = errors.New("a request with this idempotency key is under way")
	ErrRedemptionNotFound = errors.New("redemption not found")
	ErrCartNotFound       = errors.New("cart not found")
	ErrRefundExceeds      = errors.New("refund exceeds what is left of the redemption")
	ErrNotConfirmed       = errors.New("only what is redeemed can be refunded, and this is or was a hold that is not confirmed")
	ErrNotAHold           = errors.New("the redemption was never a hold")
	ErrHoldResolved       = errors.New("the hold has ended another way")
	ErrConfirmExceeds     = errors.New("more units are confirmed than are held")
)

// ErrRedemptionUnsettled is an ErrRedemptionNotFound that may pass: a node may have acknowledged it and not settled it yet.
var ErrRedemptionUnsettled = fmt.Errorf("%w, and it may be on its way into the ledger", ErrRedemptionNotFound)

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

// ShortError is ErrBudgetExhausted or ErrBudgetHeld with the figures behind it.
type ShortError struct {
	Wanted  int64
	Balance Balance
	Holders []Holder // of the outstanding units, most first, where they are known
	// NextReleaseAt is when units may come back at the latest, where it is known.
	NextReleaseAt *Micros
}

// Holder is a node that has units of an offer leased and not spent.
type Holder struct {
	NodeID ID
	Units  int64
	Until  Micros // when its leases end, unless they are renewed
}

// Unwrap says which of the two it is: exhausted means that even if everything that is out came back, it would not be enough.
func (e *ShortError) Unwrap() error {
	if e.Balance.Unallocated()+e.Balance.Outstanding+e.Balance.Held < e.Wanted {
		return ErrBudgetExhausted
	}
	return ErrBudgetHeld
}

func (e *ShortError) Error() string {
	return fmt.Sprintf("%v: %d wanted, %d unallocated, %d outstanding, %d held",
		e.Unwrap(), e.Wanted, e.Balance.Unallocated(), e.Balance.Outstanding, e.Balance.Held)
}

// UserLimitError is ErrUserLimitReached with what the user has used.
type UserLimitError struct {
	Usage            Usage
	LimitRedemptions *int64
	LimitUnits       *int64
}

func (e *UserLimitError) Error() string {
	return fmt.Sprintf("%v: %d redemptions, %d units", ErrUserLimitReached, e.Usage.Redemptions, e.Usage.Units)
}
func (e *UserLimitError) Unwrap() error { return ErrUserLimitReached }

// RefundExceedsError is ErrRefundExceeds with what can be refunded.
type RefundExceedsError struct{ Remaining int64 }

func (e *RefundExceedsError) Error() string {
	return fmt.Sprintf("%v: %d units are left", ErrRefundExceeds, e.Remaining)
}
func (e *RefundExceedsError) Unwrap() error { return ErrRefundExceeds }

// HoldResolvedError is ErrHoldResolved with what became of the hold.
type HoldResolvedError struct {
	State RedemptionState
	Units int64
}

func (e *HoldResolvedError) Error() string {
	return fmt.Sprintf("%v: it is %s, with %d units", ErrHoldResolved, e.State, e.Units)
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
	return fmt.Sprintf("%v: at least %d", ErrBudgetBelowSpent, e.Minimum)
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
