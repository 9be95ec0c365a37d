package slab_test

import (
	"sync"
	"testing"

	"tranche/internal/slab"
)

func TestEachValueIsGivenOnce(t *testing.T) {
	const each, takers = 1000, 8
	var s slab.Slab[int]
	var taken [takers][]*int
	var wg sync.WaitGroup
	for taker := range takers {
		wg.Go(func() {
			for range each {
				v := s.New()
				*v += taker*each + len(taken[taker]) + 1
				taken[taker] = append(taken[taker], v)
			}
		})
	}
	wg.Wait()
	for taker, values := range taken {
		for i, v := range values {
			if want := taker*each + i + 1; *v != want {
				t.Fatalf("value %d of taker %d is %d, want %d: somebody else had it", i, taker, *v, want)
			}
		}
	}
}

func BenchmarkNew(b *testing.B) {
	type value struct {
		_ [24]uint64
		_ *int
	}
	var s slab.Slab[value]
	b.ReportAllocs()
	for b.Loop() {
		s.New()
	}
}
