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

// Recovered is what an earlier process on this data directory has left in the journal.
type Recovered interface {
	Replay(each func(seq uint64, kind byte, payload []byte) error) error
	Settled(seqs ...uint64)
}

// Estate is what recovery needs of the database.
type Estate interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	LeaseStates(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error)
}

// Resumer books entries on leases that an earlier process held; see settle.Settler.
type Resumer interface {
	Book(posting *lease.Posting, requester models.Requester)
}

// recoverAtOnce is how many entries are on their way at the same time.
const recoverAtOnce = 4096

// Recovery settles what the journal holds: it does what the settler does all the time, from where the process before left off. An
// entry that had been settled already is found by its id and counts once.
type Recovery struct {
	journal Recovered
	estate  Estate
	settler Resumer
	now     func() time.Time

	places run.Turns // taken by the entries that are on their way
	leases map[models.ID]*resumed
	kept   map[string]int // records of offers that the database does not have
	read   uint64         // the last record that was handed to the settler, or kept
	count  int
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
	err = r.journal.Replay(func(seq uint64, kind byte, payload []byte) error {
		if seq <= r.read {
			return nil
		}
		err := r.settle(ctx, seq, kind, payload)
		if err == nil {
			r.read = seq
		}
		return err
	})
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

// resumed is a lease that entries in the journal were spent from.
type resumed struct {
	block *lease.Block
	offer *models.Offer
}

func (r *Recovery) settle(ctx context.Context, seq uint64, kind byte, payload []byte) error {
	e, err := decodeRecord(kind, payload)
	if err != nil {
		return err
	}
	if r.kept[e.OfferID] > 0 {
		r.kept[e.OfferID]++
		return nil
	}
	on, err := r.lease(ctx, &e)
	switch {
	case errors.Is(err, models.ErrOfferNotFound):
		r.kept[e.OfferID] = 1
		return nil
	case err != nil:
		return err
	}
	if !r.places.Take(ctx) {
		return ctx.Err()
	}
	r.count++
	r.settler.Book(&lease.Posting{Block: on.block, Offer: on.offer, Entry: e}, recovered{r, seq})
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
