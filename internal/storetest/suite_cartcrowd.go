package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"tranche/models"
)

var cartCrowdTests = []test{
	{"carts at once with everything else: each is booked whole or not at all, and the books are exact", func(b *trial) {
		const workers, rounds = 4, 60
		seed := uint64(time.Now().UnixNano())
		b.Logf("seed %d", seed)
		var offers []*models.Offer
		for i := range 4 {
			offers = append(offers, b.offer(3000, func(o *models.Offer) {
				if i%2 == 0 {
					o.UserLimitUnits = pointer(int64(200))
				}
			}))
		}
		var working sync.WaitGroup
		for i := range workers {
			w := &cartWorker{trial: b, offers: offers, rng: rand.New(rand.NewPCG(seed, uint64(i))), blocks: make([]*stock, len(offers)), pools: make([]*stock, len(offers))}
			working.Go(func() {
				for range rounds {
					if err := w.step(); err != nil {
						b.Errorf("worker %d: %v", i, err)
						return
					}
				}
			})
		}
		working.Wait()
		if b.Failed() {
			b.FailNow()
		}
		for _, o := range offers {
			b.audit(o)
		}
		b.auditCarts(offers)
	}},
}

// auditCarts holds the items of carts against each other: an entry of a cart names one that names its offer, and no cart lacks an item.
func (b *trial) auditCarts(offers []*models.Offer) {
	b.Helper()
	items := map[models.CartID]int{}
	for _, o := range offers {
		for _, e := range b.allEntries(o.ID) {
			if e.CartID == nil {
				continue
			}
			items[*e.CartID]++
			c, err := b.Cart(b.ctx, *e.CartID)
			b.ok(err)
			if e.Seq != 0 || !slices.Contains(c.Redemptions(), e.RedemptionID()) {
				b.Fatalf("entry %+v is not of cart %+v", e, c)
			}
		}
	}
	for id, n := range items {
		c, err := b.Cart(b.ctx, id)
		b.ok(err)
		equal(b, "items of "+id.String(), n, len(c.OfferIDs))
	}
	if len(items) == 0 {
		b.Fatal("no cart was booked")
	}
}

// cartWorker has a block and a pool of each offer, and does random things with them.
type cartWorker struct {
	*trial
	offers        []*models.Offer
	rng           *rand.Rand
	blocks, pools []*stock
}

func (w *cartWorker) step() error {
	for i := range w.offers {
		if err := w.stockUp(i); err != nil {
			return err
		}
	}
	key, user := w.key(fmt.Sprint(w.rng.IntN(80))), fmt.Sprint("user-", w.rng.IntN(5))
	switch w.rng.IntN(8) {
	case 0, 1, 2:
		return w.buy(key, user)
	case 3, 4:
		return w.follow(key)
	case 5:
		return w.alone(key, user)
	case 6:
		return w.alone(w.key(fmt.Sprint("plain-", w.rng.IntN(1000))), user)
	default:
		return w.close()
	}
}

// stockUp opens what the worker has none of.
func (w *cartWorker) stockUp(i int) error {
	o := w.offers[i]
	if w.blocks[i] == nil || w.blocks[i].left < 10 {
		g, err := again(func() (models.Grant, error) { return w.Grant(w.ctx, w.request(o.ID, 40)) })
		if err != nil || g.Lease == nil {
			return fmt.Errorf("grant: %v, %w", g, err)
		}
		w.blocks[i] = &stock{lane{trial: w.trial, offer: o, lease: *g.Lease}, g.Lease.Granted}
	}
	if w.pools[i] == nil {
		terms := w.poolTerms(o)
		l, err := again(func() (models.Lease, error) { return w.OpenPool(w.ctx, terms) })
		if err != nil {
			return fmt.Errorf("pool: %w", err)
		}
		w.pools[i] = &stock{lane: lane{trial: w.trial, offer: o, lease: l}}
	}
	return nil
}

