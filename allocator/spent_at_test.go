package allocator_test

import (
	"sync"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

// A request waits for a node's first lease, while the offer is paused and resumed elsewhere. Nobody was pending, so nothing may be dated
// into the pause: the time of an entry is when its units were spent.
func TestB12NothingIsDatedIntoAPause(t *testing.T) {
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			inFleet(t, 2, func(o *models.Offer) { o.Mode = mode }, func(t *testing.T, f *fleet) {
				granting := make(chan struct{})
				f.fail(func(call string) error {
					if call == "Grant" {
						<-granting
					}
					return nil
				})
				var waiting sync.WaitGroup
				for key, holdFor := range map[string]time.Duration{"redeemed": 0, "held": time.Minute} {
					waiting.Go(func() {
						if _, err := f.nodes[1].hold(key, "u", 1, holdFor); err != nil {
							t.Error(err)
						}
					})
				}
				waiting.Go(func() {
					_, err := f.nodes[1].RedeemCart(t.Context(), allocator.CartRequest{Key: "cart", UserID: "u", Items: []allocator.CartItem{{OfferID: "o", Units: 1}}})
					if err != nil {
						t.Error(err)
					}
				})
				time.Sleep(100 * time.Millisecond)
				if paused := f.patch(func(o *models.Offer) { o.Status = models.StatusPaused }); len(paused.Pending) > 0 {
					t.Fatalf("pending: %v", paused.Pending)
				}
				time.Sleep(100 * time.Millisecond)
				resumed := f.patch(func(o *models.Offer) { o.Status = models.StatusActive })
				close(granting)
				waiting.Wait()
				time.Sleep(time.Second)
				entries, err := f.fake.Entries(t.Context(), "o", 10, models.ID{})
				if err != nil || len(entries) != 3 {
					t.Fatalf("%d entries, %v", len(entries), err)
				}
				for _, e := range entries {
					if e.CreatedAt < resumed.Offer.UpdatedAt {
						t.Errorf("a %s dated %s before the end of the pause", e.Kind, resumed.Offer.UpdatedAt.Sub(e.CreatedAt))
					}
					if e.Kind == models.KindHold && e.HeldFor() != time.Minute {
						t.Errorf("held for %s", e.HeldFor())
					}
				}
				if cart, err := f.fake.Cart(t.Context(), models.CartIDOf("cart")); err != nil || cart.CreatedAt < resumed.Offer.UpdatedAt {
					t.Errorf("the cart is dated %s before the end of the pause: %v", resumed.Offer.UpdatedAt.Sub(cart.CreatedAt), err)
				}
			})
		})
	}
}
