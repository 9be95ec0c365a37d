package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"

	"tranche/models"
)

func TestRequestIDs(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "abc-123_~!", strings.Repeat("x", 128)} {
		w.call("GET", "/healthz", "", "X-Request-Id: "+id).is(200, "").header("X-Request-Id", id)
	}
	seen := map[string]bool{}
	for _, id := range []string{"", "two words", "ümlaut", strings.Repeat("x", 129), "a\x00b"} {
		made := w.call("GET", "/healthz", "", "X-Request-Id: "+id).is(200, "").Header().Get("X-Request-Id")
		if made == id || made == "" || seen[made] {
			t.Errorf("%q becomes %q", id, made)
		}
		seen[made] = true
	}
	w.call("GET", "/nowhere", "", "X-Request-Id: mine").is(404, "route-not-found").header("X-Request-Id", "mine").has(map[string]any{"request_id": "mine"})
}

// lines gives what was logged.
func (w *world) lines() []map[string]any {
	w.t.Helper()
	var list []map[string]any
	for line := range strings.Lines(w.log.String()) {
		var event map[string]any
		if err := json.Unmarshal([]byte(line), &event); err != nil {
			w.t.Fatalf("%v in %s", err, line)
		}
		list = append(list, event)
	}
	return list
}

func TestTheAccessLog(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.call("GET", "/v1/offers/o/users/alice", "", "X-Request-Id: r-1").is(200, "")
	w.desk.fail = models.ErrLedgerUnavailable
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(503, "ledger-unavailable")
	w.call("GET", "/made/up/path", "").is(404, "route-not-found")
	events := w.lines()
	if len(events) != 4 {
		t.Fatalf("%d lines: %s", len(events), w.log)
	}
	for i, want := range []map[string]any{
		{"level": "info", "method": "POST", "route": "/v1/offers", "status": 201.0},
		{"level": "info", "method": "GET", "route": "/v1/offers/{offer}/users/{user}", "status": 200.0, "request_id": "r-1", "offer_id": "o"},
		{
			"level": "error", "route": "/v1/offers/{offer}/redemptions", "status": 503.0, "problem": "/problems/ledger-unavailable",
			"error": "in the depths: ledger unavailable",
		},
		{"level": "info", "route": "unmatched", "status": 404.0, "problem": "/problems/route-not-found"},
	} {
		for name, value := range want {
			if events[i][name] != value {
				t.Errorf("line %d: %s is %v, want %v", i, name, events[i][name], value)
			}
		}
	}
}

func TestOnlySomeSuccessfulRedemptionsAreLogged(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/offers", `{"id":"o","name":"n","unit":"redemptions","budget":1000}`).is(201, "")
	w.log.Reset()
	for range 2 * successesPerLogLine {
		w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(201, "")
	}
	if got := len(w.lines()); got != 2 {
		t.Errorf("%d lines", got)
	}
	w.log.Reset()
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":""}`, aKey).is(400, "invalid-request")
	if got := len(w.lines()); got != 1 {
		t.Errorf("%d lines for a refusal", got)
	}
}

func TestAPanicIsAProblemAndIsLoggedWithItsStack(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.log.Reset()
	w.desk.Fake.Fail = func(string) error { panic("secret of the depths") }
	a := w.call("GET", "/v1/offers/o", "").is(500, "internal")
	if strings.Contains(a.Body.String(), "secret") {
		t.Errorf("leaks: %s", a.Body)
	}
	event := w.lines()[0]
	if event["level"] != "error" || event["error"] != "panic: secret of the depths" || !strings.Contains(event["stack"].(string), "getOffer") {
		t.Errorf("logged %v", event)
	}
	w.desk.Fake.Fail = nil
	w.call("GET", "/v1/offers/o", "").is(200, "")
}

func TestAnAbortedHandlerStaysAborted(t *testing.T) {
	w := newWorld(t)
	w.desk.Fake.Fail = func(string) error { panic(http.ErrAbortHandler) }
	defer func() {
		if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares this very value
			t.Errorf("recovered %v", p)
		}
	}()
	w.call("GET", "/v1/offers/o", "")
	t.Error("answered")
}

func TestARequestEndsAtItsDeadline(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestTimeout, c.Now = time.Millisecond, time.Now }) // a clock that goes on
	w.desk.block = true
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(503, "ledger-unavailable").
		has(map[string]any{"outcome": "unknown", "retryable": true})
}

