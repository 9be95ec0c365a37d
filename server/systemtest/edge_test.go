package systemtest

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestBadInputSpendsNothing sends what a checkout never should. Each is refused with a problem that says so, and the balance stays.
func TestBadInputSpendsNothing(t *testing.T) {
	f := startFleet(t, 1)
	n := f.nodes[0]
	offerID := f.createOffer(offer{ID: "edge", Budget: 100, LeaseSize: 10})
	const jsonType = "application/json"
	cases := []struct {
		name, body, contentType, key string
		status                       int
	}{
		{"no body", ``, jsonType, "k", 400},
		{"half a body", `{"user_id": "a"`, jsonType, "k", 400},
		{"a list", `["user_id"]`, jsonType, "k", 400},
		{"something after it", `{"user_id": "a"} {"user_id": "b"}`, jsonType, "k", 400},
		{"a name twice", `{"user_id": "a", "units": 1, "units": 2}`, jsonType, "k", 400},
		{"an unknown field", `{"user_id": "a", "user": "b"}`, jsonType, "k", 400},
		{"another case", `{"USER_ID": "a"}`, jsonType, "k", 400},
		{"units of another spelling", `{"user_id": "a", "units": 1e0}`, jsonType, "k", 400},
		{"a fraction", `{"user_id": "a", "units": 1.5}`, jsonType, "k", 400},
		{"no units", `{"user_id": "a", "units": 0}`, jsonType, "k", 400},
		{"negative units", `{"user_id": "a", "units": -1}`, jsonType, "k", 400},
		{"units as text", `{"user_id": "a", "units": "1"}`, jsonType, "k", 400},
		{"units of 2^63", `{"user_id": "a", "units": 9223372036854775808}`, jsonType, "k", 400},
		{"units of 2^53", `{"user_id": "a", "units": 9007199254740992}`, jsonType, "k", 400},
		{"no user", `{"units": 1}`, jsonType, "k", 400},
		{"a long user", `{"user_id": "` + strings.Repeat("u", 300) + `"}`, jsonType, "k", 400},
		{"a control character", `{"user_id": "a\u0007"}`, jsonType, "k", 400},
		{"invalid UTF-8", "{\"user_id\": \"a\xff\"}", jsonType, "k", 400},
		{"half a surrogate pair", `{"user_id": "a\ud800"}`, jsonType, "k", 400},
		{"deep metadata", `{"user_id": "a", "metadata": ` + strings.Repeat(`{"a":`, 20000) + `1` + strings.Repeat(`}`, 20000) + `}`, jsonType, "k", 413},
		{"much metadata", `{"user_id": "a", "metadata": {"a": "` + strings.Repeat("m", 5000) + `"}}`, jsonType, "k", 400},
		{"ten megabytes", `{"user_id": "a", "metadata": {"a": "` + strings.Repeat("m", 10<<20) + `"}}`, jsonType, "k", 413},
		{"a form", `user_id=a`, "application/x-www-form-urlencoded", "k", 415},
		{"no key", `{"user_id": "a"}`, jsonType, "", 400},
		{"a key with a space", `{"user_id": "a"}`, jsonType, "a b", 400},
		{"a long key", `{"user_id": "a"}`, jsonType, strings.Repeat("k", 256), 400},
	}
	for _, c := range cases {
		header := http.Header{"Content-Type": {c.contentType}}
		if c.key != "" {
			header.Set("Idempotency-Key", c.key)
		}
		a, err := n.sendRaw(t.Context(), http.MethodPost, redemptionsOf(offerID), header, strings.NewReader(c.body))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if a.status != c.status || *a.problem.Retryable {
			t.Errorf("%s: want %d, got %v", c.name, c.status, a)
		}
	}
	if a := n.redeem(strings.Repeat("o", 300), "k", "a", 1); a.status != 400 && a.status != 404 {
		t.Errorf("an offer id of 300 characters: %v", a)
	}
	f.wantUntouched(offerID)
}

// TestSlowClients: who sends a byte a second is cut off, within the time that the server gives a request, and spends nothing.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	f := startFleet(t, 1)
	offerID := f.createOffer(offer{ID: "slow", Budget: 100, LeaseSize: 10})
	body := `{"user_id": "slow"}`
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nIdempotency-Key: slow\r\nContent-Length: %d\r\n\r\n",
		redemptionsOf(offerID), len(body))
	var all sync.WaitGroup
	for name, quick := range map[string]int{"from the first byte": 0, "in the body": len(head)} {
		all.Go(func() {
			if err := dribble(t, f.nodes[0], head+body, quick, 15*time.Second); err != nil {
				t.Errorf("slow %s: %v", name, err)
			}
		})
	}
	all.Wait()
	f.wantUntouched(offerID)
}

// dribble sends the first bytes of a request at once and then one a second, and fails unless the server closes the connection.
func dribble(t *testing.T, n *node, request string, quick int, within time.Duration) error {
	conn, err := net.Dial("tcp", strings.TrimPrefix(n.url, "http://"))
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := conn.Write([]byte(request[:quick])); err != nil {
		return err
	}
	closed := make(chan error, 1)
	go func() { closed <- readUntilClosed(conn) }()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	deadline := time.After(within)
	for i := quick; i < len(request)-1; i++ {
		select {
		case <-closed: //nolint:errcheck // how it was closed does not matter
			return nil
		case <-deadline:
			return fmt.Errorf("still open after %v", within)
		case <-t.Context().Done():
			return t.Context().Err()
		case <-tick.C:
			_, _ = conn.Write([]byte{request[i]})
		}
	}
	return fmt.Errorf("the whole request was taken")
}

// wantUntouched fails the test if anything was spent.
func (f *fleet) wantUntouched(offerID string) {
	f.t.Helper()
	if got := f.nodes[0].balance(offerID); got.NetSpent != 0 || got.Redeemed != 0 {
		f.t.Errorf("something was spent: %+v", got)
	}
	b := f.readBooks(offerID)
	b.check(f.t)
	if len(b.entries) != 0 {
		f.t.Errorf("something was booked: %+v", b.entries)
	}
}

// TestSettingsMayComeThroughAPipe: what can be read once is read once, though the program executes itself again when it starts.
func TestSettingsMayComeThroughAPipe(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "settings")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- os.WriteFile(pipe, []byte("TRANCHE_ADMIN_KEY=that-came-through-a-pipe\n"), 0) }() // when somebody reads
	f := newFleet(t)
	n := f.add(f.dsn, "--config", pipe)
	n.awaitReady()
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if status, body, err := n.get(t.Context(), "/v1/offers"); err != nil || status != http.StatusUnauthorized {
		t.Errorf("without the key that was set: %d %s, %v", status, body, err)
	}
}
