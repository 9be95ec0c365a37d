package allocator

import (
	"context"
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
	// syncInTail is the same while a budget runs out, when a change decides whether there is something to sell.
	syncInTail = 50 * time.Millisecond
	// syncWindow is how far back a sync looks. A change that commits late is still found: it may take this long to.
	syncWindow = 10 * time.Second
	// syncAllEvery is how often all offers are read, whatever a sync may have missed.
	syncAllEvery = 30 * time.Second
)

// Catalogue is what the node knows of the offers, and of the database's clock. It is safe for concurrent use.
type Catalogue struct {
	source Offers
	now    func() time.Time
	news   func(*models.Offer)
	logger zerolog.Logger

	offers atomic.Pointer[map[string]known] // never changed, only replaced; nil before the first sync
	synced atomic.Pointer[time.Time]        // when the last sync that succeeded began
	clock  atomic.Pointer[reading]

	mu      sync.Mutex // held while offers is replaced
	allRead time.Time  // when the last read of all offers began; belongs to the sync loop
}

// known is an offer and since when this node knows it so.
type known struct {
	*models.Offer
	since time.Time
}

// reading ties the database's clock to the monotonic one.
type reading struct {
	ledger models.Micros
	at     time.Time
}

// NewCatalogue makes an empty Catalogue; now needs a monotonic reading. news is told of each offer that is newer than what was known of
// it, once the catalogue has it.
func NewCatalogue(source Offers, news func(*models.Offer), now func() time.Time, logger zerolog.Logger) *Catalogue {
	return &Catalogue{source: source, news: news, now: now, logger: logger}
}

// Run keeps the catalogue up to date until ctx ends. inTail tells whether the budget of an offer that this node serves runs out.
func (c *Catalogue) Run(ctx context.Context, inTail func() bool) {
	pace := func() time.Duration {
		if inTail() {
			return syncInTail
		}
		return syncEvery
	}
	run.Paced(ctx, pace, func(ctx context.Context) { _ = c.Sync(ctx) }) // an outage is reported by the store
}

// Sync reads what has changed; at first, now and then, and after an outage that changes may have been missed in, everything.
func (c *Catalogue) Sync(ctx context.Context) error {
	began := c.now()
	last := c.synced.Load()
	all := last == nil || began.Sub(*last) > syncWindow/2 || began.Sub(c.allRead) >= syncAllEvery
	window := syncWindow
	if all {
		window = 0
	}
	snapshot, err := c.source.SyncOffers(ctx, window)
	if err != nil {
		return err
	}
	c.setClock(snapshot.Now, began)
	c.take(snapshot.Offers, all)
	c.synced.Store(&began)
	if all {
		c.allRead = began
	}
	return nil
}

// Loaded reports whether the offers were ever read.
func (c *Catalogue) Loaded() bool { return c.offers.Load() != nil }

// Learn takes in one offer that was read elsewhere, and gives it as this node knows it then.
func (c *Catalogue) Learn(o models.Offer) *models.Offer {
	c.take([]models.Offer{o}, false)
	return c.Newer(&o)
}

// Offer gives an offer as this node knows it. What it doesn't know it asks the database for.
// The result is shared and must not be changed.
func (c *Catalogue) Offer(ctx context.Context, id string) (*models.Offer, error) {
	if k, ok := c.find(id); ok {
		return k.Offer, nil
	}
	if !c.Loaded() {
		return nil, models.ErrLedgerUnavailable
	}
	o, err := c.source.Offer(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.Learn(o), nil
}

// Newer gives the offer as this node knows it by now, if it was changed or recalled since.
func (c *Catalogue) Newer(o *models.Offer) *models.Offer {
	if k, ok := c.find(o.ID); ok && k.NewerThan(o) {
		return k.Offer
	}
	return o
}

// LedgerNow is the database's clock at the instant now, as far as this node can tell.
func (c *Catalogue) LedgerNow(now time.Time) models.Micros {
	r := c.clock.Load()
	if r == nil {
		return models.MicrosOf(now)
	}
	return r.ledger.Add(now.Sub(r.at))
}

// setClock takes in the database's clock as it was at some moment between began and now. Within that, what is known already is as
// good, and going on with it never lets time run backwards.
func (c *Catalogue) setClock(ledger models.Micros, began time.Time) {
	now := c.now()
	earliest, latest := ledger, ledger.Add(now.Sub(began))
	if c.clock.Load() != nil {
		ledger = min(max(c.LedgerNow(now), earliest), latest)
	}
	c.clock.Store(&reading{ledger: ledger, at: now})
}

func (c *Catalogue) find(id string) (known, bool) {
	offers := c.offers.Load()
	if offers == nil {
		return known{}, false
	}
	k, ok := (*offers)[id]
	return k, ok
}

// take brings the snapshot up to date, if any of the offers is news; all says that they are all that are not over.
//
// An offer that is over stays for a while after this node heard of its end: answers that are still on their way from before must
// not bring it back to life. A later read of all offers drops it, and then it is read when it is asked for.
func (c *Catalogue) take(offers []models.Offer, all bool) {
	for _, o := range c.replace(offers, all) {
		c.news(o)
	}
}

// replace puts a new snapshot in the place of the old one, and gives what is new in it.
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
