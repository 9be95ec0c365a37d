package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"tranche/allocator"
	"tranche/models"
)

// cartShop lets customers buy random carts at several nodes, with redemptions, holds and refunds in between, and holds the books against
// what they were told.
type cartShop struct {
	*testing.T
	seed   uint64
	nodes  []*allocator.Allocator
	offers []models.Offer

	mu     sync.Mutex
	carts  map[string]bool // by key: acknowledged
	acked  map[models.RedemptionID]bool
	heard  map[string]int // by error
	served int
}

func newCartShop(t *testing.T, offers []models.Offer, nodes ...*allocator.Allocator) *cartShop {
	s := &cartShop{
		T: t, seed: rand.Uint64(), nodes: nodes, offers: offers,
		carts: map[string]bool{}, acked: map[models.RedemptionID]bool{}, heard: map[string]int{},
	}
	t.Logf("seed %d", s.seed)
	return s
}

// cartOffers are six: of all modes, some that limit their users, some that run out.
func cartOffers(customers int) (offers []models.Offer) {
	limit := int64(30)
	for i, mode := range []models.Mode{models.ModeStrict, models.ModeFast, models.ModeAvailable} {
		enough, tooLittle := int64(10*customers), int64(customers/2)
		for j, budget := range []int64{enough, tooLittle} {
			o := models.Offer{
				ID: fmt.Sprintf("%s-%d", mode, j), Name: "O", Unit: models.UnitRedemptions, Mode: mode, Budget: budget, BudgetTarget: budget,
				LeaseSize: 500, LeaseTTLSeconds: 60, Adaptive: true, RefundRestoresBudget: i != 2, RefundRestoresUserLimit: true,
			}
			if mode != models.ModeFast && j == 0 {
				o.UserLimitUnits = &limit
			}
			offers = append(offers, o)
		}
	}
	return offers
}

// serve lets so many customers in, some at a time.
func (s *cartShop) serve(customers, atOnce int) {
	s.served = customers
	var all sync.WaitGroup
	for w := range atOnce {
		c := &customer{cartShop: s, rng: rand.New(rand.NewPCG(s.seed, uint64(w)))}
		all.Go(func() {
			for i := w; i < customers && !s.Failed(); i += atOnce {
				c.come(i)
			}
		})
	}
	all.Wait()
	s.Logf("%d carts were booked; heard %v", len(s.carts), s.heard)
}

// audit looks up what was acknowledged, which must be all that the books know of, and carts, which must be whole or not there.
func (s *cartShop) audit(balanceOf func(offer string) models.Balance) {
	spent := map[string]int64{}
	for id := range s.acked {
		r, err := s.nodes[0].Redemption(s.Context(), id)
		switch {
		case err != nil:
			s.Fatalf("%s was acknowledged: %v", id, err)
		case r.State == models.StateHeld || r.State == models.StateRedeemed && !s.restores(id.OfferID):
			spent[id.OfferID] += r.Units
		default:
			spent[id.OfferID] += r.Remaining()
		}
	}
	for _, o := range s.offers {
		b := balanceOf(o.ID)
		if b.NetSpent() != spent[o.ID] || b.Allocated != b.NetSpent()+b.Outstanding || b.Allocated > b.Budget || b.LateUnits != 0 {
			s.Errorf("%s: %d units were acknowledged, the books are %+v", o.ID, spent[o.ID], b)
		}
	}
	for i := range s.served {
		key := fmt.Sprint("c", i)
		c, err := s.nodes[i%len(s.nodes)].Cart(s.Context(), models.CartIDOf(key))
		if s.carts[key] && err != nil || !s.carts[key] && !errors.Is(err, models.ErrCartNotFound) {
			s.Errorf("cart %s, acknowledged: %t: %+v, %v", key, s.carts[key], c, err)
		}
		for _, r := range c.Redemptions {
			if !s.acked[r.RedemptionID] || r.CartID == nil || *r.CartID != c.ID {
				s.Errorf("cart %s has %+v", key, r)
			}
		}
	}
	if len(s.carts) < s.served/4 || len(s.heard) < 5 {
		s.Errorf("%d carts, heard %v: too few to show anything", len(s.carts), s.heard)
	}
}

