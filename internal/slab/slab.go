// Package slab allocates many values at a time, so that those which are kept for long are few objects to the garbage collector: it looks at
// each object that is kept, at every collection, and finds it in no cache.
package slab

import "sync"

// Slab gives out zero values of T. It is for values that go in about the order in which they came: one that stays keeps those that were
// allocated with it in memory, and all that they point to. The zero Slab is ready, and safe for concurrent use.
type Slab[T any] struct {
	mu   sync.Mutex
	free []T
}

// atOnce is how many values are one object. One less than a power of two leaves room for the allocator's header.
const atOnce = 63

// New gives a value that nobody else has.
func (s *Slab[T]) New() *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.free) == 0 {
		s.free = make([]T, atOnce)
	}
	v := &s.free[0]
	s.free = s.free[1:]
	return v
}
