package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// ExpiredHolds lists holds past their end, oldest first.
func (f *Fake) ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error) {
	return do(ctx, f, "ExpiredHolds", func(now models.Micros) (models.ExpiredHolds, error) {
		var list []models.Hold
		for _, s := range f.offers {
			for h := range s.holds {
				if h.ExpiresAt <= now {
					list = append(list, h)
				}
			}
		}
		slices.SortFunc(list, func(a, b models.Hold) int { return cmp.Compare(a.ExpiresAt, b.ExpiresAt) })
		if len(list) == 0 {
			return models.ExpiredHolds{}, nil
		}
		return models.ExpiredHolds{Holds: head(list, limit), Now: now}, nil
	})
}

// hold keeps the list of holds that have not ended.
func (s *shelf) hold(decision *ledger.Decision) {
	for _, h := range decision.Held {
		s.holds[h] = true
	}
	for _, h := range decision.Ended {
		if !s.holds[h] {
			panic(fmt.Sprintf("offer %q: %+v ends and was not held", s.offer.ID, h))
		}
		delete(s.holds, h)
	}
}
