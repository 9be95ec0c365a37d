package load

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestWhatWrkSays(t *testing.T) {
	out := "Running 1s test @ http://127.0.0.1:8080\n  Latency 1ms\nTransfer/sec: 1MB\n" +
		`{"requests":100,"microseconds":2000000,"not_successful":10,"lost":3,"p50":1000,"p99":2000,"p999":3000}` + "\n"
	got, err := parseWrk([]byte(out))
	want := Throughput{Requests: 100, NotSuccessful: 10, Lost: 3, Elapsed: 2 * time.Second, P50: time.Millisecond, P99: 2 * time.Millisecond, P999: 3 * time.Millisecond}
	if err != nil || got != want {
		t.Errorf("%+v (%v)", got, err)
	}
	if got.Rate() != 45 {
		t.Errorf("%v a second", got.Rate())
	}
	if _, err := parseWrk([]byte("unable to connect")); err == nil {
		t.Error("an error was taken for a result")
	}
}

// stub answers, and counts the keys that it sees.
func stub(t *testing.T, answer http.HandlerFunc) (addr string, keys *sync.Map) {
	t.Helper()
	keys = &sync.Map{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, twice := keys.LoadOrStore(r.Header.Get("Idempotency-Key"), true); twice {
			t.Errorf("%s was sent twice", r.Header.Get("Idempotency-Key"))
		}
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), keys
}

func TestOpenSendsWhatIsDue(t *testing.T) {
	var turn atomic.Int64
	addr, _ := stub(t, func(w http.ResponseWriter, r *http.Request) {
		if turn.Add(1)%10 == 0 {
			w.WriteHeader(http.StatusConflict)
			return
		}
		w.WriteHeader(http.StatusCreated)
	})
	o := Open{Addrs: []string{addr}, Offers: []string{"o"}, Run: "r", PerSecond: 500, Duration: 200 * time.Millisecond, Grace: 30 * time.Second, Connections: 8}
	l := o.Start(t.Context())
	if l.Due != 100 || len(l.Sorted) != 90 || l.Refused != 10 || l.Unsent != 0 {
		t.Errorf("%d due, %d acknowledged, %d refused, %d unsent", l.Due, len(l.Sorted), l.Refused, l.Unsent)
	}
	if l.Held() {
		t.Error("a tenth was refused, and that is called held")
	}
}

// A server that answers nothing for a while makes everything late that was due in that time, though it could not be sent.
func TestOpenMeasuresFromWhenItWasDue(t *testing.T) {
	const stalled = 200 * time.Millisecond
	release := make(chan struct{})
	var first sync.Once
	addr, _ := stub(t, func(w http.ResponseWriter, r *http.Request) {
		first.Do(func() { time.AfterFunc(stalled, func() { close(release) }) })
		<-release
		w.WriteHeader(http.StatusCreated)
	})
	o := Open{Addrs: []string{addr}, Offers: []string{"o"}, Run: "r", PerSecond: 100, Duration: stalled, Grace: 30 * time.Second, Connections: 1}
	l := o.Start(t.Context())
	if len(l.Sorted) != 20 || !l.Held() {
		t.Fatalf("%d acknowledged", len(l.Sorted))
	}
	// Due every 10 ms for 200 ms, and not answered before the 200 ms were over: half of them are at least 100 ms late.
	if middle := l.Sorted[10]; middle < stalled/2 {
		t.Errorf("the median is %v: late sending was not counted", middle)
	}
}

func TestOpenTellsWhatWasNeverSent(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	addr, keys := stub(t, func(w http.ResponseWriter, r *http.Request) {
		<-ctx.Done()
		w.WriteHeader(http.StatusCreated)
	})
	time.AfterFunc(600*time.Millisecond, cancel) // long after the run's end
	o := Open{Addrs: []string{addr}, Offers: []string{"o"}, Run: "r", PerSecond: 50, Duration: 200 * time.Millisecond, Connections: 2}
	l := o.Start(t.Context())
	sent := 0
	keys.Range(func(any, any) bool { sent++; return true })
	if l.Due != 10 || l.Unsent != 8 || sent != 2 || l.Held() {
		t.Errorf("%d due, %d sent, %d unsent", l.Due, sent, l.Unsent)
	}
}

func TestOpenTakesNodesAndOffersInTurn(t *testing.T) {
	var mu sync.Mutex
	got := map[string]int{}
	var addrs []string
	for _, node := range []string{"a", "b"} {
		addr, _ := stub(t, func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			got[node+r.URL.Path+string(body)]++
			mu.Unlock()
			w.WriteHeader(http.StatusCreated)
		})
		addrs = append(addrs, addr)
	}
	o := Open{
		Addrs: addrs, Offers: []string{"x", "y", "z"}, Run: "r", User: func(int) string { return "alice" },
		PerSecond: 600, Duration: 20 * time.Millisecond, Grace: 30 * time.Second, Connections: 2,
	}
	if l := o.Start(t.Context()); len(l.Sorted) != 12 {
		t.Errorf("%+v", l)
	}
	for _, node := range []string{"a", "b"} {
		for _, offer := range o.Offers {
			if request := node + Redemptions(offer) + `{"user_id":"alice"}`; got[request] != 2 {
				t.Errorf("%s: %d times", request, got[request])
			}
		}
	}
}
