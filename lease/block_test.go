package lease

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/models"
)

func newTestBlock(granted int64, now time.Time) *Block {
	l := models.Lease{OfferID: "o", ID: models.NewID(), Kind: models.KindBlock, Granted: granted, TTLSeconds: 60}
	return NewBlock(&l, now.Add(time.Minute))
}

func TestSpendNeverGoesBelowZero(t *testing.T) {
	now := time.Now()
	b := newTestBlock(10_000, now)
	var spent atomic.Int64
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := int64(g%3 + 1); b.Spend(n, now); {
				spent.Add(n)
			}
		})
	}
	wg.Wait()
	for b.Spend(1, now) { // what was too little for those who wanted more
		spent.Add(1)
	}
	if spent.Load() != 10_000 || b.Left() != 0 || b.Pending() != 10_000 {
		t.Errorf("spent %d, left %d, pending %d of 10000", spent.Load(), b.Left(), b.Pending())
	}
}

func TestNothingIsSpentAfterTheDeadlineOrTheSeal(t *testing.T) {
	now := time.Now()
	b := newTestBlock(10, now)
	if b.Spend(1, now.Add(time.Minute+1)) {
		t.Error("spent after the deadline")
	}
	if !b.Spend(1, now.Add(time.Minute)) {
		t.Error("not spent at the deadline")
	}
	b.Extend(now.Add(2 * time.Minute))
	if !b.Spend(1, now.Add(time.Minute+1)) {
		t.Error("a renewal must move the deadline")
	}
	b.Seal()
	if b.Spend(1, now) || b.Left() != 0 || !b.Sealed() {
		t.Error("spent after the seal")
	}
	if b.Pending() != 2 {
		t.Errorf("pending %d, want 2", b.Pending())
	}
}

func TestASealedBlockIsQuietWhenNothingIsPending(t *testing.T) {
	quiet := func(b *Block) bool {
		select {
		case <-b.Quiet():
			return true
		default:
			return false
		}
	}
	now := time.Now()
	b := newTestBlock(10, now)
	b.Spend(3, now)
	b.Spend(2, now)
	b.Seal()
	b.Seal()
	if quiet(b) {
		t.Fatal("quiet with 5 pending")
	}
	b.Settled(3)
	if quiet(b) {
		t.Fatal("quiet with 2 pending")
	}
	b.Unspend(2)
	if !quiet(b) {
		t.Fatal("not quiet with nothing pending")
	}
	if b.Left() != 0 || b.Spend(1, now) {
		t.Fatal("what comes back to a sealed block can be spent")
	}
}

// Whatever the interleaving, a block that is sealed under load becomes quiet, and spent units are settled or back.
func TestSealUnderLoad(t *testing.T) {
	for range 200 {
		now := time.Now()
		b := newTestBlock(1000, now)
		var settled atomic.Int64
		var wg sync.WaitGroup
		for g := range 4 {
			wg.Go(func() {
				for i := 0; b.Spend(1, now); i++ {
					if (i+g)%3 == 0 {
						b.Unspend(1)
					} else {
						settled.Add(1)
						b.Settled(1)
					}
				}
			})
		}
		b.Seal()
		wg.Wait()
		<-b.Quiet()
		if b.Pending() != 0 {
			t.Fatalf("pending %d after all was settled", b.Pending())
		}
	}
}

func TestARefundIsSpendableAtOnce(t *testing.T) {
	now := time.Now()
	b := newTestBlock(0, now)
	if b.Spend(1, now) {
		t.Fatal("spent from an empty pool")
	}
	b.Refund(2)
	if !b.Spend(2, now) || b.Spend(1, now) {
		t.Fatal("want exactly the two refunded units")
	}
	b.Settled(2)
	b.Seal()
	<-b.Quiet()
}

func BenchmarkSpend(b *testing.B) {
	b.Run("block", func(b *testing.B) {
		now := time.Now()
		block := newTestBlock(1<<60, now)
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				block.Spend(1, now)
			}
		})
	})
	b.Run("bare-cas", func(b *testing.B) {
		var left atomic.Int64
		left.Store(1 << 60)
		b.RunParallel(func(pb *testing.PB) {
			for pb.Next() {
				for {
					v := left.Load()
					if v < 1 || left.CompareAndSwap(v, v-1) {
						break
					}
				}
			}
		})
	})
}