func TestARequestHasItsTimeFromItsArrival(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.RequestTimeout, c.Now = time.Minute, time.Now })
	w.createOffer("o", "")
	before := time.Now()
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(201, "")
	if until := w.desk.until; until.Before(before.Add(time.Minute)) || until.After(time.Now().Add(time.Minute)) {
		t.Errorf("its time ends %v after it was sent", until.Sub(before))
	}
}

func TestAClientThatHungUpGetsNoAnswer(t *testing.T) {
	w := newWorld(t)
	w.desk.block = true
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := request("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).WithContext(ctx)
	a := w.send(r, "")
	if a.Body.Len() != 0 {
		t.Errorf("answered %s", a.Body)
	}
	if !errors.Is(w.desk.ended, context.Canceled) {
		t.Errorf("what it was for ended with %v", w.desk.ended)
	}
	event := w.lines()[0]
	if event["status"] != float64(statusClientGone) || event["level"] != "info" {
		t.Errorf("logged %v", event)
	}
}

func TestAClientThatIsTooSlowWithItsBodyIsTold(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	r := request("POST", "/v1/offers/o/redemptions", "", aKey)
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n", r.URL.Path)
	if err := r.Header.Write(conn); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, "\r\n{")
	answer, err := http.ReadResponse(bufio.NewReader(conn), r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != 408 || answer.Header.Get("Content-Type") != typeProblem || !answer.Close {
		t.Errorf("answered %d %v", answer.StatusCode, answer.Header)
	}
}

// It is complete, and too late: whatever the offer's mode, nothing is redeemed.
func TestC10ABodyThatComesTooLateIsNotActedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.Now = time.Now })
		const body = `{"user_id":"u"}`
		late := request("POST", "/v1/offers/o/redemptions", "", aKey, "Content-Type: application/json")
		came, sent := io.Pipe()
		late.Body, late.ContentLength = came, int64(len(body))
		go func() {
			time.Sleep(w.config.RequestTimeout + time.Second)
			_, _ = io.WriteString(sent, body)
			_ = sent.Close()
		}()
		w.send(late, body).is(408, "request-timeout").header("Connection", "close").has(map[string]any{"retryable": true, "outcome": "(absent)"})
		if w.desk.calls != 0 {
			t.Error("the allocator was called")
		}
	})
}

// The server would read what is left of a body before it answers, for as long as a client may take to send one.
func TestC10ARefusalDoesNotWaitForTheBody(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Now = time.Now })
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ReadTimeout = time.Hour
	server.Start()
	defer server.Close()
	for _, line := range []string{
		"POST /v1/offers/o/redemptions", "POST /v1/nowhere", "PUT /v1/offers", "GET /openapi.json",
	} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // instead of waiting for ever
			t.Fatal(err)
		}
		fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", line)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !answer.Close {
			t.Errorf("%s: %d, and the connection stays open", line, answer.StatusCode)
		}
		_ = answer.Body.Close()
	}
	whole, err := http.Post(server.URL+"/v1/nowhere", typeJSON, strings.NewReader(`{}`))
	if err != nil || whole.StatusCode != 404 || whole.Close {
		t.Errorf("a body that is there: %v, %v", whole, err)
	}
	_ = whole.Body.Close()
}

