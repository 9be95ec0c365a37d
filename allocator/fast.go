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
	// Append is durable on return. Only after models.ErrOutcomeUnknown may the record be there all the same; it then turns up at the
	// next start.
	Append(ctx context.Context, kind byte, payload []byte) (seq uint64, err error)
	// Settled says that records are not needed any more.
	Settled(seqs ...uint64)
}

// acknowledge writes a redemption into the journal, and leaves it to the settler to book it. When it gives no error, the redemption
// is on this node's disk, and will be in the ledger whatever happens to the block's lease.
//
// After an error the units are back in the block, unless the outcome is unknown: then they stay pending until the next start of
// the process finds out.
func (a *Allocator) acknowledge(ctx context.Context, p lease.Posting) (Redeemed, error) {
	if a.cfg.Settler.Overloaded() {
		p.Block.Unspend(p.Entry.Units)
		return Redeemed{}, models.ErrOverloaded
	}
	// A client that hangs up must not leave the outcome open: that is for a disk that fails.
	seq, err := a.write(context.WithoutCancel(ctx), &p.Entry)
	if err != nil {
		if !errors.Is(err, models.ErrOutcomeUnknown) {
			p.Block.Unspend(p.Entry.Units)
		}
		return Redeemed{}, err
	}
	a.memory.acknowledge(&p)
	a.cfg.Settler.Book(&p, acknowledged{a, &p.Entry, seq, a.unsettled.add(p.Entry.OfferID)})
	return journaled(&p.Entry), nil
}

// write puts an entry into the journal.
func (a *Allocator) write(ctx context.Context, e *models.Entry) (seq uint64, err error) {
	kind, payload, err := encodeRecord(e)
	if err != nil {
		return 0, err
	}
	return a.cfg.Journal.Append(ctx, kind, payload)
}

// journaled is the redemption that an entry in the journal makes.
func journaled(e *models.Entry) Redeemed {
	r := ledger.Begin(e)
	r.Journaled = true
	return Redeemed{Redemption: r}
}

// acknowledged is an entry that is in the journal, and on its way into the ledger.
type acknowledged struct {
	allocator  *Allocator
	entry      *models.Entry // it does not change
	seq        uint64
	generation *generation
}

// Decided implements models.Requester: it takes in what became of the entry.
func (k acknowledged) Decided(v models.Verdict) {
	memory := &k.allocator.memory
	if v.Err != nil { // another request has the key, and the redemption is that one's
		memory.forget(k.entry.Redemption)
	}
	settled := *k.entry
	if v.Entry.ID != settled.ID || v.Entry.LeaseID != settled.LeaseID {
		settled = v.Entry
	}
	memory.settle(settled, false)
	k.allocator.cfg.Journal.Settled(k.seq)
	k.allocator.unsettled.settle(k.generation)
}
