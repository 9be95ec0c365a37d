package allocator

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tranche/internal/run"
	"tranche/lease"
	"tranche/models"
)

// Recovered is a journal with records that may not be in the ledger.
type Recovered interface {
	Replay(each func(seq uint64, kind byte, payload []byte) error) error
	Settled(seqs ...uint64)
}

// Estate is what recovery needs of the database.
type Estate interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	LeaseStates(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error)
	Histories(ctx context.Context, offerID string, redemptions []models.ID) (map[models.ID][]models.Entry, error)
}

// Resumer books entries on leases that an earlier process held; see settle.Settler.
type Resumer interface {
	Book(posting *lease.Posting, requester models.Requester)
}

const (
	// recoverAtOnce is how many entries are on their way at the same time.
	recoverAtOnce = 4096
	// lookAtOnce is how many records are looked for in the ledger with one read.
	lookAtOnce = 500
)

// Recovery settles what the journal holds: what the process before left, or after the ledger has lost commits, what this process has
// written. Records whose entries are in the ledger need nothing more. The others go to the settler: there, too, an entry is found by its
// id, and counts once.
type Recovery struct {
	journal Recovered
	estate  Estate
	settler Resumer
	now     func() time.Time

	places run.Turns // taken by the entries that are on their way
	leases map[models.ID]*resumed
	kept   map[string]int // records of offers that the database does not have
	chunk  []found        // to be looked for next
	read   uint64         // the last record that was decided on: it is in the ledger, was handed to the settler, or is kept
	count  int
	booked int
}

// NewRecovery makes a Recovery; it is for one goroutine.
func NewRecovery(journal Recovered, estate Estate, settler Resumer, now func() time.Time) *Recovery {
	return &Recovery{
		journal: journal, estate: estate, settler: settler, now: now,
		places: run.NewTurns(recoverAtOnce), leases: map[models.ID]*resumed{}, kept: map[string]int{},
	}
}

// Run returns when all that the journal held is in the ledger, with the number of records. When it fails it may be called again, and
// goes on where it was. It fails when ctx ends, and when the database is away.
//
// A database that was restored from a backup may lack leases that records were spent from: those records are booked late. It may lack
// offers: see Kept.
func (r *Recovery) Run(ctx context.Context) (count int, err error) {
	r.chunk = nil
	err = r.journal.Replay(func(seq uint64, kind byte, payload []byte) error {
		if seq <= r.read {
			return nil
		}
		e, err := decodeRecord(kind, payload)
		if err != nil {
			return err
		}
		if r.chunk = append(r.chunk, found{seq, e}); len(r.chunk) < lookAtOnce {
			return nil
		}
		return r.settle(ctx)
	})
	if err == nil {
		err = r.settle(ctx)
	}
	if err != nil {
		return r.count, err
	}
	for range recoverAtOnce { // all places are free when nothing is on its way
		if !r.places.Take(ctx) {
			return r.count, ctx.Err()
		}
		defer r.places.End() // Run may be called again
	}
	return r.count, nil
}

// Kept is how many records stay in the journal, by offer, because the database does not have the offer. A later Recovery tries again.
func (r *Recovery) Kept() map[string]int { return r.kept }

// Booked is how many of the records were not in the ledger, as far as a look could tell.
func (r *Recovery) Booked() int { return r.booked }

// found is a record of the journal.
type found struct {
	seq   uint64
	entry models.Entry
}

// resumed is a lease that entries in the journal were spent from.
type resumed struct {
	block *lease.Block
	offer *models.Offer
}

// settle decides on the records of the chunk.
func (r *Recovery) settle(ctx context.Context) error {
	there, err := r.look(ctx)
	if err != nil {
		return err
	}
	for i := range r.chunk {
		f := &r.chunk[i]
		if there[f.entry.ID] {
			r.journal.Settled(f.seq)
			r.count++
		} else if err := r.book(ctx, f); err != nil {
			return err
		}
		r.read = f.seq
	}
	r.chunk = r.chunk[:0]
	return nil
}

// look tells which entries of the chunk are in the ledger. Those that it does not see may be there all the same.
func (r *Recovery) look(ctx context.Context) (there map[models.ID]bool, err error) {
	byOffer := map[string][]models.ID{}
	for i := range r.chunk {
		e := &r.chunk[i].entry
		byOffer[e.OfferID] = append(byOffer[e.OfferID], e.Redemption)
	}
	there = map[models.ID]bool{}
	for offer, redemptions := range byOffer {
		histories, err := r.estate.Histories(ctx, offer, redemptions)
		if err != nil {
			return nil, err
		}
		for _, history := range histories {
			there[history[0].ID] = true
		}
	}
	return there, nil
}

// book hands a record to the settler, unless the ledger does not have its offer.
func (r *Recovery) book(ctx context.Context, f *found) error {
	if r.kept[f.entry.OfferID] > 0 {
		r.kept[f.entry.OfferID]++
		return nil
	}
	on, err := r.lease(ctx, &f.entry)
	switch {
	case errors.Is(err, models.ErrOfferNotFound):
		r.kept[f.entry.OfferID] = 1
		return nil
	case err != nil:
		return err
	}
	if !r.places.Take(ctx) {
		return ctx.Err()
	}
	r.count++
	r.booked++
	r.settler.Book(&lease.Posting{Block: on.block, Offer: on.offer, Entry: f.entry}, recovered{r, f.seq})
	return nil
}

// recovered is a record that is on its way into the ledger.
type recovered struct {
	recovery *Recovery
	seq      uint64
}

// Decided implements models.Requester.
func (r recovered) Decided(models.Verdict) {
	r.recovery.journal.Settled(r.seq)
	r.recovery.places.End()
}

// lease gives the lease that an entry was spent from. Its block is for settling only: it has expired.
func (r *Recovery) lease(ctx context.Context, e *models.Entry) (*resumed, error) {
	if on, ok := r.leases[e.LeaseID]; ok {
		return on, nil
	}
	offer, err := r.estate.Offer(ctx, e.OfferID)
	if err != nil {
		return nil, fmt.Errorf("an offer of the journal: %w", err)
	}
	states, err := r.estate.LeaseStates(ctx, e.OfferID, []models.ID{e.LeaseID})
	if err != nil {
		return nil, err
	}
	if len(states) == 0 { // the ledger has lost it, and makes one that is closed
		states = []models.Lease{{OfferID: e.OfferID, ID: e.LeaseID, Kind: models.KindBlock, Mode: offer.Mode}}
	}
	on := &resumed{block: lease.NewBlock(&states[0], r.now()), offer: &offer}
	r.leases[e.LeaseID] = on
	return on, nil
}
