package node

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tranche/internal/faultproxy"
	"tranche/internal/journal"
	"tranche/models"
)

func TestTheJournalsErrorsSayWhatBecameOfTheRecord(t *testing.T) {
	for err, want := range map[error]error{
		journal.ErrUnknown: models.ErrOutcomeUnknown,
		fmt.Errorf("%w: %w", journal.ErrUnknown, journal.ErrFailed): models.ErrOutcomeUnknown,
		journal.ErrFull:       models.ErrOverloaded,
		journal.ErrOverloaded: models.ErrOverloaded,
		journal.ErrNoSpace:    models.ErrJournalUnavailable,
		journal.ErrFailed:     models.ErrJournalUnavailable,
		journal.ErrClosed:     models.ErrJournalUnavailable,
		journal.ErrTooLarge:   models.ErrJournalUnavailable,
	} {
		if got := meaning(err); !errors.Is(got, want) {
			t.Errorf("%v means %v, want %v", err, got, want)
		}
	}
}

func TestAnAppendFailsWithBothItsMeaningAndItsCause(t *testing.T) {
	n, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	_, err = acknowledgements{n.journal}.Append(t.Context(), 1, []byte("{}"))
	if !errors.Is(err, models.ErrJournalUnavailable) || !errors.Is(err, journal.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestANodeDoesNotStartOnADamagedJournal(t *testing.T) {
	c := config(t)
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	n.close()
	if err := os.Remove(filepath.Join(c.DataDir, "journal", "manifest")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(c.DataDir, "journal", "00000000000000000001.segment"), make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err = New(c); !errors.Is(err, journal.ErrCorrupt) {
		n.close()
		t.Fatalf("it started: %v", err)
	}
	if !strings.Contains(err.Error(), c.DataDir) {
		t.Errorf("it doesn't say which folder: %v", err)
	}
}

func TestANodeWhoseJournalHasFailedIsNotReady(t *testing.T) {
	c := config(t)
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.DataDir, "journal")); err != nil { // so that no segment can be made
		t.Fatal(err)
	}
	r := serve(t, n)
	r.until("a journal that fails", func() bool { return n.journal.Err() != nil })
	r.ready(503)
	r.until("a start", func() bool { return n.state.Load() == serving })
	status, v := r.call("GET", "/readyz", "")
	if status != 503 || v["ready"] != false || !strings.Contains(fmt.Sprint(v["detail"]), "journal") {
		t.Errorf("/readyz: %d %v", status, v)
	}
	r.offer("fast", `"mode":"fast"`)
	status, v = r.call("POST", "/v1/offers/fast/redemptions", `{"user_id":"u"}`, "Idempotency-Key", "k")
	if status != 503 || v["outcome"] != "not_redeemed" {
		t.Errorf("a redemption: %d %v", status, v)
	}
	r.offer("strict", `"mode":"strict"`)
	r.redeem("strict", "k", "ledger")
}

func TestReadinessWithTheLedgerAwayDependsOnLeases(t *testing.T) {
	t.Parallel()
	proxy, c, _ := behind(t)
	n := start(t, c)
	n.ready(200)
	n.offer("fast", `"mode":"fast"`)

	proxy.SetWeather(faultproxy.Refuse)
	n.ready(503)
	end := time.After(1500 * time.Millisecond) // in which the breaker tries, more than once
	n.until("the end", func() bool {
		status, v := n.call("GET", "/readyz", "")
		if status != 503 || v["detail"] != "the ledger is away, and no leases are held" {
			t.Fatalf("/readyz: %d %v", status, v)
		}
		select {
		case <-end:
			return true
		default:
			return false
		}
	})

	proxy.SetWeather(faultproxy.Pass)
	n.ready(200)
	n.redeem("fast", "k1", "journal")
	proxy.SetWeather(faultproxy.Refuse)
	n.until("the ledger to be away", func() bool { return !n.health.Serves() })
	status, v := n.call("GET", "/readyz", "")
	if status != 200 || v["detail"] != "the ledger is away; leases are held" {
		t.Errorf("/readyz with a lease: %d %v", status, v)
	}
	n.redeem("fast", "k2", "journal")

	proxy.SetWeather(faultproxy.Pass)
	n.until("the ledger to be back", func() bool {
		_, v := n.call("GET", "/readyz", "")
		return v["detail"] == "serving"
	})
	n.until("both in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	if status, v := n.call("GET", "/v1/offers/fast/balance", ""); status != 200 || v["redeemed"] != 2.0 {
		t.Errorf("balance: %d %v", status, v)
	}
}
