package storetest

import (
	"context"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// Histories reads the entries of redemptions, ordered by seq.
func (f *Fake) Histories(ctx context.Context, offerID string, redemptions []models.ID) (map[models.ID][]models.Entry, error) {
	return do(ctx, f, "Histories", func(models.Micros) (map[models.ID][]models.Entry, error) {
		histories := map[models.ID][]models.Entry{}
		if s, ok := f.offers[offerID]; ok {
			for _, r := range redemptions {
				if history := s.histories[r]; len(history) > 0 {
					histories[r] = slices.Clone(history)
				}
			}
		}
		return histories, nil
	})
}

// Refunds lists the refunds of a redemption, newest first.
func (f *Fake) Refunds(ctx context.Context, id models.RedemptionID, limit int, below int64) ([]models.Entry, error) {
	return do(ctx, f, "Refunds", func(models.Micros) ([]models.Entry, error) {
		s, ok := f.offers[id.OfferID]
		if !ok {
			return nil, nil
		}
		var list []models.Entry
		for _, e := range slices.Backward(s.histories[id.Hash]) {
			if e.Kind == models.KindRefund && e.Seq < below {
				list = append(list, e)
			}
		}
		return head(list, limit), nil
	})
}

// Redemptions lists an offer's redemptions, newest first.
func (f *Fake) Redemptions(ctx context.Context, filter models.RedemptionFilter) ([]models.ListedRedemption, error) {
	return do(ctx, f, "Redemptions", func(models.Micros) ([]models.ListedRedemption, error) {
		s, ok := f.offers[filter.OfferID]
		if !ok {
			return nil, nil
		}
		var list []models.ListedRedemption
		for _, history := range s.histories {
			if first := &history[0]; chosen(&filter, first) {
				r, err := ledger.Fold(history)
				if err != nil {
					return nil, err
				}
				list = append(list, models.ListedRedemption{Redemption: r, EntryID: first.ID})
			}
		}
		slices.SortFunc(list, func(a, b models.ListedRedemption) int { return newestFirst(a.EntryID, b.EntryID) })
		return head(list, filter.Limit), nil
	})
}

func chosen(filter *models.RedemptionFilter, e *models.Entry) bool {
	return before(e.ID, filter.Before) &&
		(filter.UserID == "" || filter.UserID == e.UserID) &&
		(filter.OrderID == "" || e.OrderID != nil && filter.OrderID == *e.OrderID) &&
		(filter.IdempotencyKey == "" || filter.IdempotencyKey == e.IdempotencyKey)
}

// Entries lists an offer's ledger, newest first.
func (f *Fake) Entries(ctx context.Context, offerID string, limit int, mark models.ID) ([]models.Entry, error) {
	return do(ctx, f, "Entries", func(models.Micros) ([]models.Entry, error) {
		s, ok := f.offers[offerID]
		if !ok {
			return nil, nil
		}
		var list []models.Entry
		for _, e := range s.entries {
			if before(e.ID, mark) {
				list = append(list, e)
			}
		}
		slices.SortFunc(list, func(a, b models.Entry) int { return newestFirst(a.ID, b.ID) })
		return head(list, limit), nil
	})
}

// Usage reads what a user has used of an offer.
func (f *Fake) Usage(ctx context.Context, offerID, userID string) (models.Usage, error) {
	return do(ctx, f, "Usage", func(models.Micros) (models.Usage, error) {
		s, err := f.shelf(offerID)
		if err != nil {
			return models.Usage{}, err
		}
		usage, err := s.used(&s.offer, userID)
		usage.OfferID, usage.UserID = offerID, userID
		return usage, err
	})
}

// Balance adds up the offer's books at one instant.
func (f *Fake) Balance(ctx context.Context, offerID string) (models.Balance, error) {
	return do(ctx, f, "Balance", func(now models.Micros) (models.Balance, error) {
		s, err := f.shelf(offerID)
		if err != nil {
			return models.Balance{}, err
		}
		b := s.balance(now)
		b.NodesActive = f.activeNodes(models.ID{}, now)
		return b, nil
	})
}

// Exceptions lists acknowledged redemptions that the ledger would have refused, newest first.
func (f *Fake) Exceptions(ctx context.Context, offerID string, limit int, mark models.ID) ([]models.Exception, error) {
	return do(ctx, f, "Exceptions", func(models.Micros) ([]models.Exception, error) {
		s, ok := f.offers[offerID]
		if !ok {
			return nil, nil
		}
		var list []models.Exception
		for _, e := range s.exceptions {
			if before(e.ID, mark) {
				list = append(list, e)
			}
		}
		slices.SortFunc(list, func(a, b models.Exception) int { return newestFirst(a.ID, b.ID) })
		return head(list, limit), nil
	})
}
