package node

import (
	"errors"
	"fmt"
	"io"
	"net/http"
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

func TestC9ANodeWhoseJournalHasFailedServesTheOtherModes(t *testing.T) {
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
	r.ready(200)
	if d := r.degraded(200); d["journal"] == "" || len(d) != 1 {
		t.Errorf("degraded: %v", d)
	}
	r.offer("fast", `"mode":"fast"`)
	status, v := r.call("POST", "/v1/offers/fast/redemptions", `{"user_id":"u"}`, "Idempotency-Key", "k")
	if status != 503 || v["outcome"] != "not_redeemed" {
		t.Errorf("a redemption: %d %v", status, v)
	}
	r.offer("strict", `"mode":"strict"`)
	r.redeem("strict", "k", "ledger")
}

// degraded gives the details of the parts that /readyz names, with a status.
func (r *running) degraded(status int) map[string]string {
	r.t.Helper()
	got, v := r.call("GET", "/readyz", "")
	if got != status {
		r.t.Fatalf("/readyz: %d %v", got, v)
	}
	details := map[string]string{}
	for _, p := range v["degraded"].([]any) {
		part := p.(map[string]any)
		details[part["part"].(string)] = part["detail"].(string)
		if _, err := time.Parse(time.RFC3339Nano, part["since"].(string)); err != nil {
			r.t.Error(err)
		}
	}
	return details
}

// A database that is away is away for all nodes: it must not empty the load balancer. Together with a failed journal, nothing can be served.
func TestC9ALedgerThatIsAwayDegradesANode(t *testing.T) {
	t.Parallel()
	proxy, c, _ := behind(t)
	n := start(t, c)
	n.ready(200)
	n.offer("fast", `"mode":"fast"`)
	proxy.SetWeather(faultproxy.Refuse)
	n.until("the ledger to be away", func() bool {
		return n.degraded(200)["ledger"] == "the ledger is away, and no leases are held"
	})

	proxy.SetWeather(faultproxy.Pass)
	n.until("the ledger to be back", func() bool { return len(n.degraded(200)) == 0 })
	n.redeem("fast", "k1", "journal")
	proxy.SetWeather(faultproxy.Refuse)
	n.until("the ledger to be away", func() bool { return n.degraded(200)["ledger"] == "the ledger is away; leases are held" })
	n.redeem("fast", "k2", "journal")
	if !strings.Contains(n.metrics(), `tranche_degraded{part="ledger"} 1`) {
		t.Error("no metric tells")
	}

	proxy.SetWeather(faultproxy.Pass)
	n.until("the ledger to be back", func() bool { return len(n.degraded(200)) == 0 })
	n.until("both in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	if status, v := n.call("GET", "/v1/offers/fast/balance", ""); status != 200 || v["redeemed"] != 2.0 {
		t.Errorf("balance: %d %v", status, v)
	}
	if !strings.Contains(n.metrics(), `tranche_degraded{part="ledger"} 0`) {
		t.Error("the metric does not tell that it is back")
	}
}

func TestC9WithNeitherLedgerNorJournalANodeIsNotReady(t *testing.T) {
	t.Parallel()
	proxy, c, _ := behind(t)
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(c.DataDir, "journal")); err != nil {
		t.Fatal(err)
	}
	r := serve(t, n)
	r.ready(200)
	proxy.SetWeather(faultproxy.Refuse)
	r.ready(503)
	if d := r.degraded(503); d["journal"] == "" || d["ledger"] == "" {
		t.Errorf("degraded: %v", d)
	}
}

// metrics gives what /metrics shows.
func (r *running) metrics() string {
	r.t.Helper()
	answer, err := http.Get("http://" + r.Addr().String() + "/metrics")
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}
