package catalogue

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// Source is where a Catalogue reads.
type Source interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	// LockedOffer is Offer by a read that locks the row.
	LockedOffer(ctx context.Context, id string) (models.Offer, error)
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
	// confirmAtOnce bounds the locked reads of one sync.
	confirmAtOnce = 100
)

// Catalogue is what the node knows of the offers, and of the database's clock. It is safe for concurrent use.
type Catalogue struct {
	source      Source
	now         func() time.Time
	subscribers []func(o *models.Offer, back bool) // complete before the first offer comes

	clock  clock
	offers sync.Map    // of known, by id
	begun  atomic.Bool // the first sync has succeeded

	mu       sync.Mutex      // held while offers changes, and the subscribers hear of it: in the same order
	suspects map[string]bool // offers that a read without a lock showed lower than they are known

	// Of the goroutine that syncs:
	synced  time.Time // when the last sync that succeeded began; zero before
	allRead time.Time // when the last read of all offers began
}

// known is an offer, since when this node knows it so, and when it last went back to lower numbers.
type known struct {
	*models.Offer
	since, back time.Time
}

// New makes an empty Catalogue; now needs a monotonic reading.
func New(source Source, now func() time.Time) *Catalogue {
	return &Catalogue{source: source, now: now, suspects: map[string]bool{}}
}

// Subscribe has hear called with each offer that is newer than what was known of it, or has gone back, once the catalogue has it. hear
// must not wait, and not teach the catalogue. Subscribe is to be called before the first Sync.
func (c *Catalogue) Subscribe(hear func(o *models.Offer, back bool)) {
	c.subscribers = append(c.subscribers, hear)
}

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
	c.take(snapshot.Offers, answer{sent: began, all: all})
	c.begun.Store(true)
	c.synced = began
	if all {
		c.allRead = began
	}
	return c.confirm(ctx)
}

// confirm reads the offers under suspicion once more, with a lock.
func (c *Catalogue) confirm(ctx context.Context) error {
	for _, id := range c.suspected() {
		sent := c.now()
		o, err := c.source.LockedOffer(ctx, id)
		switch {
		case err == nil:
			c.LearnLocked(o, sent)
		case !errors.Is(err, models.ErrOfferNotFound): // such a one is dropped by a read of all offers
			return err
		}
		c.mu.Lock()
		delete(c.suspects, id)
		c.mu.Unlock()
	}
	return nil
}

func (c *Catalogue) suspected() (ids []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.suspects {
		if len(ids) == confirmAtOnce {
			break
		}
		ids = append(ids, id)
	}
	return ids
}

// Offer gives an offer as this node knows it. It reads one that it does not know from the database.
// The result is shared and must not be changed.
func (c *Catalogue) Offer(ctx context.Context, id string) (*models.Offer, error) {
	if k, ok := c.known(id); ok {
		return k.Offer, nil
	}
	if !c.begun.Load() {
		return nil, models.ErrLedgerUnavailable
	}
	sent := c.now()
	o, err := c.source.Offer(ctx, id)
	if err != nil {
		return nil, err
	}
	return c.Learn(o, sent), nil
}

// Newer gives the offer as this node knows it by now.
func (c *Catalogue) Newer(o *models.Offer) *models.Offer {
	if k, ok := c.known(o.ID); ok {
		return k.Offer
	}
	return o
}

func (c *Catalogue) known(id string) (k known, ok bool) {
	v, ok := c.offers.Load(id)
	if ok {
		k = v.(known)
	}
	return k, ok
}

// Learn takes in one offer that was read elsewhere, by a request that was sent at an instant, and gives it as this node knows it then.
func (c *Catalogue) Learn(o models.Offer, sent time.Time) *models.Offer {
	c.take([]models.Offer{o}, answer{sent: sent})
	return c.Newer(&o)
}

// LearnLocked is Learn for an offer whose row was locked when it was read. Such a read is believed when it shows lower numbers than are
// known, unless it was sent before those were received: then it is an answer from before.
func (c *Catalogue) LearnLocked(o models.Offer, sent time.Time) *models.Offer {
	c.take([]models.Offer{o}, answer{sent: sent, locked: true})
	return c.Newer(&o)
}

// LedgerNow is the database's clock at the instant now, as far as this node can tell.
func (c *Catalogue) LedgerNow(now time.Time) models.Micros { return c.clock.at(now) }

// answer says how offers were read.
type answer struct {
	sent   time.Time // when the request was sent
	locked bool      // their rows were locked
	all    bool      // these are all offers that are not over
}

// news is what an answer says of an offer that is known.
type news int

const (
	nothing news = iota
	newer
	wentBack // the ledger has lost commits
	suspect  // it looks as if it had
)

// tells compares an offer with what is known of it.
func (a *answer) tells(o *models.Offer, k known) news {
	switch {
	case !a.sent.After(k.back), o.SameAs(k.Offer):
		return nothing
	case o.NewerThan(k.Offer):
		return newer
	case !a.sent.After(k.since):
		return nothing
	case a.locked:
		return wentBack
	default:
		return suspect
	}
}

// take brings the offers up to date and tells the subscribers what is new.
func (c *Catalogue) take(offers []models.Offer, how answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	fresh := c.update(offers, how)
	if how.all {
		c.dropAllBut(offers)
	}
	for _, k := range fresh {
		for _, hear := range c.subscribers {
			hear(k.Offer, k.back.Equal(k.since))
		}
	}
}

// update gives what is new. mu is held.
func (c *Catalogue) update(offers []models.Offer, how answer) (fresh []known) {
	now := c.now()
	for i := range offers {
		k, ok := c.known(offers[i].ID)
		tells := newer
		if ok {
			tells = how.tells(&offers[i], k)
		}
		switch tells {
		case nothing:
			continue
		case suspect:
			c.suspects[offers[i].ID] = true
			continue
		case wentBack:
			k.back = now
		}
		o := offers[i] // a copy: a pointer to it would keep all that was read with it
		k = known{&o, now, k.back}
		c.offers.Store(o.ID, k)
		fresh = append(fresh, k)
	}
	return fresh
}

// dropAllBut drops offers that are over. mu is held.
//
// One that is over stays for syncWindow after this node heard of its end: an answer from before, which is still on its way, must not bring
// it back to life.
func (c *Catalogue) dropAllBut(offers []models.Offer) {
	listed := make(map[string]bool, len(offers))
	for i := range offers {
		listed[offers[i].ID] = true
	}
	now := c.now()
	c.offers.Range(func(id, v any) bool {
		if k := v.(known); !listed[k.ID] && now.Sub(k.since) >= syncWindow {
			c.offers.Delete(id)
		}
		return true
	})
}
