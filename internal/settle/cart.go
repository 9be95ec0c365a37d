package settle

import (
	"context"
	"errors"
	"time"

	"tranche/lease"
	"tranche/models"
)

// maxCartsWaiting bounds those that wait for their turn.
const maxCartsWaiting = 1024

// cart is a transaction over several leases, with its requester.
type cart struct {
	models.Cart
	items    []lease.Posting
	deadline time.Time // zero: none
	decided  func()

	ended    chan struct{}
	verdicts []models.Verdict // this and err are set before ended is closed
	err      error
}

// SettleCart books the items of a cart, all of them or none, and waits for the verdicts, one for each item. For a redeem or hold entry,
// its block owes its units.
//
// A *models.CartError is a refusal of the whole; ErrLeaseClosed is one, and then that lease's block is sealed. All else is as for Settle:
// errors, deadlines, and decided, which may be nil.
func (s *Settler) SettleCart(ctx context.Context, of models.Cart, items []lease.Posting, decided func()) ([]models.Verdict, error) {
	c := &cart{Cart: of, items: items, decided: decided, ended: make(chan struct{})}
	c.deadline, _ = ctx.Deadline()
	if err := s.admit(ctx, items); err != nil {
		c.end(nil, err)
	} else {
		go func() {
			defer s.running.Done()
			c.end(s.process(c))
		}()
	}
	select {
	case <-c.ended:
		return c.verdicts, c.err
	case <-ctx.Done():
	}
	select {
	case <-c.ended: // perhaps at the same moment
		return c.verdicts, c.err
	default:
		return nil, models.ErrOutcomeUnknown
	}
}

// admit waits for a turn, and counts one more cart that runs, unless the Settler stops.
func (s *Settler) admit(ctx context.Context, items []lease.Posting) error {
	if s.cartsWaiting.Add(1) > maxCartsWaiting {
		s.cartsWaiting.Add(-1)
		return models.ErrOverloaded
	}
	defer s.cartsWaiting.Add(-1)
	if !s.awaitLocks(ctx, items) {
		return models.ErrBusy
	}
	if !s.carts.Take(ctx) {
		return models.ErrLedgerUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		s.carts.End()
		return models.ErrDraining
	}
	s.running.Add(1)
	return nil
}

// process decides a cart whose turn it is.
func (s *Settler) process(c *cart) ([]models.Verdict, error) {
	ctx, cancel := s.within(c.deadline)
	verdicts, err := s.attempt(ctx, c)
	cancel()
	s.carts.End()
	if errors.Is(err, models.ErrBusy) {
		s.areLocked(s.stop, c.items)
	}
	if !errors.Is(err, models.ErrOutcomeUnknown) {
		return verdicts, err
	}
	s.logger.Warn().Err(err).Stringer("cart_id", c.ID).Msg("outcome of a cart unknown, it runs again until it is known")
	return s.untilKnown(
		func(ctx context.Context) ([]models.Verdict, error) { return s.attempt(ctx, c) },
		func(err error) bool { // the ledger refuses when no attempt before is on its way any more
			_, refused := errors.AsType[*models.CartError](err)
			return refused
		},
	)
}

// attempt runs the cart's transaction once. After the deadline it only finds out what an earlier attempt has done.
func (s *Settler) attempt(ctx context.Context, c *cart) ([]models.Verdict, error) {
	now := s.now()
	late := !c.deadline.IsZero() && !now.Before(c.deadline)
	batches := make([]models.Batch, len(c.items))
	for i, it := range c.items {
		batches[i] = models.Batch{Offer: it.Offer, LeaseID: it.Block.LeaseID, Wanted: []models.Wanted{{Entry: it.Entry, CheckOnly: late}}}
	}
	verdicts, err := s.ledger.SettleCart(ctx, c.Cart, batches)
	s.metrics.observe(len(batches), s.now().Sub(now), err)
	return verdicts, err
}

// end gives the units of all items their place, and tells the requester.
func (c *cart) end(verdicts []models.Verdict, err error) {
	refused, _ := errors.AsType[*models.CartError](err)
	for i := range c.items {
		it, v := &c.items[i], models.Verdict{Err: err}
		if err == nil {
			v = verdicts[i]
		}
		if refused != nil && refused.OfferID == it.Offer.ID && errors.Is(err, models.ErrLeaseClosed) {
			it.Block.Seal()
		}
		account(it, &v)
	}
	if c.decided != nil {
		c.decided()
	}
	c.verdicts, c.err = verdicts, err
	close(c.ended)
}