func (s *cartShop) restores(offer string) bool {
	return slices.ContainsFunc(s.offers, func(o models.Offer) bool { return o.ID == offer && o.RefundRestoresBudget })
}

// took notes what was acknowledged.
func (s *cartShop) took(redemptions ...models.Redemption) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range redemptions {
		s.acked[r.RedemptionID] = true
		if r.CartID != nil {
			s.carts[r.IdempotencyKey] = true
		}
	}
}

// customer does things in its own order.
type customer struct {
	*cartShop
	rng *rand.Rand
}

func (c *customer) come(i int) {
	user := fmt.Sprint("user", c.rng.IntN(1+i/20))
	if c.rng.IntN(5) == 0 {
		c.alone(fmt.Sprint("p", i), user)
	}
	if c.rng.IntN(10) == 0 && i > 0 {
		c.alone(fmt.Sprint("c", c.rng.IntN(i)), user) // a cart's key, perhaps
	}
	c.buy(fmt.Sprint("c", i), user)
}

// somewhere is a node. All attempts at one request go to one: another could not know what is on its way there.
func (c *customer) somewhere() *allocator.Allocator { return c.nodes[c.rng.IntN(len(c.nodes))] }

// decide repeats a request until it is decided, and reports whether it succeeded.
func (c *customer) decide(call func(ctx context.Context) error) bool {
	for range 500 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err := call(ctx)
		cancel()
		switch {
		case err == nil:
			return true
		case isDeadlock(err):
			c.Errorf("a deadlock reaches a client: %v", err)
			return false
		// Overloaded: a file has one writer, for whom one waits half a second here, and several where others use the processors, too.
		case c.hears(err, models.ErrOutcomeUnknown, models.ErrLedgerUnavailable, models.ErrBusy, models.ErrOverloaded, models.ErrRequestInFlight,
			models.ErrRedemptionUnsettled):
			time.Sleep(20 * time.Millisecond)
		case c.hears(err,
			models.ErrBudgetHeld, models.ErrBudgetExhausted, models.ErrUserLimitReached, models.ErrKeyReused, models.ErrHoldResolved,
			models.ErrNotConfirmed, models.ErrRefundExceeds, models.ErrNotAHold):
			return false
		default:
			c.Errorf("a client hears: %v", err)
			return false
		}
	}
	c.Error("a request was never decided")
	return false
}

// isDeadlock tells one from a database that is only slow.
func isDeadlock(err error) bool {
	inMySQL, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && inMySQL.Number == 1213
}

// hears counts an error that is one of these, and reports whether it is.
func (c *customer) hears(err error, these ...error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range these {
		if errors.Is(err, e) {
			c.heard[e.Error()]++
			return true
		}
	}
	return false
}

func (c *customer) holdFor() time.Duration {
	return []time.Duration{0, time.Hour}[c.rng.IntN(2)]
}

func (c *customer) buy(key, user string) {
	req := allocator.CartRequest{Key: key, UserID: user, HoldFor: c.holdFor()}
	for _, i := range c.rng.Perm(len(c.offers))[:1+c.rng.IntN(4)] {
		req.Items = append(req.Items, allocator.CartItem{OfferID: c.offers[i].ID, Units: 1 + c.rng.Int64N(3)})
	}
	n := c.somewhere()
	var cart allocator.Carted
	if !c.decide(func(ctx context.Context) (err error) { cart, err = n.RedeemCart(ctx, req); return err }) {
		return
	}
	c.took(cart.Redemptions...)
	if len(cart.Redemptions) != len(req.Items) {
		c.Errorf("of %d items there are %d", len(req.Items), len(cart.Redemptions))
	}
	if c.rng.IntN(8) == 0 {
		c.again(req)
	}
	c.follow(cart)
}