func TestC10StrangersCostFewLogLines(t *testing.T) {
	w := newWorld(t)
	flood := func() {
		for range 10 {
			w.call("GET", "/v1/offers", "", "-Authorization").is(401, "unauthenticated")
			w.call("GET", "/v1/offers", "", "Authorization: Bearer guessed").is(401, "unauthenticated")
			w.call("GET", "/made/up", "", "-Authorization").is(404, "route-not-found")
			w.call("GET", "/openapi.json", "", "-Authorization").is(200, "")
			w.ready = false
			w.call("GET", "/readyz", "", "-Authorization").is(503, "")
		}
	}
	logged := func() string {
		var list []string
		for _, line := range w.lines() {
			list = append(list, fmt.Sprint(line["status"], " ", line["left_out"]))
		}
		w.log.Reset()
		return strings.Join(list, ", ")
	}
	flood()
	if got := logged(); got != "401 <nil>, 404 <nil>, 200 <nil>, 503 <nil>" {
		t.Errorf("at first: %s", got)
	}
	w.clock = w.clock.Add(strangersEvery - 1)
	flood()
	if got := logged(); got != "" {
		t.Errorf("within a minute: %s", got)
	}
	w.clock = w.clock.Add(1)
	w.call("GET", "/v1/offers", "", "-Authorization").is(401, "unauthenticated")
	w.call("GET", "/made/up", "", "-Authorization").is(404, "route-not-found")
	if got := logged(); got != "401 39, 404 19" {
		t.Errorf("after a minute: %s", got)
	}
	for range 3 {
		w.call("GET", "/made/up", "").is(404, "route-not-found")
		w.call("GET", "/v1/offers/none", "").is(404, "offer-not-found")
	}
	if got := len(w.lines()); got != 6 {
		t.Errorf("%d lines for six requests with a key", got)
	}
	alone := newWorld(t, noKeys)
	for range 10 {
		alone.call("GET", "/v1/offers", "", "Origin: http://shop.example").is(403, "forbidden")
	}
	if got := len(alone.lines()); got != 1 {
		t.Errorf("without keys, %d lines for a page of another site", got)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	w := newWorld(t)
	w.call("GET", "/healthz", "", "-Authorization").is(200, "").has(map[string]any{"status": "ok"})
	w.call("GET", "/readyz", "", "-Authorization").is(200, "").has(map[string]any{"ready": true, "detail": "as told"})
	w.ready = false
	w.call("GET", "/readyz", "", "-Authorization").is(503, "").has(map[string]any{"ready": false, "detail": "as told"})
	w.call("GET", "/healthz", "", "-Authorization").is(200, "")
}

func TestC9ReadinessNamesWhatIsDegraded(t *testing.T) {
	w := newWorld(t)
	w.call("GET", "/readyz", "", "-Authorization").is(200, "").has(map[string]any{"degraded": "[]"})
	w.degraded = []Degraded{{Part: "connections", Since: models.MicrosOf(w.clock), Detail: "error 1040"}, {Part: "ledger", Since: models.MicrosOf(w.clock), Detail: "away"}}
	w.call("GET", "/readyz", "", "-Authorization").is(200, "").has(map[string]any{"ready": true, "degraded": "[" +
		"map[detail:error 1040 part:connections since:2026-11-27T08:00:00.123456Z] " +
		"map[detail:away part:ledger since:2026-11-27T08:00:00.123456Z]]"})
}

func TestMetricsAreByRouteAndNotByPath(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for _, target := range []string{"/v1/offers/o", "/v1/offers/private-1", "/made/up-1", "/made/up-2"} {
		w.call("GET", target, "")
	}
	w.call("MADEUP", "/v1/offers/o", "").is(405, "method-not-allowed")
	text := w.call("GET", "/metrics", "").is(200, "").Body.String()
	for _, line := range []string{
		`tranche_http_request_duration_seconds_count{class="2xx",method="GET",route="/v1/offers/{offer}"} 1`,
		`tranche_http_request_duration_seconds_count{class="4xx",method="GET",route="/v1/offers/{offer}"} 1`,
		`tranche_http_request_duration_seconds_count{class="4xx",method="unmatched",route="unmatched"} 3`,
		`tranche_http_requests_in_flight 1`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	for _, secret := range []string{"private", "up-1", "MADEUP"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the metrics", secret)
		}
	}
}

// Of every call that asks the ledger, by the route table.
func TestUntilTheNodeHasStartedNothingIsAskedOfTheLedger(t *testing.T) {
	w := newWorld(t)
	path := strings.NewReplacer("{offer}", "o", "{user}", "alice", "{redemption}", "o.abcdefghijklmnopqrstuvwxyz")
	asks := func(begun bool, each func(r route, a *answer)) {
		w.begun = begun
		for _, r := range routes() {
			if r.scope >= scopeCheckout {
				each(r, w.call(r.method, path.Replace(r.path), ""))
			}
		}
	}
	asks(false, func(r route, a *answer) {
		outcome := "(absent)"
		if r.is(writes) {
			outcome = "not_redeemed"
		}
		a.is(503, "ledger-unavailable").has(map[string]any{"outcome": outcome, "retryable": true})
	})
	w.call("GET", "/readyz", "").is(200, "")
	w.call("GET", "/v1/offers", "", "-Authorization").is(401, "unauthenticated")
	asks(true, func(r route, a *answer) {
		if a.Code == 503 {
			t.Errorf("%s %s: %s", r.method, r.path, a.Body)
		}
	})
}

func TestTwoNodesFitInOneProcessAndOneRegistryTakesOne(t *testing.T) {
	newWorld(t)
	w := newWorld(t)
	if _, err := New(w.config, Services{Ready: func() Readiness { return Readiness{Ready: true} }, Started: func() bool { return true }}); err == nil {
		t.Error("two on one registry")
	}
	if _, err := New(Config{Registerer: prometheus.NewRegistry()}, Services{}); err == nil {
		t.Error("taken without a clock")
	}
}
