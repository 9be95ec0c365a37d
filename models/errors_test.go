package models_test

import (
	"errors"
	"testing"

	"tranche/models"
)

func TestB2TooLittleIsExhaustedOnlyWhereNothingCanComeBack(t *testing.T) {
	for _, c := range []struct {
		unallocated, outstanding, held, wanted int64
		want                                   error
		left                                   int64
	}{
		{10, 0, 0, 11, models.ErrBudgetInsufficient, 10},
		{0, 10, 0, 11, models.ErrBudgetInsufficient, 10},
		{0, 0, 10, 11, models.ErrBudgetInsufficient, 10},
		{3, 4, 4, 11, models.ErrBudgetHeld, 11},
		{0, 1, 0, 1, models.ErrBudgetHeld, 1},
		{0, 0, 0, 1, models.ErrBudgetExhausted, 0},
		{-5, 5, 0, 1, models.ErrBudgetExhausted, 0}, // late units took what the node has leased
		{-5, 2, 0, 1, models.ErrBudgetExhausted, 0},
	} {
		b := models.Balance{Budget: 100, Allocated: 100 - c.unallocated, Outstanding: c.outstanding}
		b.Held = c.held
		err := &models.ShortError{Wanted: c.wanted, Balance: b}
		if !errors.Is(err, c.want) || err.Left() != c.left {
			t.Errorf("%+v: %v, %d left", c, err, err.Left())
		}
	}
}
