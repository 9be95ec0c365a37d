package node

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"tranche/internal/faultproxy"
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
