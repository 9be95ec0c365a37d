package refund

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"tranche/lease"
	"tranche/models"
)

// Ledger is what a Desk needs of the database.
type Ledger interface {
	OpenPool(ctx context.Context, l models.Lease) (models.Lease, models.Offer, error)
}

// Keeper holds the pools of the node.
type Keeper interface {
	Epoch() int64
	Pool(offerID string) *lease.Block
	Adopt(b *lease.Block, offer *models.Offer)
}

// Settler books entries on a lease; see settle.Settler.
type Settler interface {
	Settle(ctx context.Context, posting lease.Posting, decided func()) (models.Verdict, error)
	SettleCart(ctx context.Context, cart models.Cart, items []lease.Posting, decided func()) ([]models.Verdict, error)
}

// Desk books what gives units back. It is safe for concurrent use.
type Desk struct {
	nodeID  models.ID
	ledger  Ledger
	keeper  Keeper
	settler Settler
	newest  func(*models.Offer) *models.Offer
	now     func() time.Time
	logger  zerolog.Logger

	openings sync.WaitGroup

	mu      sync.Mutex
	opening map[string]*opening // by offer id
}

// opening is the creation of a pool that several requests wait for.
type opening struct {
	done  chan struct{}
	block *lease.Block
	err   error
}

// NewDesk makes a Desk. newest gives an offer as this node knows it by now; now needs a monotonic reading.
func NewDesk(
	nodeID models.ID, ledger Ledger, keeper Keeper, settler Settler, newest func(*models.Offer) *models.Offer, now func() time.Time, logger zerolog.Logger,
) *Desk {
	return &Desk{
		nodeID: nodeID, ledger: ledger, keeper: keeper, settler: settler, newest: newest, now: now, logger: logger, opening: map[string]*opening{},
	}
}

// Book books a refund of an offer, or what ends a hold, on the offer's pool, and gives the committed entry. Its Units are 0 for "all".
//
// Errors: models.ErrRedemptionNotFound; of a refund ErrRefundExceeds, ErrNotConfirmed and ErrKeyReused; of a confirm, cancel or expire
// ErrNotAHold, ErrHoldResolved and ErrConfirmExceeds; or those of the machinery. After ErrOutcomeUnknown the same request may be repeated.
func (d *Desk) Book(ctx context.Context, offer *models.Offer, entry models.Entry) (models.Verdict, error) {
	for {
		pool, err := d.pool(ctx, offer)
		if err != nil {
			return models.Verdict{}, err
		}
		offer = d.newest(offer) // a pool brings the offer as it was when the pool was there
		verdict, err := d.settler.Settle(ctx, lease.Posting{Block: pool, Offer: offer, Entry: entry}, nil)
		if errors.Is(err, models.ErrLeaseClosed) && ctx.Err() == nil {
			continue
		}
		d.retire(pool, offer)
		return verdict, err
	}
}

// BookCart books what gives back the items of a cart, one entry for each offer, on the pools of their offers: all of them or none. It
// gives a verdict for each; of refunds, one may be that nothing is left.
//
// A *models.CartError is a refusal of the whole, for what Book refuses an entry for. All else is as for Book.
func (d *Desk) BookCart(ctx context.Context, cart models.Cart, offers []*models.Offer, entries []models.Entry) ([]models.Verdict, error) {
	items := make([]lease.Posting, len(entries))
	for {
		for i, offer := range offers {
			pool, err := d.pool(ctx, offer)
			if err != nil {
				return nil, err
			}
			items[i] = lease.Posting{Block: pool, Entry: entries[i]}
		}
		for i, offer := range offers {
			items[i].Offer = d.newest(offer) // see Book; and the last pool may have taken a while
		}
		verdicts, err := d.settler.SettleCart(ctx, cart, items, nil)
		if errors.Is(err, models.ErrLeaseClosed) && ctx.Err() == nil {
			continue
		}
		for _, it := range items {
			d.retire(it.Block, it.Offer)
		}
		return verdicts, err
	}
}

// retire ends a pool that has grown to the offer's lease size, or has expired: the keeper returns it, and the next entry opens another.
func (d *Desk) retire(pool *lease.Block, offer *models.Offer) {
	if pool.Left() >= offer.LeaseSize || pool.ExpiredAt(d.now()) {
		pool.Seal()
	}
}

// pool gives the offer's open pool, or opens one.
func (d *Desk) pool(ctx context.Context, offer *models.Offer) (*lease.Block, error) {
	if b := d.keeper.Pool(offer.ID); b != nil {
		return b, nil
	}
	d.mu.Lock()
	o, under := d.opening[offer.ID]
	if !under {
		if b := d.keeper.Pool(offer.ID); b != nil { // somebody just finished
			d.mu.Unlock()
			return b, nil
		}
		o = &opening{done: make(chan struct{})}
		d.opening[offer.ID] = o
	}
	d.mu.Unlock()
	if !under {
		d.openings.Go(func() { d.open(offer, o) })
	}
	select {
	case <-o.done:
		return o.block, o.err
	case <-ctx.Done():
		return nil, models.ErrLedgerUnavailable
	}
}

// open makes the pool and tells those who wait for it. It goes on when they hang up, for others may want the pool; the ledger has
// a deadline of its own. Whatever goes wrong in it, those who wait hear of it, and the next request starts it anew.
func (d *Desk) open(offer *models.Offer, o *opening) {
	o.err = models.ErrLedgerUnavailable // unless the pool is there in the end
	defer func() {
		if r := recover(); r != nil {
			d.logger.Error().Interface("panic", r).Str("offer_id", offer.ID).Msg("opening a refund pool panicked")
		}
		d.mu.Lock()
		delete(d.opening, offer.ID)
		d.mu.Unlock()
		close(o.done)
	}()
	epoch := d.keeper.Epoch()
	if epoch == 0 {
		return
	}
	sent := d.now()
	opened, current, err := d.ledger.OpenPool(context.Background(), models.Lease{
		OfferID: offer.ID, ID: models.NewID(), NodeID: d.nodeID, Epoch: epoch,
		TTLSeconds: offer.LeaseTTLSeconds,
	})
	switch {
	case errors.Is(err, models.ErrOutcomeUnknown):
		return // nothing was booked; a pool that nobody knows of is empty, and expires
	case err != nil:
		o.err = err
		return
	}
	deadline := sent.Add(opened.TTL() - lease.Margin(opened.TTL()))
	if current.Allocated > current.BudgetTarget {
		deadline = sent.Add(-time.Second) // more is out than there should be: nothing that comes back is spent again
	}
	block := lease.NewBlock(&opened, deadline)
	d.keeper.Adopt(block, &current)
	o.block, o.err = block, nil
}

// Wait returns when no pool is being opened any more. Nothing may be booked meanwhile.
func (d *Desk) Wait() { d.openings.Wait() }
