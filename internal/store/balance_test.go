package store_test

import (
	"errors"
	"testing"

	"tranche/internal/store"
	"tranche/models"
)

func TestABalanceThatDoesNotAddUpIsReadAgain(t *testing.T) {
	right := models.Balance{Allocated: 40, Outstanding: 30, Totals: models.Totals{Redeemed: 12, Refunded: 2}}
	torn := right
	torn.Allocated = 20
	away := errors.New("away")
	for name, c := range map[string]struct {
		read  func(nth int) (models.Balance, error)
		want  models.Balance
		err   error
		reads int
	}{
		"right at once":      {func(int) (models.Balance, error) { return right, nil }, right, nil, 1},
		"of two moments":     {func(nth int) (models.Balance, error) { return []models.Balance{torn, torn, right}[nth-1], nil }, right, nil, 3},
		"really wrong":       {func(int) (models.Balance, error) { return torn, nil }, torn, nil, 5},
		"no answer":          {func(int) (models.Balance, error) { return models.Balance{}, away }, models.Balance{}, away, 1},
		"torn, then no more": {func(nth int) (models.Balance, error) { return torn, []error{nil, away}[nth-1] }, torn, away, 2},
	} {
		t.Run(name, func(t *testing.T) {
			reads := 0
			b, err := store.UntilAddsUp(func() (models.Balance, error) {
				reads++
				return c.read(reads)
			})
			if b != c.want || !errors.Is(err, c.err) || reads != c.reads {
				t.Errorf("%+v, %v after %d reads; want %+v, %v after %d", b, err, reads, c.want, c.err, c.reads)
			}
		})
	}
}
