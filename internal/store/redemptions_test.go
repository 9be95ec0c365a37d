package store_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"tranche/internal/store"
	"tranche/models"
)

// However many refunds a redemption has, a look at it reads a few rows.
func TestB9RefundsAreFoldedInTheDatabase(t *testing.T) {
	s := open(t, store.Config{Path: filepath.Join(t.TempDir(), "tranche.db")})
	batch := settleOn(t, s, nil)
	fillNext(&batch, 1)
	first := batch.Wanted[0]
	first.Units = 1000
	batch.Wanted[0] = first
	if _, err := s.Settle(t.Context(), batch); err != nil {
		t.Fatal(err)
	}
	for i := range 300 {
		refund := first
		refund.ID, refund.Kind, refund.IdempotencyKey, refund.Units = models.NewID(), models.KindRefund, fmt.Sprint(i), 1
		if i%100 == 0 {
			batch.Number, batch.Wanted = batch.Number+1, nil
		}
		batch.Wanted = append(batch.Wanted, refund)
		if i%100 == 99 {
			if _, err := s.Settle(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
		}
	}
	histories, err := s.Histories(t.Context(), batch.Offer.ID, []models.ID{first.Redemption})
	if history := histories[first.Redemption]; err != nil || len(history) != 3 || history[2].Folds != 299 || history[2].Units != 299 || history[2].Seq != 300 {
		t.Errorf("%d entries: %+v, %v", len(history), history, err)
	}
}
