package allocator

import (
	"context"
	"errors"

	"tranche/internal/ledger"
	"tranche/lease"
	"tranche/models"
)

// Journal is the node's own fsynced log.
type Journal interface {
	// Append is durable on return. Only after models.ErrOutcomeUnknown may the record be there all the
	// same; it then turns up at the next start.
	Append(ctx context.Context, kind byte, payload []byte) (seq uint64, err error)
	// Settled says that records are not needed any more.
	Settled(seqs ...uint64)
}

// acknowledge writes what was spent from a block into the journal, and leaves it to the settler to book it. When it gives no
// error, the redemption is on this node's disk, and will be in the ledger whatever happens to the block's lease.
//
// After an error the units are back in the block, unless the outcome is unknown: then they stay pending until the next start of
// the process finds out.
func (a *Allocator) acknowledge(ctx context.Context, block *lease.Block, offer *models.Offer, e models.Entry, counted bool) (Redeemed, error) {
	e.LeaseID = block.LeaseID
	// A client that hangs up must not leave the outcome open: that is for a disk that fails.
	seq, err := a.record(context.WithoutCancel(ctx), &e)
	if err != nil {
		if !errors.Is(err, models.ErrOutcomeUnknown) {
			block.Unspend(e.Units)
		}
		return Redeemed{}, err
	}
	owed := &lease.Posting{Block: block, Offer: offer, Entry: e}
	a.memory.acknowledge(&owed.Entry, block, counted)
	a.settler.Book(owed, acknowledged{a, &owed.Entry, seq})
	return journaled(&owed.Entry), nil
}

// record writes an entry into the journal.
func (a *Allocator) record(ctx context.Context, e *models.Entry) (seq uint64, err error) {
	kind, payload, err := encodeRecord(e)
	if err != nil {
		return 0, err
	}
	return a.journal.Append(ctx, kind, payload)
}

// acknowledged is an entry that is in the journal, and on its way into the ledger.
type acknowledged struct {
	allocator *Allocator
	entry     *models.Entry // it does not change
	seq       uint64
}

// Decided implements models.Requester: it takes in what became of the entry.
func (k acknowledged) Decided(v models.Verdict) {
	k.allocator.booked(k.entry, v)
	k.allocator.journal.Settled(k.seq)
}

// booked takes in what became of an acknowledged entry.
func (a *Allocator) booked(e *models.Entry, v models.Verdict) {
	if v.Err != nil { // another request has the key, and the redemption is that one's
		a.memory.forget(e.Redemption)
	}
	if v.Entry.ID != e.ID || v.Entry.LeaseID != e.LeaseID {
		other := v.Entry
		e = &other
	}
	a.memory.settle(e, false)
}

// remember keeps a redemption that is in the ledger in mind for an outage, and counts it in its user's limit.
func (a *Allocator) remember(offer *models.Offer, e models.Entry) {
	a.memory.settle(&e, offer.LimitsUsers())
}

// journaled is the redemption that an entry in the journal makes.
func journaled(e *models.Entry) Redeemed {
	r := ledger.Begin(e)
	r.Journaled = true
	return Redeemed{Redemption: r}
}

// outage redeems while the database is away, from what this node has leased: as fast does. The offer's status, its window and its
// users' limits hold as far as this node knows. It is the entry that was tried before, so if that comes to be committed after all, it is
// still one redemption.
func (a *Allocator) outage(ctx context.Context, offer *models.Offer, e models.Entry) (Redeemed, error) {
	if err := a.active(offer, a.now()); err != nil {
		return a.refuse(ctx, &e, err)
	}
	counted := offer.LimitsUsers()
	if counted {
		if err := a.memory.users.reserve(offer, &e); err != nil {
			return a.refuse(ctx, &e, err)
		}
	}
	r, err := a.spendInOutage(ctx, offer, e, counted)
	if err != nil && counted {
		a.memory.users.release(&e)
	}
	return r, err
}

func (a *Allocator) spendInOutage(ctx context.Context, offer *models.Offer, e models.Entry, counted bool) (Redeemed, error) {
	block, err := a.blocks.Spend(ctx, offer, e.Units, a.now())
	switch {
	case errors.Is(err, lease.ErrShort):
		return Redeemed{}, models.ErrLedgerUnavailable // and with it the books that could say why
	case err != nil:
		return Redeemed{}, err
	case !block.Mode.Outlives() || a.agree(offer, block) != nil:
		block.Unspend(e.Units)
		return Redeemed{}, models.ErrLedgerUnavailable
	}
	return a.acknowledge(ctx, block, offer, e, counted)
}

// remembered answers a request that this node remembers from before. known is false where it doesn't.
func (a *Allocator) remembered(ctx context.Context, e *models.Entry) (r Redeemed, known bool, err error) {
	earlier, settled, known := a.memory.find(e.Redemption)
	if !known && !settled {
		return Redeemed{}, false, nil
	}
	if known && !ledger.SameRequest(earlier, e) {
		return Redeemed{}, true, models.ErrKeyReused
	}
	if settled {
		history, redemption, found, err := a.lookups.find(ctx, e.RedemptionID())
		switch {
		case err == nil && found && !ledger.SameRequest(&history[0], e):
			return Redeemed{}, true, models.ErrKeyReused
		case err == nil && found:
			return Redeemed{Redemption: redemption, Replayed: true}, true, nil
		}
	}
	if !known { // and the ledger can't be asked, or has none: it is taken for new, as it would be on any other node
		return Redeemed{}, false, nil
	}
	r = journaled(earlier)
	r.Replayed = true
	r.Redemption.Journaled = !settled
	return r, true, nil
}
