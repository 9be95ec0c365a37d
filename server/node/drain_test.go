package node

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tranche/internal/faultproxy"
)

func TestDuringTheDrainWaitTheNodeServesOnAndSaysNoAtReadyz(t *testing.T) {
	t.Parallel()
	c := config(t)
	c.DrainWait = 2 * time.Second
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"strict"`)
	began := time.Now()
	n.stop()
	n.ready(503)
	n.redeem("o", "k", "ledger")
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < c.DrainWait {
		t.Errorf("it was gone after %s", took)
	}
	if b := balance(t, c, "o"); b.Redeemed != 1 || b.Allocated != 1 || b.LeasesActive != 0 {
		t.Errorf("after the drain: %+v", b)
	}
}

// The worst case: the database takes connections and never answers, redemptions are waiting for it, and what fast acknowledged is not
// settled.
func TestADrainWithoutADatabaseEndsInTimeAndLeavesTheRestToTheNextStart(t *testing.T) {
	t.Parallel()
	proxy, c, direct := behind(t)
	n := start(t, c)
	n.ready(200)
	n.offer("fast", `"mode":"fast","lease_ttl_seconds":600`)
	n.offer("strict", `"mode":"strict"`)
	n.redeem("fast", "before", "journal")
	n.redeem("strict", "before", "ledger")
	proxy.SetWeather(faultproxy.Blackhole)
	for i := range 5 {
		n.redeem("fast", fmt.Sprint("k", i), "journal")
	}
	var waiting sync.WaitGroup
	for i := range 5 {
		waiting.Go(func() {
			req, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+n.Addr().String()+"/v1/offers/strict/redemptions", strings.NewReader(`{"user_id":"u"}`))
			if err != nil {
				t.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Idempotency-Key", fmt.Sprint("k", i))
			if answer, err := http.DefaultClient.Do(req); err == nil {
				_ = answer.Body.Close()
				if answer.StatusCode != 503 {
					t.Errorf("redemption %d: %d", i, answer.StatusCode)
				}
			}
		})
	}
	n.until("requests that wait for the database", func() bool { return n.inFlight.count() == 5 })
	began := time.Now()
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the drain took %s", took)
	}
	waiting.Wait()
	proxy.SetWeather(faultproxy.Refuse) // or the database would hear the rest after all
	if b := balance(t, direct, "fast"); b.Redeemed > 1 || b.LeasesActive == 0 {
		t.Fatalf("nothing was left to the next start: %+v", b)
	}

	next := start(t, direct)
	next.ready(200)
	if b := balance(t, direct, "fast"); b.Redeemed != 6 || b.Allocated != 6 || b.LeasesActive != 0 || b.OverspendBound != 6 || b.LateUnits != 0 {
		t.Errorf("after the next start: %+v", b) // 6 of the block of 12 were left, and a copy of the folder might spend them
	}
	if b := balance(t, direct, "strict"); b.Redeemed != 1 || b.Allocated != 1 {
		t.Errorf("of strict, after the next start: %+v", b)
	}
}

func TestADrainLastsWhileWhatIsOwedBecomesLess(t *testing.T) {
	for _, c := range []struct {
		name    string
		shrinks time.Duration // from the start on
		want    time.Duration
	}{
		{"nothing is owed", 0, drainWithin},
		{"the database takes it for a while", 20 * time.Second, 20*time.Second + drainWithin},
		{"it is too much", time.Hour, drainAtMost},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				ctx, cancel := whileLess(func() int64 { return int64(time.Hour - min(time.Since(began).Truncate(time.Second), c.shrinks)) })
				defer cancel()
				<-ctx.Done()
				if took := time.Since(began); (took - c.want).Abs() > 100*time.Millisecond {
					t.Errorf("it ended after %s, want about %s", took, c.want)
				}
			})
		})
	}
}

func TestShutWaitsForTheHandlersThatRun(t *testing.T) {
	var h requestsInFlight
	entered, leave := make(chan struct{}), make(chan struct{})
	handler := h.counted(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-leave
	}))
	var running sync.WaitGroup
	for range 2 {
		running.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) })
		<-entered
	}
	idle := h.shut()
	late := httptest.NewRecorder()
	handler.ServeHTTP(late, httptest.NewRequest("GET", "/", nil))
	if late.Code != 503 {
		t.Errorf("one that came late was let in: %d", late.Code)
	}
	leave <- struct{}{}
	select {
	case <-idle:
		t.Error("idle with a handler running")
	default:
	}
	close(leave)
	<-idle
	running.Wait()
	var unused requestsInFlight
	<-unused.shut()
}

// A node that has drained and owes nothing is gone at once: nobody waits until it has been silent for long enough.
func TestB8ADrainedNodeIsNotActive(t *testing.T) {
	t.Parallel()
	c := config(t)
	n := start(t, c)
	n.ready(200)
	n.offer("o", `"mode":"strict"`)
	if b := balance(t, c, "o"); b.NodesActive != 1 || b.LeasesActive != 0 {
		t.Errorf("while it serves: %+v", b)
	}
	n.redeem("o", "k", "ledger")
	n.stop()
	if err := n.wait(); err != nil {
		t.Fatal(err)
	}
	if b := balance(t, c, "o"); b.NodesActive != 0 {
		t.Errorf("after the drain: %+v", b)
	}
}
