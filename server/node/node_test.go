package node

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tranche/internal/storetest"
	"tranche/internal/version"
	"tranche/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func config(t testing.TB) Config {
	return Config{
		Listen: "127.0.0.1:0", DataDir: filepath.Join(t.TempDir(), "data"), NodeName: "n",
		RequestTimeout: 5 * time.Second, Logger: zerolog.Nop(),
	}
}

// running is a node that serves.
type running struct {
	*Node
	t    testing.TB
	stop context.CancelFunc
	done chan struct{} // closed when Run has returned err
	err  error
}

func start(t testing.TB, c Config) *running {
	t.Helper()
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return serve(t, n)
}

// serve runs a node until the test ends, or stops it.
func serve(t testing.TB, n *Node) *running {
	ctx, stop := context.WithCancel(context.Background())
	r := &running{Node: n, t: t, stop: stop, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = n.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		_ = r.wait()
		http.DefaultClient.CloseIdleConnections()
	})
	return r
}

// wait gives the result of Run.
func (r *running) wait() error {
	select {
	case <-r.done:
		return r.err
	case <-time.After(30 * time.Second):
		r.t.Error("the node does not stop")
		return nil
	}
}

// call gives the status and the JSON body of an answer.
func (r *running) call(method, path, body string, header ...string) (int, map[string]any) {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, "http://"+r.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer answer.Body.Close()
	var v map[string]any
	if err := json.NewDecoder(answer.Body).Decode(&v); err != nil {
		r.t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer.StatusCode, v
}

// ready waits until /readyz answers with a status.
func (r *running) ready(status int) {
	r.t.Helper()
	r.until(fmt.Sprint("/readyz ", status), func() bool {
		got, _ := r.call("GET", "/readyz", "")
		return got == status
	})
}

// While another process has the tables' lock, they may not be there.
func TestANodeThatWaitsForItsTablesSaysSo(t *testing.T) {
	c := config(t)
	if err := os.Mkdir(c.DataDir, 0o700); err != nil {
		t.Fatal(err)
	}
	lock, err := os.Create(filepath.Join(c.DataDir, "tranche.db.migrate"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close() // of use only when the test fails before
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	n := start(t, c)
	n.ready(503)
	for _, asked := range [][2]string{{"GET", "/v1/offers"}, {"GET", "/v1/offers/o/balance"}, {"POST", "/v1/offers/o/pause"}} {
		if status, v := n.call(asked[0], asked[1], ""); status != 503 || v["type"] != "/problems/ledger-unavailable" {
			t.Errorf("%s: %d %v", asked, status, v)
		}
	}
	if status, v := n.call("POST", "/v1/offers", `{"id":"o","name":"O","budget":50}`); status != 503 || v["outcome"] != "not_redeemed" {
		t.Errorf("a new offer: %d %v", status, v)
	}
	if err := lock.Close(); err != nil { // which gives the lock up
		t.Fatal(err)
	}
	n.ready(200)
	n.offer("o", `"mode":"strict"`)
}

func TestANodeServesAndGivesEverythingBack(t *testing.T) {
	c := config(t)
	n := start(t, c)
	n.ready(200)
	if status, v := n.call("POST", "/v1/offers", `{"id":"o","name":"O","budget":50}`); status != 201 {
		t.Fatal(status, v)
	}
	status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", "k")
	if status != 201 {
		t.Fatal(status, v)
	}
	if status, v = n.call("POST", fmt.Sprintf("/v1/redemptions/%s/refunds", v["id"]), `{}`, "Idempotency-Key", "r"); status != 201 {
		t.Fatal(status, v)
	}
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	// Not asked of a node: its start would give back what the drain has forgotten.
	want := models.Totals{Redeemed: 1, Refunded: 1}
	if b := balance(t, c, "o"); b.Totals != want || b.Allocated != 0 || b.LeasesActive != 0 {
		t.Errorf("after the drain: %+v", b)
	}
}

// A process that was killed leaves its leases, and the next start on its folder returns them.
func TestAStartReturnsWhatAnEarlierProcessHeld(t *testing.T) {
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"strict"`)
	n.redeem("o", "k", "ledger")
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	left := forgotten(t, c, "o", 10)
	if b := balance(t, c, "o"); b.LeasesActive != 1 || b.Allocated != 11 {
		t.Fatalf("no lease was left: %+v", b)
	}
	again := start(t, c)
	again.ready(200)
	if b := balance(t, c, "o"); b.LeasesActive != 0 || b.Allocated != 1 {
		t.Errorf("lease %s was not returned: %+v", left, b)
	}
}

func TestANodeStartsWithoutItsDatabase(t *testing.T) {
	c := config(t)
	c.DSN = "root@tcp(127.0.0.1:1)/nowhere" // nothing listens there
	n := start(t, c)
	n.ready(503)
	if status, _ := n.call("GET", "/healthz", ""); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	for _, call := range []struct{ method, path, body string }{
		{"POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`},
		{"GET", "/v1/offers/o", ""},
		{"GET", "/v1/redemptions/o.aaaaaaaaaaaaaaaaaaaaaaaaaa", ""},
		{"POST", "/v1/offers", `{"id":"o","name":"O","budget":50}`},
	} {
		status, v := n.call(call.method, call.path, call.body, "Idempotency-Key", "k")
		if status != 503 || v["type"] != "/problems/ledger-unavailable" || v["retryable"] != true {
			t.Errorf("%s %s: %d %v", call.method, call.path, status, v)
		}
	}
}

func TestRunSaysWhyItHadToStop(t *testing.T) {
	n := start(t, config(t))
	n.ready(200)
	if err := n.listener.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.wait(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("it stopped with %v", err)
	}
}

// Two processes with one identity: the one that started first finds out and stops.
func TestANodeWhoseIdentityWasTakenStops(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.DSN = storetest.MySQL(t)
	first := start(t, c)
	first.ready(200)

	id, err := os.ReadFile(filepath.Join(c.DataDir, "node-id"))
	if err != nil {
		t.Fatal(err)
	}
	copied := c
	copied.DataDir = t.TempDir()
	if err := os.WriteFile(filepath.Join(copied.DataDir, "node-id"), id, 0o600); err != nil {
		t.Fatal(err)
	}
	second := start(t, copied)
	second.ready(200)
	if err := first.wait(); !errors.Is(err, models.ErrEpochSuperseded) {
		t.Errorf("the first stopped with %v", err)
	}
	if status, v := second.call("POST", "/v1/offers", `{"id":"o","name":"O","budget":50}`); status != 201 {
		t.Error(status, v)
	}
}

const goodKey = "3e8d6f1a09b7c4523e8d6f1a"

func TestC7AKeyIsLongEnoughAndComesOutOfAHeaderAsItWentIn(t *testing.T) {
	for _, bad := range []string{"k", goodKey[:15], goodKey + " ", " " + goodKey, goodKey[:12] + " " + goodKey[:12], goodKey + "\t", goodKey + "\n", goodKey + "é"} {
		for _, set := range []func(c *Config){func(c *Config) { c.AdminKey = bad }, func(c *Config) { c.CheckoutKey = bad }} {
			c := config(t)
			set(&c)
			if err := c.Validate(); err == nil || !strings.Contains(err.Error(), "key: want at least 16 characters") || strings.Contains(err.Error(), bad) && len(bad) > 1 {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
	for key, warnings := range map[string]int{goodKey: 0, goodKey[:23]: 1, goodKey[:16]: 1} {
		var log lines
		c := config(t)
		c.AdminKey, c.Logger = key, zerolog.New(&log)
		n, err := New(c)
		if err != nil {
			t.Fatalf("%q: %v", key, err)
		}
		n.close()
		if got := strings.Count(log.String(), "easier to guess"); got != warnings || strings.Contains(log.String(), key) {
			t.Errorf("a key of %d characters: %s", len(key), log.String())
		}
	}
}

func TestConfigsThatCannotWork(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"no port":                    func(c *Config) { c.Listen = "127.0.0.1" },
		"open to others without key": func(c *Config) { c.Listen = "0.0.0.0:0" },
		"all addresses without key":  func(c *Config) { c.Listen = ":0" },
		"one key for both":           func(c *Config) { c.AdminKey, c.CheckoutKey = goodKey, goodKey },
		"no data directory":          func(c *Config) { c.DataDir = "" },
		"no name":                    func(c *Config) { c.NodeName = "" },
		"no time":                    func(c *Config) { c.RequestTimeout = 0 },
		"too much time":              func(c *Config) { c.RequestTimeout = maxRequestTimeout + 1 },
		"a drain for ever":           func(c *Config) { c.DrainWait = time.Hour },
		"a DSN without a database":   func(c *Config) { c.DSN = "root@tcp(127.0.0.1:1)/" },
		"a DSN that is none":         func(c *Config) { c.DSN = "mysql://root@127.0.0.1" },
	} {
		c := config(t)
		spoil(&c)
		if n, err := New(c); err == nil {
			n.close()
			t.Errorf("%s: accepted", name)
		}
	}
	c := config(t)
	c.Listen, c.AdminKey, c.RequestTimeout = "0.0.0.0:0", goodKey, maxRequestTimeout
	n, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if n.http.WriteTimeout < n.http.ReadTimeout+c.RequestTimeout {
		t.Errorf("a request may take %s to arrive and %s to be decided, and its answer is cut off after %s", n.http.ReadTimeout, c.RequestTimeout, n.http.WriteTimeout)
	}
	n.close()
}

func TestD2ANodeSaysItsVersion(t *testing.T) {
	var log lines
	c := config(t)
	c.Logger = zerolog.New(&log)
	n := start(t, c)
	n.ready(200)
	if _, v := n.call("GET", "/healthz", ""); v["version"] != version.Version {
		t.Errorf("/healthz: %v", v)
	}
	if _, v := n.call("GET", "/v1/nodes", ""); v["items"].([]any)[0].(map[string]any)["version"] != version.Version {
		t.Errorf("/v1/nodes: %v", v)
	}
	answer, err := http.Get("http://" + n.Addr().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if want := fmt.Sprintf("tranche_build_info{goversion=%q,version=%q} 1\n", runtime.Version(), version.Version); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("/metrics has no %s%v", want, err)
	}
	if want := fmt.Sprintf(`"version":%q,"address":%q,"message":"listening"`, version.Version, n.Addr()); !strings.Contains(log.String(), want) {
		t.Errorf("the log has no %s: %s", want, log.String())
	}
}

func TestD2ANodeThatIsOlderThanItsTablesEndsWithOneSentence(t *testing.T) {
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	tables, err := sql.Open("sqlite", filepath.Join(c.DataDir, "tranche.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer tables.Close()
	if _, err := tables.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, 1)"); err != nil {
		t.Fatal(err)
	}
	err = start(t, c).wait()
	if err == nil || !strings.Contains(err.Error(), "a newer version of Tranche has changed them") || strings.Contains(err.Error(), "\n") {
		t.Errorf("it ended with %v", err)
	}
}
