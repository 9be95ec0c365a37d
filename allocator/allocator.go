package allocator

import (
	"context"
	"time"

	"tranche/internal/catalogue"
	"tranche/lease"
	"tranche/models"
)

// Blocks spends from what the node has leased; see lease.Keeper.
type Blocks interface {
	Spend(ctx context.Context, offer *models.Offer, n int64, now time.Time) (*lease.Block, error)
	Reconsider(offerID string)
}

// Settler books entries on a lease; see settle.Settler.
type Settler interface {
	Settle(ctx context.Context, posting lease.Posting, decided func()) (models.Verdict, error)
	SettleCart(ctx context.Context, cart models.Cart, items []lease.Posting, decided func()) ([]models.Verdict, error)
	Book(posting *lease.Posting, requester models.Requester)
	// Overloaded reports whether nothing more must be acknowledged until some of it is settled.
	Overloaded() bool
}

// Desk books refunds and what ends a hold; see refund.Desk.
type Desk interface {
	Book(ctx context.Context, offer *models.Offer, entry models.Entry) (models.Verdict, error)
	BookCart(ctx context.Context, cart models.Cart, offers []*models.Offer, entries []models.Entry) ([]models.Verdict, error)
}

// Ledger is what an Allocator itself needs of the database.
type Ledger interface {
	Histories
	Carts
	Balances
	Admin
	// MayOwe reports whether another node may have redemptions of an offer in its journal.
	MayOwe(ctx context.Context, offerID string, except models.ID) (bool, error)
}

// Health tells how the ledger serves; see health.Ledger.
type Health interface {
	// Away reports whether requests must do without the ledger.
	Away() bool
}

// Config of an Allocator. It needs all of it.
type Config struct {
	NodeID   models.ID
	NodeName string
	Offers   *catalogue.Catalogue
	Ledger   Ledger
	Blocks   Blocks
	Settler  Settler
	Desk     Desk
	Journal  Journal
	Health   Health
	Now      func() time.Time // with a monotonic reading
}

// Allocator is what a node does for checkouts and admins. It is safe for concurrent use.
type Allocator struct {
	cfg       Config
	inFlight  inFlight
	memory    memory
	unsettled unsettled
	lookups   lookups
	balances  balances
}

// New makes an Allocator.
func New(cfg Config) *Allocator {
	return &Allocator{
		cfg:      cfg,
		lookups:  lookups{source: cfg.Ledger},
		balances: balances{source: cfg.Ledger, now: cfg.Now},
	}
}

// LedgerNow is the database's clock, as far as this node can tell.
func (a *Allocator) LedgerNow() models.Micros { return a.cfg.Offers.LedgerNow(a.cfg.Now()) }
