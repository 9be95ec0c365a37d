package allocator_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"tranche/models"
)

// Three nodes redeem for a few users, as many as they like. Once a limit is answered with nobody pending, no user goes over it any more.
func TestB7ALimitThatComesUnderLoadHolds(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			setUp := func(o *models.Offer) { o.Mode, o.Budget, o.BudgetTarget = mode, 100_000, 100_000 }
			inFleet(t, 3, setUp, func(t *testing.T, f *fleet) {
				f.slowly()
				stop := make(chan struct{})
				var shops sync.WaitGroup
				for i, n := range f.nodes {
					shops.Go(func() {
						for j := 0; ; j++ {
							select {
							case <-stop:
								return
							case <-time.After(rand.N(20 * time.Millisecond)):
							}
							_, err := n.redeem(fmt.Sprint(i, " ", j), fmt.Sprint("u", j%50), 1)
							if err != nil && !errors.Is(err, models.ErrUserLimitReached) {
								t.Error(err)
							}
						}
					})
				}
				used := func() (redemptions [50]int64) {
					for i := range redemptions {
						u, err := f.fake.Usage(t.Context(), "o", fmt.Sprint("u", i))
						if err != nil {
							t.Fatal(err)
						}
						redemptions[i] = u.Redemptions
					}
					return redemptions
				}
				time.Sleep(3 * time.Second)
				limit := used()[0] + 3
				applied := f.patch(func(o *models.Offer) {
					o.UserLimitRedemptions = &limit
					if o.Mode == models.ModeFast {
						o.Mode = models.ModeStrict
					}
				})
				if len(applied.Pending) > 0 || applied.Offer.UserLimits() != models.LimitsExact {
					t.Errorf("%s, pending %v", applied.Offer.UserLimits(), applied.Pending)
				}
				before := used()
				time.Sleep(10 * time.Second)
				close(stop)
				shops.Wait()
				for i, n := range used() {
					if n != max(limit, before[i]) {
						t.Errorf("user %d: %d redemptions, %d before the limit of %d", i, n, before[i], limit)
					}
				}
			})
		})
	}
}
