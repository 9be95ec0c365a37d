package lease

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"tranche/internal/storetest"
	"tranche/models"
)

// started is a node's next epoch, which has taken over from the one before.
func started(t *testing.T, before *keeperOnFake) (*Successor, int) {
	t.Helper()
	node := before.keeper.cfg.NodeID
	epoch, err := before.fake.RegisterNode(t.Context(), node, "n")
	if err != nil {
		t.Fatal(err)
	}
	s := NewSuccessor(Config{NodeID: node, Now: time.Now, Logger: zerolog.Nop()}, before.fake)
	closed, err := s.TakeOver(t.Context(), epoch)
	if err != nil {
		t.Fatal(err)
	}
	return s, closed
}

// taken is a node in a mode that has leased a block of 10, and spent one unit of it.
func taken(t *testing.T, mode models.Mode) (*keeperOnFake, *Block) {
	t.Helper()
	offer := testOffer(100, 10)
	offer.Mode = mode
	b := newKeeperOnFake(t, storetest.NewFake(time.Now), offer)
	block, err := b.keeper.Spend(t.Context(), b.offer, 1, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	b.settle(block, 1)
	return b, block
}

// A copy of a node's data directory starts while the node, cut off, spends on: what it can spend stays in the bound until it can't.
func TestC12WhatAnEarlierEpochMaySpendStaysInTheBound(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeFast, models.ModeAvailable} {
		synctest.Test(t, func(t *testing.T) {
			b, block := taken(t, mode)
			time.Sleep(10 * time.Second)
			s, closed := started(t, b)
			if got := b.balance(); closed != 1 || got.Allocated != 1 || got.OverspendBound != 9 {
				t.Fatalf("%d closed: %+v", closed, got)
			}
			var running sync.WaitGroup
			running.Go(func() {
				if left := s.Run(t.Context()); left != 0 {
					t.Errorf("%d leases left", left)
				}
			})
			for spent := false; !spent || block.Spend(1, time.Now()); time.Sleep(100 * time.Millisecond) {
				spent = true
				if got := b.balance(); got.OverspendBound < block.Pending()+block.Left() {
					t.Fatalf("the node may spend %d, has %d pending, and the bound is %d", block.Left(), block.Pending(), got.OverspendBound)
				}
				block.Unspend(block.Pending())
			}
			running.Wait() // by itself
			if got := b.balance(); got.OverspendBound != 0 {
				t.Errorf("afterwards: %+v", got)
			}
			b.keeper.Drain(t.Context())
		})
	}
}

// Where nobody can have acknowledged anything, or nobody can spend any more, nothing stays.
func TestC12TheBoundOfAStartIsNoHigherThanItMustBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := taken(t, models.ModeStrict)
		if _, closed := started(t, b); closed != 1 || b.balance().OverspendBound != 0 || b.balance().Allocated != 1 {
			t.Errorf("strict: %d closed, %+v", closed, b.balance())
		}
		b.keeper.Drain(t.Context())

		b, block := taken(t, models.ModeFast)
		time.Sleep(time.Minute + time.Second)
		if _, _, err := b.fake.CloseLease(t.Context(), "o", block.LeaseID, models.LeaseReclaimed, nil); err != nil {
			t.Fatal(err)
		}
		if got := b.balance(); got.OverspendBound != 9 {
			t.Fatalf("reclaimed: %+v", got)
		}
		if _, closed := started(t, b); closed != 0 || b.balance().OverspendBound != 0 {
			t.Errorf("after its end: %d closed, %+v", closed, b.balance())
		}
		b.keeper.Drain(t.Context())
	})
}

// A node that starts twice in a row still acquits what the first of its epochs left.
func TestC12ASecondStartGoesOnWithWhatTheFirstHasLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := taken(t, models.ModeFast)
		first, _ := started(t, b)
		ended, end := context.WithTimeout(t.Context(), 10*time.Second)
		defer end()
		if left := first.Run(ended); left != 1 {
			t.Errorf("%d left when it ended", left)
		}
		second, closed := started(t, b)
		if got := b.balance(); closed != 0 || got.OverspendBound != 9 {
			t.Errorf("%d closed, %+v", closed, got)
		}
		faults := 3
		b.fail(func(call string) error {
			if call == "Acquit" && faults > 0 {
				faults--
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		begun := time.Now()
		if left := second.Run(t.Context()); left != 0 || b.balance().OverspendBound != 0 || faults != 0 {
			t.Errorf("%d left, %+v", left, b.balance())
		}
		if took := time.Since(begun); took < 50*time.Second || took > time.Minute+20*time.Second {
			t.Errorf("it took %s", took)
		}
		b.keeper.Drain(t.Context())
	})
}

// Leases are read page by page, and each is acquitted after its own end.
func TestC12ManyLeasesAreTakenOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, _ := taken(t, models.ModeFast)
		const more = takeOverAtOnce + 50
		o := testOffer(10*more, 10)
		o.ID, o.Mode, o.LeaseTTLSeconds = "p", models.ModeFast, 5
		if _, _, err := b.fake.CreateOffer(t.Context(), o, models.Audit{}); err != nil {
			t.Fatal(err)
		}
		for range more {
			_, err := b.fake.Grant(t.Context(), models.GrantRequest{
				OfferID: "p", NodeID: b.keeper.cfg.NodeID, Epoch: 1, LeaseID: models.NewID(),
				Size: func(*models.Offer, int64, int64) int64 { return 10 },
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		s, closed := started(t, b)
		if closed != more+1 {
			t.Errorf("%d closed, want %d", closed, more+1)
		}
		bounds := func() [2]int64 {
			t.Helper()
			p, err := b.fake.Balance(t.Context(), "p")
			if err != nil {
				t.Fatal(err)
			}
			return [2]int64{b.balance().OverspendBound, p.OverspendBound}
		}
		var running sync.WaitGroup
		running.Go(func() { s.Run(t.Context()) })
		if got, want := bounds(), [2]int64{9, 10 * more}; got != want {
			t.Errorf("at first %v, want %v", got, want)
		}
		time.Sleep(6 * time.Second)
		if got, want := bounds(), [2]int64{9, 0}; got != want {
			t.Errorf("after 6 s %v, want %v", got, want)
		}
		running.Wait()
		if got := bounds(); got != [2]int64{} {
			t.Errorf("in the end %v", got)
		}
		b.keeper.Drain(t.Context())
	})
}
