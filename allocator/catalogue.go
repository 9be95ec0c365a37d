package allocator

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"tranche/internal/run"
	"tranche/models"
)

// Offers is where a Catalogue reads.
type Offers interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error)
}

const (
	// syncEvery is how soon a change by an admin is known on every node.
	syncEvery = 250 * time.Millisecond
	// syncWindow is how far back a sync looks. A change that commits late is still found: it may take this long to.
	syncWindow = 10 * time.Second
	// syncAllEvery is how often all offers are read, whatever a sync may have missed.
	syncAllEvery = 30 * time.Second
)

// Catalogue is what the node knows of the offers, and of the database's clock. It is safe for concurrent use.
type Catalogue struct {
	source Offers
	now    func() time.Time
	logger zerolog.Logger

	offers atomic.Pointer[map[string]*models.Offer] // never changed, only replaced; nil before the first sync
	clock  atomic.Pointer[reading]

	mu      sync.Mutex // held while offers is replaced
	allRead time.Time  // when all offers were read; belongs to the sync loop
}

// reading ties the database's clock to the monotonic one.
type reading struct {
	ledger models.Micros
	at     time.Time
}

// NewCatalogue makes an empty Catalogue; now needs a monotonic reading.
func NewCatalogue(source Offers, now func() time.Time, logger zerolog.Logger) *Catalogue {
	return &Catalogue{source: source, now: now, logger: logger}
}

// Run keeps the catalogue up to date until ctx ends.
func (c *Catalogue) Run(ctx context.Context) {
	run.Every(ctx, syncEvery, func(ctx context.Context) { _ = c.Sync(ctx) }) // an outage is reported by the store
}

// Sync reads what has changed; now and then, and at first, everything.
func (c *Catalogue) Sync(ctx context.Context) error {
	sent := c.now()
	window := syncWindow
	if all := c.offers.Load() == nil || sent.Sub(c.allRead) >= syncAllEvery; all {
		window = 0
	}
	snapshot, err := c.source.SyncOffers(ctx, window)
	if err != nil {
		return err
	}
	c.clock.Store(&reading{ledger: snapshot.Now, at: c.now()})
	c.take(snapshot.Offers, snapshot.Now, window == 0)
	if window == 0 {
		c.allRead = sent
	}
	return nil
}

// Loaded reports whether the offers were ever read.
func (c *Catalogue) Loaded() bool { return c.offers.Load() != nil }

// Learn takes in one offer that was read elsewhere.
func (c *Catalogue) Learn(o models.Offer) {
	if known, ok := c.known(o.ID); ok && known.Version >= o.Version {
		return
	}
	c.take([]models.Offer{o}, c.LedgerNow(c.now()), false)
}

// Offer gives an offer as this node knows it. What it doesn't know it asks the database for.
// The result is shared and must not be changed.
func (c *Catalogue) Offer(ctx context.Context, id string) (*models.Offer, error) {
	if o, ok := c.known(id); ok {
		return o, nil
	}
	if !c.Loaded() {
		return nil, models.ErrLedgerUnavailable
	}
	o, err := c.source.Offer(ctx, id)
	if err != nil {
		return nil, err
	}
	c.Learn(o)
	return &o, nil
}

// LedgerNow is the database's clock at the instant now, as far as this node can tell.
func (c *Catalogue) LedgerNow(now time.Time) models.Micros {
	r := c.clock.Load()
	if r == nil {
		return models.MicrosOf(now)
	}
	return r.ledger.Add(now.Sub(r.at))
}

func (c *Catalogue) known(id string) (*models.Offer, bool) {
	offers := c.offers.Load()
	if offers == nil {
		return nil, false
	}
	o, ok := (*offers)[id]
	return o, ok
}

// take replaces the snapshot if any of the offers is news. Those that are over are dropped: they are read when they are asked for.
// all says that offers is everything there is.
func (c *Catalogue) take(offers []models.Offer, now models.Micros, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var old map[string]*models.Offer
	if p := c.offers.Load(); p != nil {
		old = *p
	}
	if old != nil && !all && !news(old, offers) {
		return
	}
	next := make(map[string]*models.Offer, len(old)+len(offers))
	if !all {
		maps.Copy(next, old)
	}
	for _, o := range offers {
		if known, ok := old[o.ID]; ok && known.Version >= o.Version {
			o = *known
		}
		if o.StatusAt(now) == models.StatusEnded {
			delete(next, o.ID)
			continue
		}
		next[o.ID] = &o
	}
	c.offers.Store(&next)
}

// news reports whether one of the offers is newer than what is known.
func news(known map[string]*models.Offer, offers []models.Offer) bool {
	for i := range offers {
		if k, ok := known[offers[i].ID]; !ok || k.Version < offers[i].Version {
			return true
		}
	}
	return false
}
