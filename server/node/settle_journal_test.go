package node

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"tranche/internal/datadir"
	"tranche/internal/faultproxy"
	"tranche/internal/journal"
	"tranche/internal/store"
	"tranche/models"
)

// dead is the folder of a node that acknowledged three redemptions, and ended before it could settle the last two.
func dead(t *testing.T) (proxy *faultproxy.Proxy, c, direct Config) {
	t.Helper()
	proxy, c, direct = behind(t)
	c.NodeName = "till-1"
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"fast","lease_ttl_seconds":10`)
	n.redeem("o", "k0", "journal")
	n.until("k0 in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	proxy.SetWeather(faultproxy.Refuse)
	n.until("the ledger to be away", func() bool { return !n.health.Serves() })
	n.redeem("o", "k1", "journal")
	n.redeem("o", "k2", "journal")
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	if b := balance(t, direct, "o"); b.Redeemed != 1 || b.LeasesActive == 0 || b.OverspendBound == 0 {
		t.Fatalf("nothing is left to settle: %+v", b)
	}
	return proxy, c, direct
}

func TestADeadMachinesJournalIsSettledWithoutServing(t *testing.T) {
	t.Parallel()
	_, _, direct := dead(t)
	config := SettleConfig{DataDir: direct.DataDir, Database: Database{DSN: direct.DSN}, Logger: zerolog.Nop()}
	before := node(t, direct)
	settled, err := SettleJournal(t.Context(), config)
	if err != nil || settled.Records != 3 || settled.Leases == 0 {
		t.Fatalf("settled %+v, %v", settled, err)
	}
	if b := balance(t, direct, "o"); b.Redeemed != 3 || b.Allocated != 3 || b.LeasesActive != 0 || b.OverspendBound != 9 || b.LateUnits != 0 {
		t.Errorf("afterwards: %+v", b)
	}
	if n := node(t, direct); n.Name != "till-1" || n.Epoch != before.Epoch+1 {
		t.Errorf("the node was %+v and is %+v", before.Node, n.Node)
	}
	if report, err := journal.Scan(direct.DataDir+"/journal", func(journal.Record) error { return nil }); err != nil || report.Records != 0 {
		t.Errorf("the journal afterwards: %+v, %v", report, err)
	}
	if settled, err = SettleJournal(t.Context(), config); err != nil || settled != (Settled{}) {
		t.Errorf("again: %+v, %v", settled, err)
	}
	if b := balance(t, direct, "o"); b.Redeemed != 3 {
		t.Errorf("settled twice: %+v", b)
	}
}

// node gives the one node of a database.
func node(t *testing.T, c Config) models.NodeActivity {
	t.Helper()
	nodes := onStore(t, c, func(ctx context.Context, s *store.Store) ([]models.NodeActivity, error) {
		return s.Nodes(ctx, 2, models.ID{})
	})
	if len(nodes) != 1 {
		t.Fatalf("nodes %v", nodes)
	}
	return nodes[0]
}

func TestSettlingWaitsForTheDatabaseAndCanBeInterrupted(t *testing.T) {
	t.Parallel()
	proxy, c, direct := dead(t)
	type end struct {
		settled Settled
		err     error
	}
	begin := func(ctx context.Context) (waits signal, ended chan end) {
		waits, ended = make(signal, 1), make(chan end, 1)
		go func() {
			settled, err := SettleJournal(ctx, SettleConfig{DataDir: c.DataDir, Database: Database{DSN: c.DSN}, Logger: zerolog.New(waits)})
			ended <- end{settled, err}
		}()
		return waits, ended
	}
	ctx, interrupt := context.WithCancel(t.Context())
	waits, ended := begin(ctx)
	<-waits
	if _, err := New(c); !errors.Is(err, datadir.ErrLocked) {
		t.Errorf("a node started meanwhile: %v", err)
	}
	interrupt()
	if e := <-ended; e.err == nil || e.settled != (Settled{}) {
		t.Errorf("interrupted: %+v", e)
	}

	waits, ended = begin(t.Context())
	<-waits
	proxy.SetWeather(faultproxy.Pass)
	if e := <-ended; e.err != nil || e.settled.Records != 3 {
		t.Errorf("with the database back: %+v", e)
	}
	if b := balance(t, direct, "o"); b.Redeemed != 3 || b.LeasesActive != 0 {
		t.Errorf("afterwards: %+v", b)
	}
}

// signal is a log of which only matters that something was written.
type signal chan struct{}

func (s signal) Write(line []byte) (int, error) {
	select {
	case s <- struct{}{}:
	default:
	}
	return len(line), nil
}

func TestAJournalIsNotSettledIntoAnotherDatabase(t *testing.T) {
	t.Parallel()
	_, c, _ := dead(t)
	_, _, other := behind(t)
	n := start(t, other)
	n.ready(200)
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	settled, err := SettleJournal(t.Context(), SettleConfig{DataDir: c.DataDir, Database: Database{DSN: other.DSN}, Logger: zerolog.Nop()})
	if !errors.Is(err, errOtherLedger) || settled != (Settled{}) {
		t.Errorf("settled %+v, %v", settled, err)
	}
}

// The records of an offer that the database does not have are not lost without a word.
func TestA1SettlingSaysWhatStaysInTheJournal(t *testing.T) {
	t.Parallel()
	_, _, direct := dead(t)
	inDatabase(t, direct, "DELETE FROM entries")
	inDatabase(t, direct, "DELETE FROM leases")
	inDatabase(t, direct, "DELETE FROM offers")
	settled, err := SettleJournal(t.Context(), SettleConfig{DataDir: direct.DataDir, Database: Database{DSN: direct.DSN}, Logger: zerolog.Nop()})
	if !errors.Is(err, models.ErrOfferNotFound) || !strings.Contains(err.Error(), "3 records") || settled.Records != 0 {
		t.Errorf("settled %+v, %v", settled, err)
	}
}

// A reaper may have been faster to close the leases; then the books must hear that nothing more will come, as soon as nothing can.
// A fault that no waiting can mend ends the command.
func TestD1SettlingDoesNotWaitForADatabaseThatIsDamaged(t *testing.T) {
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.DataDir, "tranche.db")
	if err := os.WriteFile(file, bytes.Repeat([]byte("no database"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := SettleJournal(t.Context(), SettleConfig{DataDir: c.DataDir, Logger: zerolog.Nop()})
	if err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "put a copy of it back") {
		t.Errorf("it ends with: %v", err)
	}
}

func TestAStartAcquitsLeasesThatWereReclaimed(t *testing.T) {
	t.Parallel()
	_, _, direct := dead(t)
	onStore(t, direct, func(ctx context.Context, s *store.Store) (struct{}, error) {
		leases, err := s.ActiveLeases(ctx, "o")
		for _, l := range leases {
			if err == nil {
				_, _, err = s.CloseLease(ctx, "o", l.ID, models.LeaseReclaimed, nil)
			}
		}
		return struct{}{}, err
	})
	if b := balance(t, direct, "o"); b.OverspendBound == 0 {
		t.Fatalf("nothing is exposed: %+v", b)
	}
	n := start(t, direct)
	n.ready(200)
	if b := balance(t, direct, "o"); b.Redeemed != 3 || b.LateUnits != 2 || b.Allocated != 3 {
		t.Errorf("afterwards: %+v", b)
	}
	n.until("nothing is exposed", func() bool { return balance(t, direct, "o").OverspendBound == 0 })
}
