package allocator_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/models"
)

// shelf is a source of offers that counts how often single ones are read.
type shelf struct {
	offers []models.Offer
	now    models.Micros
	reads  int
}

func (s *shelf) SyncOffers(_ context.Context, window time.Duration) (models.Snapshot, error) {
	offers := slices.DeleteFunc(slices.Clone(s.offers), func(o models.Offer) bool { return window == 0 && o.Status == models.StatusEnded })
	return models.Snapshot{Offers: offers, Now: s.now}, nil
}

func (s *shelf) Offer(_ context.Context, id string) (models.Offer, error) {
	s.reads++
	for _, o := range s.offers {
		if o.ID == id {
			return o, nil
		}
	}
	return models.Offer{}, models.ErrOfferNotFound
}

func offerAt(id string, version int64, status models.Status) models.Offer {
	return models.Offer{ID: id, Version: version, Status: status, Budget: version}
}

func newCatalogue(t *testing.T, offers ...models.Offer) (*shelf, *allocator.Catalogue) {
	t.Helper()
	s := &shelf{offers: offers, now: 1000}
	c := allocator.NewCatalogue(s, func(*models.Offer) {}, time.Now, zerolog.Nop())
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s, c
}

func TestTheCatalogueNeverGoesBack(t *testing.T) {
	s, c := newCatalogue(t, offerAt("a", 3, models.StatusActive))
	c.Learn(offerAt("a", 5, models.StatusPaused))
	s.offers = []models.Offer{offerAt("a", 4, models.StatusActive), offerAt("b", 1, models.StatusActive)} // read before the change, answered after it
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o, err := c.Offer(t.Context(), "a"); err != nil || o.Version != 5 {
		t.Errorf("went back to %+v, %v", o, err)
	}
	if _, err := c.Offer(t.Context(), "b"); err != nil || s.reads != 0 {
		t.Errorf("b was not taken: %v, %d reads", err, s.reads)
	}
}

func TestOffersThatAreOverLeaveTheCatalogue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newCatalogue(t, offerAt("a", 1, models.StatusActive))
		s.offers = []models.Offer{offerAt("a", 2, models.StatusEnded)}
		sync := func() {
			t.Helper()
			if err := c.Sync(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		look := func(reads int) {
			t.Helper()
			if o, err := c.Offer(t.Context(), "a"); err != nil || o.Status != models.StatusEnded || s.reads != reads {
				t.Errorf("%+v, %v, %d reads, want %d", o, err, s.reads, reads)
			}
		}
		sync()
		look(0) // known to be over
		for range 2 {
			time.Sleep(syncAll)
			sync()
		}
		look(1) // read again, and known for a while
		look(1)
	})
}

// syncAll is longer than a catalogue goes without reading everything.
const syncAll = time.Minute

func TestTheDatabaseClockGoesOnBetweenSyncs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c := newCatalogue(t)
		s.now = models.MicrosOf(time.Now()).Add(-time.Hour) // an hour behind this node
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if got := c.LedgerNow(time.Now()); got != s.now.Add(time.Minute) {
			t.Errorf("off by %s", got.Sub(s.now.Add(time.Minute)))
		}
	})
}

// What was read together is not kept together: one offer that changes now and then would keep the thousands that did not.
func TestTheCatalogueKeepsWhatIsNewsOnly(t *testing.T) {
	const offers, syncs = 10_000, 50
	var all []models.Offer
	for i := range offers {
		all = append(all, offerAt(strconv.Itoa(i), 1, models.StatusActive))
	}
	s, c := newCatalogue(t, all...)
	before := heap()
	for i := range syncs {
		s.offers[i].Version++
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	snapshot := int64(offers * unsafe.Sizeof(models.Offer{}))
	if grown := heap() - before; grown > 5*snapshot {
		t.Errorf("after %d syncs it keeps %d bytes more, and %d are read at a time", syncs, grown, snapshot)
	}
	runtime.KeepAlive(c)
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
