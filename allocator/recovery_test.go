package allocator_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/settle"
	"tranche/models"
)

// restart is what the next process on a node's data directory does before it serves.
func (f *fleet) restart(n *testNode) {
	f.t.Helper()
	settler := settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, f.fake)
	if _, err := allocator.NewRecovery(n.journal, f.fake, settler, time.Now).Run(f.t.Context()); err != nil {
		f.t.Fatal(err)
	}
	settler.Stop(f.t.Context())
}

// owe takes the database away and lets a node acknowledge so many redemptions, after one that is settled.
func (f *fleet) owe(n *testNode, count int) {
	f.t.Helper()
	hold(f.t, n, "a")
	f.away()
	for i := range count {
		if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
			f.t.Fatal(err)
		}
	}
}

// The redemptions that a process had acknowledged are in the ledger before the next process serves: once, however often it starts.
func TestRecoveryIsSettlement(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		f.owe(n, 20)
		kept := n.journal.copy() // as the disk is when the process is killed
		f.back()
		time.Sleep(10 * time.Second)
		if b := f.balance(); b.Redeemed != 21 {
			t.Fatalf("%+v", b)
		}
		n.journal = kept // all of it is settled, and none of it is known to be
		f.restart(n)
		if b := f.balance(); b.Redeemed != 21 || kept.backlog() != 0 {
			t.Errorf("%+v, backlog %d", b, kept.backlog())
		}
	})
}

func TestRecoveryGoesOnAfterAnOutage(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		f.owe(n, 20)
		journal := n.journal.copy()
		settler := settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, f.fake)
		recovery := allocator.NewRecovery(journal, f.fake, settler, time.Now)
		if _, err := recovery.Run(t.Context()); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Fatalf("with the database away: %v", err)
		}
		f.back()
		if count, err := recovery.Run(t.Context()); err != nil || count != 20 {
			t.Errorf("%d records, %v", count, err)
		}
		settler.Stop(t.Context())
		if b := f.balance(); b.Redeemed != 21 {
			t.Errorf("%+v", b)
		}
	})
}

// noRecords is a journal that holds nothing.
type noRecords struct{}

func (noRecords) Replay(func(uint64, byte, []byte) error) error { return nil }
func (noRecords) Settled(...uint64)                             {}

// A start runs the recovery again when a step after it has failed.
func TestARecoveryCanRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := allocator.NewRecovery(noRecords{}, nil, nil, time.Now)
		for range 2 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
			if _, err := r.Run(ctx); err != nil {
				t.Error(err)
			}
			cancel()
		}
	})
}
