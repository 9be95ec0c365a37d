package allocator_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"tranche/models"
)

// A budget goes round and round: redeemed, refunded, and redeemed again. Its sums stay what JSON readers can hold, whatever
// comes of it refunds go on, and no lease sticks.
func TestB10SumsStayWithinBounds(t *testing.T) {
	const budget = models.MaxTotal / 20
	setUp := func(o *models.Offer) { o.Budget, o.BudgetTarget, o.LeaseSize = budget, budget, budget }
	inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		for i := 0; ; i++ {
			_, err := n.redeem(fmt.Sprint(i), "u", budget)
			if errors.Is(err, models.ErrTotalsExceeded) {
				break
			}
			if err != nil {
				t.Fatalf("%d: %v, with %+v", i, err, f.balance())
			}
			if _, err := n.refund(fmt.Sprint(i), "r", 0); err != nil {
				t.Fatalf("%d: %v, with %+v", i, err, f.balance())
			}
			if b := f.balance(); b.Redeemed > models.MaxInteger {
				t.Fatalf("after %d rounds: %+v", i, b)
			}
		}
		if r, err := n.redeem("0", "u", budget); err != nil || !r.Replayed {
			t.Errorf("the first again: %+v, %v", r, err)
		}
		if _, err := n.redeem("small", "u", 1); !errors.Is(err, models.ErrTotalsExceeded) {
			t.Errorf("one unit: %v", err)
		}
		time.Sleep(5 * time.Minute)
		if b := f.balance(); b.LeasesActive != 0 || b.Allocated != 0 {
			t.Errorf("leases stick: %+v", b)
		}
	})
}

// A redemption from before the sums were too large can be refunded all the same. Its units are not redeemed again.
func TestB10RefundsGoOnWhenSumsAreTooLarge(t *testing.T) {
	const budget, rounds = models.MaxTotal / 20, 21
	setUp := func(o *models.Offer) { o.Budget, o.BudgetTarget, o.LeaseSize = budget, budget, budget }
	inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		for i := range rounds {
			if _, err := n.redeem(fmt.Sprint(i), "u", budget); err != nil {
				t.Fatal(i, err)
			}
			if i < rounds-1 {
				if _, err := n.refund(fmt.Sprint(i), "r", 0); err != nil {
					t.Fatal(i, err)
				}
			}
		}
		time.Sleep(5 * time.Minute) // until all is in the offer's sums
		for i := range 3 {
			if r, err := n.refund(fmt.Sprint(rounds-1), fmt.Sprint("r", i), 5); err != nil || r.Refund.Units != 5 {
				t.Errorf("%+v, %v", r, err)
			}
			if _, err := n.redeem(fmt.Sprint("again ", i), "u", 5); !errors.Is(err, models.ErrTotalsExceeded) {
				t.Errorf("redeemed again: %v", err)
			}
		}
	})
}
