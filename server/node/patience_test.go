package node

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/internal/faultproxy"
	"tranche/internal/storetest"
)

// status is that of a call by a client that waits for 300 ms, and hangs up long before the server's own time is over.
func (r *running) status(method, path, key string) int {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 3*time.Second)
	defer cancel()
	body := ""
	if method == "POST" {
		body = `{"user_id":"alice"}`
		if !strings.HasSuffix(path, "/redemptions") {
			body = "{}"
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+r.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", key)
	req.Header.Set("Request-Timeout", "0.3")
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		r.t.Errorf("%s %s: %v", method, path, err)
		return 0
	}
	_ = answer.Body.Close()
	return answer.StatusCode
}

func TestC8AFrozenDatabaseKeepsNoClientWaiting(t *testing.T) {
	t.Parallel()
	proxy, c, _ := behind(t)
	c.RequestTimeout = 10 * time.Second
	n := start(t, c)
	n.ready(200)
	modes := map[string]string{"strict": "ledger", "available": "ledger", "fast": "journal"}
	ids := map[string]string{}
	for mode, recorded := range modes {
		n.offer(mode, `"mode":"`+mode+`"`)
		n.redeem(mode, "before", recorded)
		_, v := n.call("POST", "/v1/offers/"+mode+"/redemptions", `{"user_id":"bob","hold_seconds":60}`, "Idempotency-Key", "hold")
		ids[mode], _ = v["id"].(string)
	}
	n.until("all in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	proxy.SetWeather(faultproxy.Blackhole)
	for mode := range modes {
		if got := n.status("POST", "/v1/offers/"+mode+"/redemptions", "k"); mode == "strict" && got != 503 || got != 503 && got != 201 {
			t.Errorf("%s: a redemption: %d", mode, got)
		}
		for _, path := range []string{"confirm", "cancel", "refunds"} {
			if got := n.status("POST", "/v1/redemptions/"+ids[mode]+"/"+path, "k"); got != 503 {
				t.Errorf("%s: %s: %d", mode, path, got)
			}
		}
		for _, path := range []string{
			"/v1/redemptions/" + ids[mode], "/v1/redemptions/" + ids[mode] + "/refunds", "/v1/redemptions?offer_id=" + mode,
			"/v1/offers/" + mode + "/balance", "/v1/offers/" + mode + "/users/alice", "/v1/offers/" + mode + "/ledger", "/v1/offers/none", "/v1/nodes",
		} {
			if got := n.status("GET", path, ""); got != 503 {
				t.Errorf("GET %s: %d", path, got)
			}
		}
		for _, path := range []string{"pause", "recall"} {
			if got := n.status("POST", "/v1/offers/"+mode+"/"+path, ""); got != 503 {
				t.Errorf("%s: %s: %d", mode, path, got)
			}
		}
	}
	if got := n.status("POST", "/v1/offers", ""); got != 400 { // no call of the ledger
		t.Errorf("a bad offer: %d", got)
	}
}

func TestA6AFrozenDatabaseStopsAvailableForAMoment(t *testing.T) {
	t.Parallel()
	proxy, c, direct := behind(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"available"`)
	n.redeem("o", "before", "ledger")
	proxy.SetWeather(faultproxy.Blackhole)
	served := 0
	n.until("a redemption without the database", func() bool {
		status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", "k", "Request-Timeout", "0.2")
		if status == 201 && v["recorded"] != "journal" {
			t.Fatal(v)
		}
		served = status
		return status == 201
	})
	for i := range 5 {
		n.redeem("o", fmt.Sprint("k", i), "journal")
	}
	proxy.SetWeather(faultproxy.Pass)
	n.until("all in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	if b := balance(t, direct, "o"); b.Redeemed != 7 || served != 201 {
		t.Errorf("%+v", b)
	}
}

// A client has stopped with the row of a user locked, for longer than a shop waits: the user's limit stays exact.
func TestA6ALockedRowIsNoOutage(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.DSN = storetest.MySQL(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"available","user_limit_redemptions":2`)
	n.redeem("o", "before", "ledger")
	unlock := lockUser(t, c.DSN, "alice")
	time.AfterFunc(1200*time.Millisecond, unlock)
	status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", "k", "Request-Timeout", "1.1")
	if status != 503 {
		t.Errorf("with its row locked: %d %v", status, v)
	}
	n.redeem("o", "k", "ledger")
	if records, _ := n.journal.Backlog(); records != 0 {
		t.Errorf("%d records in the journal", records)
	}
}

// lockUser locks the counters of a user as a client does that stops in mid-transaction.
func lockUser(t *testing.T, dsn, user string) (unlock func()) {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	var n int
	if err := tx.QueryRow("SELECT COUNT(*) FROM usages WHERE offer_id = 'o' AND user_id = ? FOR UPDATE", user).Scan(&n); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	return sync.OnceFunc(func() { _ = tx.Rollback() })
}

// A client has stopped with the counters of one user locked. Only that user waits for it, on all nodes, and is served when it is gone.
func TestC4ALockedUserHoldsUpNobodyElse(t *testing.T) {
	t.Parallel()
	dsn := storetest.MySQL(t)
	var nodes []*running
	for range 2 {
		c := config(t)
		c.DSN = dsn
		n := start(t, c)
		n.ready(200)
		nodes = append(nodes, n)
	}
	if status, v := nodes[0].call("POST", "/v1/offers", `{"id":"o","name":"O","budget":1000000,"mode":"strict","user_limit_redemptions":1000000}`); status != 201 {
		t.Fatal(status, v)
	}
	nodes[0].redeem("o", "before", "ledger")
	unlock := lockUser(t, dsn, "alice")
	var over atomic.Bool
	var clients sync.WaitGroup
	var slowest, count, locked atomic.Int64
	wait := map[bool]string{true: "5", false: "2"} // a lock wait of 1 s, and slow machines
	redeem := func(n *running, user, key string) int {
		began := time.Now()
		status, v := n.call("POST", "/v1/offers/o/redemptions", fmt.Sprintf(`{"user_id":%q}`, user), "Idempotency-Key", key, "Request-Timeout", wait[user == "alice"])
		if user == "alice" {
			locked.Add(1)
			return status
		}
		if status != 201 {
			t.Errorf("%s: %d %v", user, status, v)
		}
		count.Add(1)
		slowest.Store(max(slowest.Load(), int64(time.Since(began))))
		return status
	}
	for i, n := range nodes {
		for c := range 8 {
			clients.Go(func() {
				user := fmt.Sprint("user", i, "-", c)
				if c == 0 {
					user = "alice"
				}
				for k := 0; !over.Load(); k++ {
					redeem(n, user, fmt.Sprint(i, "-", c, "-", k))
				}
			})
		}
	}
	time.AfterFunc(6*time.Second, unlock)
	nodes[0].until("the end of the lock", func() bool { return redeem(nodes[0], "alice", "after") == 201 })
	over.Store(true)
	clients.Wait()
	t.Logf("%d redemptions of others, the slowest took %s; %d of the user", count.Load(), time.Duration(slowest.Load()), locked.Load())
}

// Locked as for a backup, the database answers all questions and takes no writes: no heartbeat of the node either.
func TestA6ADatabaseThatTakesNoWritesIsAway(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.DSN = storetest.MySQL(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"available"`)
	n.redeem("o", "before", "ledger")
	db, err := sql.Open("mysql", c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	backup, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer backup.Close()
	if _, err := backup.ExecContext(t.Context(), "LOCK TABLES nodes READ, offers READ, leases READ, entries READ"); err != nil {
		t.Fatal(err)
	}
	n.until("a redemption without the database", func() bool {
		status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", "k", "Request-Timeout", "0.2")
		if status == 201 && v["recorded"] != "journal" {
			t.Fatal(v)
		}
		return status == 201
	})
	if d := n.degraded(200)["ledger"]; d != "the ledger is away; leases are held" {
		t.Errorf("degraded: %q", d)
	}
	if _, err := backup.ExecContext(t.Context(), "UNLOCK TABLES"); err != nil {
		t.Fatal(err)
	}
	n.until("all in the ledger", func() bool { records, _ := n.journal.Backlog(); return records == 0 })
	n.until("the ledger to be back", func() bool { return len(n.degraded(200)) == 0 })
	n.redeem("o", "after", "ledger")
}
