package storetest

import (
	"cmp"
	"context"
	"slices"
	"time"

	"tranche/models"
)

// PlaceEntries gives positions to all entries that have none.
func (f *Fake) PlaceEntries(ctx context.Context, within time.Duration) (int, error) {
	return do(ctx, f, "PlaceEntries", func(now models.Micros) (int, error) {
		if now.Sub(f.placedAt) < within {
			return 0, nil
		}
		before := len(f.feed)
		for _, s := range f.offers {
			unplaced := slices.Clone(s.entries[s.placed:])
			slices.SortStableFunc(unplaced, func(a, b models.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
			f.feed, s.placed = append(f.feed, unplaced...), len(s.entries)
		}
		if len(f.feed) > before {
			f.placedAt = now
		}
		return len(f.feed) - before, nil
	})
}

// FillFeed has nothing to do: no older version has written here.
func (f *Fake) FillFeed(ctx context.Context) (bool, error) {
	return do(ctx, f, "FillFeed", func(models.Micros) (bool, error) { return true, nil })
}

// Feed reads entries after a position.
func (f *Fake) Feed(ctx context.Context, offerID string, after int64, limit int) ([]models.Fed, error) {
	return do(ctx, f, "Feed", func(models.Micros) ([]models.Fed, error) {
		var list []models.Fed
		for i := after; i < int64(len(f.feed)) && len(list) < limit; i++ {
			if e := f.feed[i]; offerID == "" || e.OfferID == offerID {
				list = append(list, models.Fed{Position: i + 1, Entry: e})
			}
		}
		return list, nil
	})
}