// again sends a cart a second time, to any node.
func (c *customer) again(req allocator.CartRequest) {
	n := c.somewhere()
	c.decide(func(ctx context.Context) error {
		r, err := n.RedeemCart(ctx, req)
		if err == nil && !r.Replayed {
			c.Errorf("cart %s was made twice", req.Key)
		}
		return err
	})
}

// follow ends or refunds a cart, an item of it first perhaps, or leaves it.
func (c *customer) follow(cart allocator.Carted) {
	n, one := c.somewhere(), cart.Redemptions[c.rng.IntN(len(cart.Redemptions))].RedemptionID
	switch c.rng.IntN(8) {
	case 0:
		c.decide(func(ctx context.Context) error { _, err := n.Cancel(ctx, one); return err })
	case 1:
		c.decide(func(ctx context.Context) error { _, err := n.Confirm(ctx, one, 1); return err })
	case 2:
		c.decide(func(ctx context.Context) error {
			_, err := n.Refund(ctx, one, allocator.RefundRequest{Key: "item", Units: 1})
			return err
		})
	}
	switch c.rng.IntN(4) {
	case 0:
		c.end(cart.ID, n.ConfirmCart, models.StateRedeemed)
	case 1:
		c.end(cart.ID, n.CancelCart, models.StateCancelled)
	case 2:
		c.decide(func(ctx context.Context) error { _, err := n.RefundCart(ctx, cart.ID, "whole", nil); return err })
	}
}

func (c *customer) end(id models.CartID, end func(context.Context, models.CartID) (allocator.Carted, error), state models.RedemptionState) {
	c.decide(func(ctx context.Context) error {
		cart, err := end(ctx, id)
		for _, r := range cart.Redemptions {
			if r.State != state {
				c.Errorf("after it ended, an item is %s", r.State)
			}
		}
		return err
	})
}

// alone redeems or holds from one offer, and may refund.
func (c *customer) alone(key, user string) {
	offer, req := c.offers[c.rng.IntN(len(c.offers))].ID, allocator.RedeemRequest{Key: key, UserID: user, Units: 1 + c.rng.Int64N(3), HoldFor: c.holdFor()}
	n := c.somewhere()
	var r allocator.Redeemed
	if !c.decide(func(ctx context.Context) (err error) { r, err = n.Redeem(ctx, offer, req); return err }) {
		return
	}
	c.took(r.Redemption)
	if c.rng.IntN(3) == 0 {
		c.decide(func(ctx context.Context) error {
			_, err := n.Refund(ctx, r.Redemption.RedemptionID, allocator.RefundRequest{Key: "r", Units: 1})
			return err
		})
	}
}

// crowdOf is how many customers a crowd has: more where there is time.
func crowdOf(short, long int) int {
	if os.Getenv("TRANCHE_TEST_LONG") != "" {
		return long
	}
	return short
}

// Replies to COMMIT are lost, before and after it took effect, and transactions fail, with whatever they book.
func TestRandomCartsOnFourNodes(t *testing.T) {
	customers := crowdOf(4000, 100_000)
	offers := cartOffers(customers)
	inFleet(t, 4, nil, func(t *testing.T, f *fleet) {
		for _, o := range offers {
			if _, _, err := f.fake.CreateOffer(t.Context(), o, models.Audit{}); err != nil {
				t.Fatal(err)
			}
		}
		s := newCartShop(t, offers, f.nodes[0].Allocator, f.nodes[1].Allocator, f.nodes[2].Allocator, f.nodes[3].Allocator)
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(s.seed, 0))
		sometimes := func(what ...error) func(string) error {
			return func(call string) error {
				if call != "SettleCart" && call != "Settle" {
					return nil
				}
				mu.Lock()
				defer mu.Unlock()
				if n := rng.IntN(100); n < len(what) {
					return what[n]
				}
				return nil
			}
		}
		f.fail(sometimes(models.ErrBusy, models.ErrLedgerUnavailable, models.ErrOutcomeUnknown))
		f.lose(sometimes(models.ErrOutcomeUnknown))
		s.serve(customers, 64)
		f.back()
		time.Sleep(5 * time.Second) // for the journals to be settled
		s.audit(f.balanceOf)
	})
}
