package node

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"tranche/internal/storetest"
)

// Many readers of long lists share a node, and two cores, with a checkout.
func TestC1ReadersOfListsRefuseNoCheckout(t *testing.T) {
	c := config(t)
	c.DSN = storetest.MySQL(t)
	n := start(t, c)
	n.ready(200)
	if status, v := n.call("POST", "/v1/offers", `{"id":"o","name":"O","budget":100000,"mode":"strict"}`); status != 201 {
		t.Fatal(status, v)
	}
	var clients sync.WaitGroup
	for i := range 50 {
		clients.Go(func() {
			for k := range 20 {
				n.redeem("o", fmt.Sprint(i, "-", k), "ledger")
			}
		})
	}
	clients.Wait()

	var done atomic.Bool
	var listed, refused atomic.Int64
	var readers sync.WaitGroup
	for range 64 {
		readers.Go(func() {
			for !done.Load() {
				answer, err := http.Get("http://" + n.Addr().String() + "/v1/redemptions?offer_id=o&limit=1000")
				if err != nil {
					t.Error(err)
					return
				}
				_, _ = io.Copy(io.Discard, answer.Body)
				_ = answer.Body.Close()
				if answer.StatusCode == 200 {
					listed.Add(1)
				} else {
					refused.Add(1)
				}
			}
		})
	}
	n.until("the readers to be at work", func() bool { return listed.Load()+refused.Load() > 64 })
	for i := range 15 {
		status, v := n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key", fmt.Sprint("beside", i))
		if status != 201 {
			t.Errorf("beside readers: %d %v", status, v)
		}
	}
	if !n.store.Available() {
		t.Error("the breaker is open")
	}
	done.Store(true)
	readers.Wait()
	if listed.Load() == 0 {
		t.Errorf("all of %d lists were refused", refused.Load())
	}
	t.Logf("%d lists, %d refused", listed.Load(), refused.Load())
}
