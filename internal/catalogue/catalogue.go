package catalogue

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// Source is where a Catalogue reads.
type Source interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	// SyncOffers gives the offers that were changed within the window; a window of 0 gives all that are not over.
	SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error)
}

const (
	// SyncEvery is how soon a change by an admin is known on every node.
	SyncEvery = 250 * time.Millisecond
	// syncInTail is the same while a budget runs out: then a change decides whether there is something to sell.
	syncInTail = 50 * time.Millisecond
	// syncWindow is how far back a sync looks. It finds a change that took that long to commit.
	syncWindow = 10 * time.Second
	// syncAllEvery is how often all offers are read, whatever a sync may have missed.
	syncAllEvery = 30 * time.Second
)

// Catalogue is what the node knows of the offers, and of the database's clock. It is safe for concurrent use.
type Catalogue struct {
	source      Source
	now         func() time.Time
	subscribers []func(*models.Offer) // complete before the first offer comes

	clock  clock
	offers atomic.Pointer[map[string]known] // a map is never changed, only replaced; nil before the first sync

	mu sync.Mutex // held while offers is replaced

	// Of the goroutine that syncs:
	synced  time.Time // when the last sync that succeeded began; zero before
	allRead time.Time // when the last read of all offers began
}

// known is an offer, and since when this node knows it so.
type known struct {
	*models.Offer
	since time.Time
}

// New makes an empty Catalogue; now needs a monotonic reading.
func New(source Source, now func() time.Time) *Catalogue {
	return &Catalogue{source: source, now: now}
}

// Subscribe has hear called with each offer that is newer than what was known of it, once the catalogue has it. It is to be called
// before the first Sync.
func (c *Catalogue) Subscribe(hear func(*models.Offer)) { c.subscribers = append(c.subscribers, hear) }

// Run keeps the catalogue up to date until ctx ends. inTail tells whether the budget of an offer that this node serves runs out.
func (c *Catalogue) Run(ctx context.Context, inTail func() bool) {
	pace := func() time.Duration {
		if inTail() {
			return syncInTail
		}
		return SyncEvery
	}
	run.Paced(ctx, pace, func(ctx context.Context) { _ = c.Sync(ctx) }) // the store reports an outage
}

// Sync reads the changes. It reads all offers at first, every syncAllEvery, and after an outage in which it may have missed changes.
// It is for one goroutine at a time.
func (c *Catalogue) Sync(ctx context.Context) error {
	began := c.now()
	all := c.synced.IsZero() || began.Sub(c.synced) > syncWindow/2 || began.Sub(c.allRead) >= syncAllEvery
	window := syncWindow
	if all {
		window = 0
	}
	snapshot, err := c.source.SyncOffers(ctx, window)
	if err != nil {
		return err
	}
	c.clock.set(snapshot.Now, began, c.now())
	c.take(snapshot.Offers, all)
	c.synced = began
	if all {
		c.allRead = began
	}
	return nil
}

// Offer gives an offer as this node knows it. It reads one that it does not know from the database.
// The result is shared and must not be changed.
func (c *Catalogue) Offer(ctx context.Context, id string) (*models.Offer, error) {
	offers := c.offers.Load()
	if offers == nil {
		return nil, models.ErrLedgerUnavailable
	}
	if k, ok := (*offers)[id]; ok {
		return k.Offer, nil
	}
	o, err := c.source.Offer(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.Learn(o), nil
}

// Newer gives the offer as this node knows it by now, if it was changed or recalled since.
func (c *Catalogue) Newer(o *models.Offer) *models.Offer {
	if offers := c.offers.Load(); offers != nil {
		if k, ok := (*offers)[o.ID]; ok && k.NewerThan(o) {
			return k.Offer
		}
	}
	return o
}

// Learn takes in one offer that was read elsewhere, and gives it as this node knows it then.
func (c *Catalogue) Learn(o models.Offer) *models.Offer {
	c.take([]models.Offer{o}, false)
	return c.Newer(&o)
}

// LedgerNow is the database's clock at the instant now, as far as this node can tell.
func (c *Catalogue) LedgerNow(now time.Time) models.Micros { return c.clock.at(now) }

// take brings the map up to date and tells the subscribers what is new. all says that these are all offers that are not over.
func (c *Catalogue) take(offers []models.Offer, all bool) {
	for _, o := range c.replace(offers, all) {
		for _, hear := range c.subscribers {
			hear(o)
		}
	}
}

// replace puts a new map in the place of the old one, if anything has changed, and gives what is new in it.
//
// An offer that is over stays for syncWindow after this node heard of its end: an answer from before, which is still on its way, must
// not bring it back to life. A later read of all offers drops it.
func (c *Catalogue) replace(offers []models.Offer, all bool) (news []*models.Offer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	var old map[string]known
	if p := c.offers.Load(); p != nil {
		old = *p
	}
	for i := range offers {
		if k, ok := old[offers[i].ID]; !ok || offers[i].NewerThan(k.Offer) {
			o := offers[i] // a copy: a pointer to it would keep all that was read with it
			news = append(news, &o)
		}
	}
	if len(news) == 0 && !all {
		return nil
	}
	next := make(map[string]known, len(old)+len(offers))
	for id, k := range old {
		if !all || now.Sub(k.since) < syncWindow {
			next[id] = k
		}
	}
	for i := range offers { // those that have not changed, and may have been known for long
		if k, ok := old[offers[i].ID]; ok {
			next[offers[i].ID] = k
		}
	}
	for _, o := range news {
		next[o.ID] = known{o, now}
	}
	c.offers.Store(&next)
	return news
}
