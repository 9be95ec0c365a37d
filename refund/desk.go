package refund

import (
	"context"
	"errors"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/singleflight"

	"tranche/internal/run"
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
	Adopt(b *lease.Block, offer *models.Offer, sent time.Time)
}

// Settler books entries on a lease; see settle.Settler.
type Settler interface {
	Settle(ctx context.Context, posting lease.Posting, decided func()) (models.Verdict, error)
	SettleCart(ctx context.Context, cart models.Cart, items []lease.Posting, decided func()) ([]models.Verdict, error)
}

// Offers is what the node knows of the offers; see catalogue.Catalogue.
type Offers interface {
	Offer(ctx context.Context, id string) (*models.Offer, error)
	// Newer gives an offer as the node knows it by now.
	Newer(o *models.Offer) *models.Offer
}

// DeskConfig says what a Desk works with.
type DeskConfig struct {
	NodeID  models.ID
	Ledger  Ledger
	Keeper  Keeper
	Settler Settler
	Offers  Offers
	Now     func() time.Time // with a monotonic reading
	Logger  zerolog.Logger
}

// Desk books what gives units back. It is safe for concurrent use.
type Desk struct {
	cfg      DeskConfig
	openings singleflight.Group // of pools, by offer id
}

// NewDesk makes a Desk.
func NewDesk(cfg DeskConfig) *Desk { return &Desk{cfg: cfg} }

// Book books a refund of an offer, or what ends a hold, on the offer's pool, and gives the committed entry. Its Units are 0 for "all".
//
// Errors: models.ErrRedemptionNotFound; of a refund ErrRefundExceeds, ErrTooManyRefunds, ErrNotConfirmed and ErrKeyReused; of a confirm, cancel or expire
// ErrNotAHold, ErrHoldResolved and ErrConfirmExceeds; or those of the machinery. After ErrOutcomeUnknown the same request may be repeated.
func (d *Desk) Book(ctx context.Context, offer *models.Offer, entry models.Entry) (models.Verdict, error) {
	for backoff := newBackoff(); ; {
		pool, err := d.pool(ctx, offer)
		if err != nil {
			return models.Verdict{}, err
		}
		offer = d.cfg.Offers.Newer(offer) // a pool brings the offer as it was when the pool was there
		verdict, err := d.cfg.Settler.Settle(ctx, lease.Posting{Block: pool, Offer: offer, Entry: entry}, nil)
		if errors.Is(err, models.ErrLeaseClosed) && backoff.Wait(ctx) {
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
	for backoff := newBackoff(); ; {
		for i, offer := range offers {
			pool, err := d.pool(ctx, offer)
			if err != nil {
				return nil, err
			}
			items[i] = lease.Posting{Block: pool, Entry: entries[i]}
		}
		for i, offer := range offers {
			items[i].Offer = d.cfg.Offers.Newer(offer) // see Book; and the last pool may have taken a while
		}
		verdicts, err := d.cfg.Settler.SettleCart(ctx, cart, items, nil)
		if errors.Is(err, models.ErrLeaseClosed) && backoff.Wait(ctx) {
			continue
		}
		for _, it := range items {
			d.retire(it.Block, it.Offer)
		}
		return verdicts, err
	}
}

// newBackoff is between pools that were closed when they were to be used. One is nothing, and several have a reason that stays.
func newBackoff() run.Backoff { return run.Backoff{Min: 5 * time.Millisecond, Max: time.Second} }

// retire ends a pool that has taken in the offer's lease size, or has expired: the keeper returns it, and the next entry opens another.
func (d *Desk) retire(pool *lease.Block, offer *models.Offer) {
	if pool.Granted() >= offer.LeaseSize || pool.ExpiredAt(d.cfg.Now()) {
		pool.Seal()
	}
}

// pool gives the offer's open pool, or opens one. An opening goes on when this request hangs up, for others may want the pool; the
// ledger has a deadline of its own.
func (d *Desk) pool(ctx context.Context, offer *models.Offer) (*lease.Block, error) {
	if b := d.cfg.Keeper.Pool(offer.ID); b != nil {
		return b, nil
	}
	select {
	case opened := <-d.openings.DoChan(offer.ID, func() (any, error) { return d.open(offer) }):
		pool, _ := opened.Val.(*lease.Block)
		return pool, opened.Err
	case <-ctx.Done():
		return nil, models.ErrLedgerUnavailable
	}
}

// open makes a pool. When it panics, all that wait for the pool hear an error, and the next request opens another.
func (d *Desk) open(offer *models.Offer) (pool *lease.Block, err error) {
	defer func() {
		if r := recover(); r != nil {
			d.cfg.Logger.Error().Interface("panic", r).Str("offer_id", offer.ID).Msg("opening a refund pool panicked")
			pool, err = nil, models.ErrLedgerUnavailable
		}
	}()
	if b := d.cfg.Keeper.Pool(offer.ID); b != nil { // an opening before has just ended
		return b, nil
	}
	epoch := d.cfg.Keeper.Epoch()
	if epoch == 0 {
		return nil, models.ErrLedgerUnavailable
	}
	sent := d.cfg.Now()
	opened, current, err := d.cfg.Ledger.OpenPool(context.Background(), models.Lease{
		OfferID: offer.ID, ID: models.NewID(), NodeID: d.cfg.NodeID, Epoch: epoch,
		TTLSeconds: offer.LeaseTTLSeconds,
	})
	switch {
	case errors.Is(err, models.ErrOutcomeUnknown): // nothing was booked; a pool that nobody knows of is empty, and expires
		return nil, models.ErrLedgerUnavailable
	case err != nil:
		return nil, err
	}
	deadline := sent.Add(opened.TTL() - lease.Margin(opened.TTL()))
	if current.Allocated > current.BudgetTarget || current.TotalsExceeded() {
		deadline = sent.Add(-time.Second) // more is out than there should be, or was: nothing that comes back is spent again
	}
	pool = lease.NewBlock(&opened, deadline)
	d.cfg.Keeper.Adopt(pool, &current, sent)
	return pool, nil
}
