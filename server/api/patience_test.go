package api

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

func TestC8AClientSaysHowLongItWaits(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"0.2":                 180 * time.Millisecond,
		"1":                   980 * time.Millisecond,
		"0.1":                 90 * time.Millisecond,
		"2.5":                 2480 * time.Millisecond,
		"5":                   4980 * time.Millisecond,
		"7":                   5 * time.Second, // the server's own time
		"9000000000000000000": 5 * time.Second,
	} {
		w := newWorld(t, func(c *Config) { c.Now = time.Now })
		before := time.Now()
		w.call("POST", "/v1/offers/none/redemptions", `{"user_id":"u"}`, aKey, "Request-Timeout: "+header).is(404, "offer-not-found")
		after := time.Now()
		if until := w.desk.until; until.Before(before.Add(want)) || until.After(after.Add(want)) {
			t.Errorf("%s: it must be decided %s after it was sent, want %s", header, until.Sub(before), want)
		}
	}
}

func TestC8AClientThatWaitsShortlyIsAnsweredShortly(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Now = time.Now })
	w.desk.block = true
	before := time.Now()
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey, "Request-Timeout: 0.01").is(503, "ledger-unavailable").
		has(map[string]any{"outcome": "unknown", "retryable": true})
	if within := w.desk.until.Sub(before); within > time.Second {
		t.Errorf("it had %s", within)
	}
}

// A client whose time has ended still waits for its answer, and has not hung up.
func TestC8AClientWhoseTimeHasEndedIsAnswered(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Now = time.Now })
	w.desk.block, w.desk.linger = true, 100*time.Millisecond
	server := httptest.NewServer(w.handler)
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/v1/offers/o/redemptions", strings.NewReader(`{"user_id":"u"}`))
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"Authorization": "Bearer " + checkoutKey, "Idempotency-Key": "k", "Content-Type": "application/json", "Request-Timeout": "0.1",
	} {
		request.Header.Set(name, value)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("answered %d", answer.StatusCode)
	}
}

// The server itself lets a client take an hour here for its body.
func TestC8ABodyIsWaitedForInTheClientsTime(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Now = time.Now })
	server := httptest.NewUnstartedServer(w.handler)
	server.Config.ReadTimeout = time.Hour
	server.Start()
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil { // instead of waiting for ever
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/offers/o/redemptions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n"+
		"%s\r\nContent-Type: application/json\r\nContent-Length: 100\r\nRequest-Timeout: 0.1\r\n\r\n{", checkoutKey, aKey)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusRequestTimeout {
		t.Errorf("answered %d", answer.StatusCode)
	}
}

func TestC8ABadTimeoutIsRefusedByEachCall(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for header, rule := range map[string]string{
		"": "format", "0": "range", "0.000": "range", "-1": "format", "1s": "format", "0,2": "format", ".5": "format", "5.": "format",
		"1e3": "format", "inf": "format", "NaN": "format", "0x1": "format", "1.2.3": "format", " 1": "format", "000000000000000000001": "format",
	} {
		a := w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey, "Request-Timeout: "+header).is(400, "invalid-request")
		if want := "Request-Timeout " + rule; a.faults() != want {
			t.Errorf("%q: faults %q, want %q", header, a.faults(), want)
		}
	}
	r := request("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey)
	r.Header["Request-Timeout"] = []string{"1", "2"}
	if a := w.send(r, `{"user_id":"u"}`).is(400, "invalid-request"); a.faults() != "Request-Timeout repeated" {
		t.Errorf("twice: faults %q", a.faults())
	}
	if w.desk.calls != 0 {
		t.Errorf("%d redemptions were tried", w.desk.calls)
	}
	segment := regexp.MustCompile(`\{[^}]*\}`)
	for _, r := range routes() {
		if r.method != "GET" {
			continue
		}
		w.call(r.method, segment.ReplaceAllString(r.path, "o"), "", "Request-Timeout: soon").is(400, "invalid-request")
	}
	w.call("GET", "/v1/offers/o", "", "-Authorization", "Request-Timeout: soon").is(401, "unauthenticated")
}

func TestC8EachOperationDocumentsItsTimeout(t *testing.T) {
	for path, item := range document(t).Paths.Map() {
		for method, operation := range item.Operations() {
			if operation.Parameters.GetByInAndName("header", fieldTimeout) == nil {
				t.Errorf("%s %s does not document %s", method, path, fieldTimeout)
			}
			if operation.Responses.Status(400) == nil {
				t.Errorf("%s %s does not document the answer to a bad one", method, path)
			}
		}
	}
}
