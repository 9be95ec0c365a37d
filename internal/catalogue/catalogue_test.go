package catalogue_test

import (
	"context"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"tranche/internal/catalogue"
	"tranche/internal/storetest"
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

func newCatalogue(t *testing.T, offers ...models.Offer) (*shelf, *catalogue.Catalogue) {
	t.Helper()
	s := &shelf{offers: offers, now: 1000}
	c := catalogue.New(s, time.Now)
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

func TestSubscribersHearEachNewerOfferOnce(t *testing.T) {
	s := &shelf{offers: []models.Offer{offerAt("a", 3, models.StatusActive)}, now: 1000}
	c := catalogue.New(s, time.Now)
	var heard []int64
	c.Subscribe(func(o *models.Offer) {
		if known, err := c.Offer(t.Context(), o.ID); err != nil || known != o {
			t.Errorf("told of %+v before the catalogue has it: %+v, %v", o, known, err)
		}
		heard = append(heard, o.Version)
	})
	for range 2 {
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for _, version := range []int64{5, 4, 5} {
		c.Learn(offerAt("a", version, models.StatusActive))
	}
	if !slices.Equal(heard, []int64{3, 5}) {
		t.Errorf("heard of versions %v", heard)
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

// Offers that were read together are not kept together: one that changes now and then would keep the thousands that did not.
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

// slowSync has read the offers, and its answer comes when the test wants it to.
type slowSync struct {
	*storetest.Fake
	answer chan struct{} // closed when it may come; nil: at once
	slow   time.Duration
}

func (s *slowSync) SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error) {
	snapshot, err := s.Fake.SyncOffers(ctx, window)
	if s.answer != nil {
		<-s.answer
	}
	time.Sleep(s.slow)
	return snapshot, err
}

func TestAnAnswerFromBeforeDoesNotBringAnEndedOfferBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSync{Fake: storetest.NewFake(time.Now)}
		offer := models.Offer{
			ID: "o", Name: "O", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 100, BudgetTarget: 100,
			Status: models.StatusActive, LeaseSize: 10, LeaseTTLSeconds: 60,
		}
		if _, _, err := source.CreateOffer(t.Context(), offer, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		c := catalogue.New(source, time.Now)
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		source.answer = make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { _ = c.Sync(t.Context()) })
		synctest.Wait()
		ended, err := source.ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.Status = models.StatusEnded; return nil }, models.Audit{})
		if err != nil {
			t.Fatal(err)
		}
		c.Learn(ended)
		close(source.answer)
		wg.Wait()
		if got, err := c.Offer(t.Context(), "o"); err != nil || got.Status != models.StatusEnded {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

func TestASlowAnswerDoesNotSetTheKnownClockBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowSync{Fake: storetest.NewFake(time.Now)}
		c := catalogue.New(source, time.Now)
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		before := c.LedgerNow(time.Now())
		source.slow = 1900 * time.Millisecond
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if went := c.LedgerNow(time.Now()).Sub(before); went != source.slow {
			t.Errorf("it went on by %s", went)
		}
	})
}
