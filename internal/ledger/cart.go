package ledger

import (
	"errors"
	"slices"

	"tranche/models"
)

// SameOffers reports whether a cart that is asked for again names the offers of the one that has its id, in any order. The units of
// each are compared with the redemption there.
func SameOffers(cart, again *models.Cart) bool {
	return slices.Equal(slices.Sorted(slices.Values(cart.OfferIDs)), slices.Sorted(slices.Values(again.OfferIDs)))
}

// AllOrNone gives the verdicts on a cart's items from the decisions of each, one entry in one decision, users' limits applied. A
// *models.CartError: the first item that is refused, and nothing of the cart may be written.
//
// Where a cart is refunded, an item that has nothing left to refund is none to refuse it for: its verdict says so, and the others are
// booked. If no item has anything left, the first one refuses the cart.
func AllOrNone(decisions []*Decision) ([]models.Verdict, error) {
	verdicts := make([]models.Verdict, len(decisions))
	left := false
	for i, p := range decisions {
		verdicts[i] = p.Verdicts[0]
		switch err := verdicts[i].Err; {
		case err == nil:
			left = true
		case !nothingLeft(&verdicts[i]):
			return nil, &models.CartError{OfferID: p.batch.Offer.ID, Err: err}
		}
	}
	if !left {
		return nil, &models.CartError{OfferID: decisions[0].batch.Offer.ID, Err: verdicts[0].Err}
	}
	return verdicts, nil
}

// nothingLeft reports whether a refund is refused because all was given back before, by refunds or by the end of a hold.
func nothingLeft(v *models.Verdict) bool {
	refused := errors.Is(v.Err, models.ErrRefundExceeds) || errors.Is(v.Err, models.ErrNotConfirmed)
	return refused && v.Redemption.State != models.StateHeld && v.Redemption.Remaining() == 0
}
