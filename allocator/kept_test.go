package allocator_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"tranche/allocator"
	"tranche/models"
)

// The server reads an offer's id as a part of the request's line, which may be long. A node remembers many redemptions, and must not
// keep those lines with them.
func TestARememberedRedemptionKeepsNoRequestInMemory(t *testing.T) {
	const requests, line = 500, 16 << 10
	setUp := func(o *models.Offer) {
		fixedBlocks(models.ModeFast, requests)(o)
		o.Budget, o.BudgetTarget = requests, requests
	}
	inFleet(t, 1, setUp, func(t *testing.T, f *fleet) {
		before := heap()
		for i := range requests {
			offerID := (strings.Repeat("x", line) + "o")[line:]
			if _, err := f.nodes[0].Redeem(t.Context(), offerID, allocator.RedeemRequest{Key: fmt.Sprint(i), UserID: "u", Units: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if grown := heap() - before; grown > requests*line/2 {
			t.Errorf("after %d requests with lines of %d bytes it keeps %d bytes more", requests, line, grown)
		}
		runtime.KeepAlive(f)
	})
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
