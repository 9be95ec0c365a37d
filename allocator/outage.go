package allocator

import (
	"context"
	"errors"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// undecided reports whether the ledger has not said what becomes of a redemption: it is away, or has not answered.
func undecided(err error) bool {
	return errors.Is(err, models.ErrLedgerUnavailable) || errors.Is(err, models.ErrOutcomeUnknown)
}

const (
	// forJournal is the part of a request's time that is kept for the journal.
	forJournal = 50 * time.Millisecond
	// awayPoll is how often a request that waits for the ledger looks whether it is away.
	awayPoll = 20 * time.Millisecond
)

// redeemAvailable redeems as strict does while the ledger is there, and from the journal while it is away. A ledger that is there and
// does not decide in time is no outage: user limits are exact as long as it is there.
func (a *Allocator) redeemAvailable(ctx context.Context, f *flight, offer *models.Offer, e models.Entry) (Redeemed, error) {
	if a.cfg.Health.Away() {
		return a.outage(ctx, offer, e, models.ErrLedgerUnavailable)
	}
	there, cancel := a.whileThere(ctx)
	r, err := a.redeem(there, f, offer, e)
	cancel()
	if undecided(err) && a.cfg.Health.Away() {
		return a.outage(ctx, offer, e, err)
	}
	return r, err
}

// whileThere gives a context that ends when the ledger is away, and early enough to leave ctx time for the journal.
func (a *Allocator) whileThere(ctx context.Context) (there context.Context, cancel context.CancelFunc) {
	if deadline, ok := ctx.Deadline(); ok {
		left := deadline.Sub(a.cfg.Now())
		there, cancel = context.WithDeadline(ctx, deadline.Add(-min(forJournal, left/2)))
	} else {
		there, cancel = context.WithCancel(ctx)
	}
	go func() {
		for run.Pause(there, awayPoll) {
			if a.cfg.Health.Away() {
				cancel()
			}
		}
	}()
	return there, cancel
}

// outage redeems while the ledger is away, from what this node has leased, as fast does. The offer's status, its window and its users'
// limits hold as far as this node knows. tried is how the ledger failed.
//
// It takes the entry that was tried before. If that comes to be committed after all, it is still one redemption. Since it may, an unknown
// outcome stays unknown where the outage would refuse.
func (a *Allocator) outage(ctx context.Context, offer *models.Offer, e models.Entry, tried error) (Redeemed, error) {
	r, err := a.redeemLeased(ctx, offer, e)
	if err != nil && errors.Is(tried, models.ErrOutcomeUnknown) {
		return Redeemed{}, tried
	}
	return r, err
}

func (a *Allocator) redeemLeased(ctx context.Context, offer *models.Offer, e models.Entry) (Redeemed, error) {
	if err := a.memory.users.addWithin(offer, &e); err != nil {
		return Redeemed{}, refusal{err}
	}
	posting, err := a.spendLeased(ctx, offer, e)
	var r Redeemed
	if err == nil {
		r, err = a.acknowledge(ctx, posting)
	}
	if err != nil && offer.LimitsUsers() {
		a.memory.users.remove(&e)
	}
	return r, err
}

// spendLeased is spend with the ledger away, and with it the books that could say why there is nothing to spend.
func (a *Allocator) spendLeased(ctx context.Context, offer *models.Offer, e models.Entry) (lease.Posting, error) {
	posting, err := a.spend(ctx, offer, e)
	switch {
	case errors.Is(err, models.ErrOfferNotActive):
		return lease.Posting{}, refusal{err}
	case errors.Is(err, lease.ErrShort), errors.Is(err, errTermsChanged):
		return lease.Posting{}, models.ErrLedgerUnavailable
	case err != nil:
		return lease.Posting{}, err
	case !posting.Block.Mode.Outlives():
		posting.Block.Unspend(posting.Entry.Units)
		return lease.Posting{}, models.ErrLedgerUnavailable
	default:
		return posting, nil
	}
}