// buy redeems or holds some of the offers in one cart.
func (w *cartWorker) buy(key, user string) error {
	take := []func(*models.Offer, string, string, int64) models.Wanted{redeem, hold}[w.rng.IntN(2)]
	c := models.Cart{ID: models.CartIDOf(key), IdempotencyKey: key}
	var items []models.Batch
	var from []*stock
	for _, i := range w.rng.Perm(len(w.offers))[:1+w.rng.IntN(len(w.offers))] {
		c.OfferIDs, from = append(c.OfferIDs, w.offers[i].ID), append(from, w.blocks[i])
		items = append(items, w.blocks[i].item(take(w.offers[i], key, user, 1+w.rng.Int64N(4))))
	}
	return w.settle(c, items, from)
}

// follow ends or refunds a whole cart, if there is one.
func (w *cartWorker) follow(key string) error {
	c, err := w.Cart(w.ctx, models.CartIDOf(key))
	if errors.Is(err, models.ErrCartNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	kind := []models.Kind{models.KindConfirm, models.KindCancel, models.KindRefund}[w.rng.IntN(3)]
	var items []models.Batch
	var into []*stock
	for _, id := range c.OfferIDs {
		i := slices.IndexFunc(w.offers, func(o *models.Offer) bool { return o.ID == id })
		wanted := end(w.offers[i], key, kind, 0)
		if kind == models.KindRefund {
			wanted.IdempotencyKey = "whole"
		}
		items, into = append(items, w.pools[i].item(wanted)), append(into, w.pools[i])
	}
	return w.settle(c, items, into)
}

// settle books a cart and takes from or adds to the stocks of its items what it moves.
func (w *cartWorker) settle(c models.Cart, items []models.Batch, stocks []*stock) error {
	verdicts, err := again(func() ([]models.Verdict, error) { return w.SettleCart(w.ctx, c, items) })
	var refused *models.CartError
	switch {
	case errors.As(err, &refused) && expected(err):
		return nil
	case err != nil:
		return fmt.Errorf("cart: %w", err)
	}
	for i, v := range verdicts {
		if v.Err == nil && v.Entry.ID == items[i].Wanted[0].ID {
			stocks[i].moved(&v)
		}
	}
	return nil
}

func (s *stock) moved(v *models.Verdict) {
	if v.Entry.Kind.Spends() {
		s.left -= v.Entry.Units
	} else {
		s.left += v.Redemption.Returned(&v.Entry)
	}
}

// alone does something with one redemption, in a batch, whether it is a cart's or not.
func (w *cartWorker) alone(key, user string) error {
	i := w.rng.IntN(len(w.offers))
	o, s := w.offers[i], w.blocks[i]
	var wanted models.Wanted
	switch w.rng.IntN(6) {
	case 0, 1:
		wanted = redeem(o, key, user, 1+w.rng.Int64N(4))
	case 2:
		wanted = hold(o, key, user, 1+w.rng.Int64N(4))
	case 3:
		s, wanted = w.pools[i], end(o, key, []models.Kind{models.KindConfirm, models.KindCancel, models.KindExpire}[w.rng.IntN(3)], 0)
	default:
		s, wanted = w.pools[i], refund(o, key, fmt.Sprint(w.rng.IntN(3)), w.rng.Int64N(3))
	}
	verdicts, err := again(func() ([]models.Verdict, error) { return w.Settle(w.ctx, s.next(wanted)) })
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	s.batch++
	v := verdicts[0]
	switch {
	case v.Err == nil && v.Entry.ID == wanted.ID:
		s.moved(&v)
	case v.Err != nil && !expected(v.Err):
		return fmt.Errorf("verdict: %w", v.Err)
	}
	return nil
}

// close returns a block or a pool; what comes back must be what the worker thinks is left.
func (w *cartWorker) close() error {
	from := [][]*stock{w.blocks, w.pools}[w.rng.IntN(2)]
	i := w.rng.IntN(len(from))
	s := from[i]
	from[i] = nil
	l, err := again(func() (models.Lease, error) {
		l, _, err := w.CloseLease(w.ctx, s.offer.ID, s.lease.ID, models.LeaseReturned, nil)
		return l, err
	})
	if err == nil && l.Granted-l.Spent != s.left {
		err = fmt.Errorf("lease %s: %d of %d spent, its owner has %d left", l.ID, l.Spent, l.Granted, s.left)
	}
	return err
}
