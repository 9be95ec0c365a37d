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
	during func() // if not nil, runs once between a sync's read and its answer
}

func (s *shelf) SyncOffers(_ context.Context, window time.Duration) (models.Snapshot, error) {
	offers := slices.DeleteFunc(slices.Clone(s.offers), func(o models.Offer) bool { return window == 0 && o.Status == models.StatusEnded })
	if during := s.during; during != nil {
		s.during = nil
		during()
	}
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

func (s *shelf) LockedOffer(ctx context.Context, id string) (models.Offer, error) {
	return s.Offer(ctx, id)
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
	s.offers = []models.Offer{offerAt("a", 4, models.StatusActive), offerAt("b", 1, models.StatusActive)} // read before the change, answered after it
	s.during = func() { c.Learn(offerAt("a", 5, models.StatusPaused), time.Now()) }
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

// heard is what subscribers of a catalogue were told of an offer.
type heard struct {
	version int64
	back    bool
}

// restored gives a catalogue that knows a pause, and its source after a backup from before it was restored.
func restored(t *testing.T) (s *shelf, c *catalogue.Catalogue, told *[]heard) {
	t.Helper()
	s, told = &shelf{offers: []models.Offer{offerAt("a", 5, models.StatusPaused)}, now: 1000}, new([]heard)
	c = catalogue.New(s, time.Now)
	c.Subscribe(func(o *models.Offer, back bool) { *told = append(*told, heard{o.Version, back}) })
	if err := c.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.offers = []models.Offer{offerAt("a", 3, models.StatusActive)}
	return s, c, told
}

func isAt(t *testing.T, c *catalogue.Catalogue, version int64) {
	t.Helper()
	if o, err := c.Offer(t.Context(), "a"); err != nil || o.Version != version {
		t.Errorf("the offer is known as %+v, %v, want version %d", o, err, version)
	}
}

func TestA2ALockedReadThatWasSentAfterwardsIsBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, told := restored(t)
		c.LearnLocked(s.offers[0], time.Now()) // sent at the very moment in which the pause was heard of
		isAt(t, c, 5)
		time.Sleep(time.Nanosecond)
		sent := time.Now()
		c.Learn(s.offers[0], sent) // not locked
		isAt(t, c, 5)
		if o := c.LearnLocked(s.offers[0], sent); o.Version != 3 {
			t.Errorf("it gives %+v", o)
		}
		isAt(t, c, 3)
		time.Sleep(time.Nanosecond)
		c.Learn(offerAt("a", 4, models.StatusActive), time.Now())
		if want := []heard{{5, false}, {3, true}, {4, false}}; !slices.Equal(*told, want) {
			t.Errorf("told of %v, want %v", *told, want)
		}
	})
}

// The reply to a grant was held back, and meanwhile the offer was paused.
func TestA2AReplyThatWasHeldBackDoesNotEndAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := newCatalogue(t, offerAt("a", 3, models.StatusActive))
		sent := time.Now()
		time.Sleep(time.Second)
		c.Learn(offerAt("a", 4, models.StatusPaused), time.Now())
		time.Sleep(time.Second)
		c.LearnLocked(offerAt("a", 3, models.StatusActive), sent)
		isAt(t, c, 4)
	})
}

// An answer from before the ledger lost the pause must not bring it back.
func TestA2AnAnswerFromBeforeTheLossIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := restored(t)
		before := time.Now()
		time.Sleep(time.Second)
		c.LearnLocked(s.offers[0], time.Now())
		c.Learn(offerAt("a", 6, models.StatusPaused), before)
		isAt(t, c, 3)
	})
}

// A sync proves nothing: it may be answered by a member that lags behind. So the offer is read again, locked.
func TestA2ASyncThatShowsLowerNumbersIsLookedInto(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, told := restored(t)
		time.Sleep(syncAll)
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		isAt(t, c, 3)
		s.reads = 0
		time.Sleep(syncAll)
		if err := c.Sync(t.Context()); err != nil || s.reads != 0 || len(*told) != 2 {
			t.Errorf("looked again: %d reads, %v, told of %v", s.reads, err, *told)
		}
	})
}

// The ledger has lost a change, and has had another one since: the same numbers, and other terms.
func TestA2OtherTermsUnderTheSameNumbersAreBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, c, _ := restored(t)
		other := offerAt("a", 5, models.StatusActive)
		other.UpdatedAt = 77
		s.offers = []models.Offer{other}
		time.Sleep(syncAll)
		if err := c.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if o, err := c.Offer(t.Context(), "a"); err != nil || o.Status != models.StatusActive {
			t.Errorf("%+v, %v", o, err)
		}
	})
}

func TestSubscribersHearEachNewerOfferOnce(t *testing.T) {
	s := &shelf{offers: []models.Offer{offerAt("a", 3, models.StatusActive)}, now: 1000}
	c := catalogue.New(s, time.Now)
	var heard []int64
	c.Subscribe(func(o *models.Offer, _ bool) {
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
		c.Learn(offerAt("a", version, models.StatusActive), time.Now())
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
		c.Learn(ended, time.Now())
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
