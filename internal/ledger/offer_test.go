package ledger_test

import (
	"errors"
	"slices"
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
	req := &models.GrantRequest{OfferID: "o", LeaseIDs: []models.ID{models.NewID(), models.NewID()}}
	if sum, err := ledger.CheckSizes(req, []int64{4, 6}, 10); sum != 10 || err != nil {
		t.Errorf("all of it: %d, %v", sum, err)
	}
	const most = 1<<63 - 1
	for _, sizes := range [][]int64{{4, 7}, {11}, {0}, {-1, 5}, {1, 1, 1}, {most, most}} {
		if _, err := ledger.CheckSizes(req, sizes, 10); err == nil {
			t.Errorf("%v of 10 was granted", sizes)
		}
	}
	if _, err := ledger.CheckSizes(req, []int64{1}, -5); err == nil {
		t.Error("a unit of a pool below zero was granted")
	}
	leases := ledger.NewLeases(req, &models.Offer{ID: "o", Mode: models.ModeStrict, LeaseTTLSeconds: 5}, []int64{4, 6}, 1_000)
	ids := []models.ID{leases[0].ID, leases[1].ID}
	if !slices.Equal(ids, req.LeaseIDs) || leases[1].Granted != 6 || leases[0].ExpiresAt != 5_001_000 {
		t.Errorf("leases %+v", leases)
	}
}
