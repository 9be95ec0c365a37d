package ledger_test

import (
	"errors"
	"math"
	"testing"

	"tranche/internal/ledger"
	"tranche/models"
)

func TestABudgetFollowsItsTargetAsFarAsItCan(t *testing.T) {
	before, err := ledger.NewOffer(models.Offer{ID: "o", Budget: 100}, 1)
	if err != nil {
		t.Fatal(err)
	}
	before.Allocated = 60
	for _, c := range []struct{ target, budget int64 }{{200, 200}, {80, 80}, {60, 60}, {59, 60}, {30, 60}} {
		after, differs, err := ledger.Change(before, ledger.InUse{NetSpent: 30}, 2, func(o *models.Offer) error { o.BudgetTarget = c.target; return nil })
		if err != nil || !differs || after.Budget != c.budget || after.BudgetTarget != c.target || after.UpdatedAt != 2 || after.Version != 2 {
			t.Errorf("target %d: %+v, %t, %v", c.target, after, differs, err)
		}
	}
	_, _, err = ledger.Change(before, ledger.InUse{NetSpent: 30}, 2, func(o *models.Offer) error { o.BudgetTarget = 29; return nil })
	if below := (*models.BudgetBelowSpentError)(nil); !errors.As(err, &below) || below.Minimum != 30 {
		t.Errorf("a target below what is spent: %v", err)
	}
}

func TestAGrantOfWhatIsNotThereIsAFault(t *testing.T) {
	req := &models.GrantRequest{OfferID: "o", LeaseID: models.NewID()}
	for units := range int64(11) {
		if err := ledger.CheckSize(req, units, 10); err != nil {
			t.Errorf("%d of 10: %v", units, err)
		}
	}
	for _, units := range []int64{11, -1, math.MinInt64, math.MaxInt64} {
		if ledger.CheckSize(req, units, 10) == nil {
			t.Errorf("%d of 10 was granted", units)
		}
	}
	if ledger.CheckSize(req, 1, -5) == nil {
		t.Error("a unit of a pool below zero was granted")
	}
	if err := ledger.CheckSize(req, 0, -5); err != nil {
		t.Errorf("nothing of a pool below zero: %v", err)
	}
	l := ledger.NewLease(req, &models.Offer{ID: "o", Mode: models.ModeStrict, LeaseTTLSeconds: 5}, 6, 1_000)
	if l.ID != req.LeaseID || l.Granted != 6 || l.ExpiresAt != 5_001_000 {
		t.Errorf("lease %+v", l)
	}
}
