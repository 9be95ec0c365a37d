package lease

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/catalogue"
	"tranche/models"
)

// ahead knows each offer at a recall number that the ledger does not have, and believes nothing else.
type ahead struct{ *catalogue.Catalogue }

func (a ahead) Newer(o *models.Offer) *models.Offer {
	n := *a.Catalogue.Newer(o)
	n.Recall += 10
	return &n
}

// A node doesn't lease again and again units that it can't spend, for any reason.
func TestA2GrantsThatBringNothingUsableAreBounded(t *testing.T) {
	inBubble(t, testOffer(1000, 10), func(t *testing.T, b *keeperOnFake) {
		keeper := NewKeeper(Config{
			NodeID: b.keeper.cfg.NodeID, Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
		}, b.fake, ahead{catalogue.New(b.fake, time.Now)})
		keeper.Begin(1)
		var grants atomic.Int64
		b.fail(func(call string) error {
			if call == "Grant" {
				grants.Add(1)
			}
			return nil
		})
		stubborn := &keeperOnFake{t: t, fake: b.fake, keeper: keeper, offer: b.offer}
		for range 3 { // of 5 s
			if err := stubborn.spend(1); err == nil {
				t.Fatal("spent from a recalled lease")
			}
		}
		if n := grants.Load(); n > 30 {
			t.Errorf("%d grants in 15 s", n)
		}
		keeper.Drain(t.Context())
	})
}

// A lease that comes after its end is useless, too.
func TestA2LeasesThatAreOverWhenTheyComeAreBounded(t *testing.T) {
	offer := testOffer(1000, 10)
	offer.LeaseTTLSeconds = 5
	inBubble(t, offer, func(t *testing.T, b *keeperOnFake) {
		heal := b.slow()
		for range 3 {
			if err := b.spend(1); err == nil {
				t.Error("spent after the end")
			}
		}
		ol := b.keeper.leasesOf("o")
		if !ol.isInVain() {
			t.Error("such grants are not in vain")
		}
		heal()
		time.Sleep(10 * time.Second)
		if err := b.spend(1); err != nil || ol.isInVain() {
			t.Errorf("later: %v, in vain %t", err, ol.isInVain())
		}
	})
}

// slow makes each grant take longer than a lease of 5 s may be spent from, until heal is called.
func (b *keeperOnFake) slow() (heal func()) {
	var healed atomic.Bool
	b.fake.After = func(call string) error {
		if call == "Grant" && !healed.Load() {
			time.Sleep(4500 * time.Millisecond)
		}
		return nil
	}
	return func() { healed.Store(true) }
}

// The ledger has lost a lease: its node forgets it, and returns the others.
func TestA3ALeaseThatTheLedgerHasLostIsForgotten(t *testing.T) {
	inBubble(t, testOffer(1000, 10), func(t *testing.T, b *keeperOnFake) {
		restore := b.fake.Backup()
		block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		block.Settled(1)
		restore()
		block.Seal()
		if err := b.spend(1); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if n, active := held(b.keeper), b.balance().LeasesActive; n != 1 || active != 1 {
			t.Errorf("the node has %d leases, the ledger %d", n, active)
		}
	})
}

// A customer of a sold-out offer hears so in time, also from a node whose grants were in vain.
func TestA2GrantsInVainDelayNoRefusal(t *testing.T) {
	offer := testOffer(100, 10)
	offer.LeaseTTLSeconds = 5
	inBubble(t, offer, func(t *testing.T, b *keeperOnFake) {
		other := newKeeperOnFake(t, b.fake, offer)
		heal := b.slow()
		for range 3 {
			if err := b.spend(1); err == nil {
				t.Error("spent after the end")
			}
		}
		heal()
		time.Sleep(10 * time.Second)
		if err := other.spend(100); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			start := time.Now()
			if err := b.spend(1); !errors.Is(err, ErrShort) || time.Since(start) > 2*recallWithin {
				t.Errorf("%v after %s", err, time.Since(start))
			}
			time.Sleep(time.Second)
		}
		other.keeper.Drain(t.Context())
	})
}

// The reply to a grant comes when the ledger has lost it, and the node knows that.
func TestA2AGrantFromBeforeTheLossIsNotSpentFrom(t *testing.T) {
	inBubble(t, testOffer(100, 10), func(t *testing.T, b *keeperOnFake) {
		restore := b.fake.Backup()
		b.recall()
		known := catalogue.New(b.fake, time.Now)
		keeper := NewKeeper(Config{
			NodeID: b.keeper.cfg.NodeID, Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry(),
		}, b.fake, known)
		keeper.Begin(1)
		knowing := &keeperOnFake{t: t, fake: b.fake, keeper: keeper, offer: b.offer}
		if err := known.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		var lost atomic.Bool
		b.fake.After = func(call string) error {
			if call == "Grant" && lost.CompareAndSwap(false, true) {
				time.Sleep(time.Second)
				restore()
				return known.Sync(t.Context())
			}
			return nil
		}
		if err := knowing.spend(1); err != nil {
			t.Error(err)
		}
		for _, open := range *keeper.leasesOf("o").open.Load() {
			if open.Recall > 0 {
				t.Errorf("a lease that the ledger has lost is open: %+v", open)
			}
		}
		keeper.Drain(t.Context())
	})
}
