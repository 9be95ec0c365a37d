// Package slab allocates many values at a time, so that those which are kept for long are few objects to the garbage collector: it looks at
// each object that is kept, at every collection, and finds it in no cache.
package slab

import "sync"

// Slab gives out zero values of T. It is for values that go in about the order in which they came: one that stays keeps its whole chunk,
// and all that the others point to, in memory. The zero Slab is ready, and safe for concurrent use.
type Slab[T any] struct {
	open sync.Pool // of *chunk[T] that have room
}

// perChunk is how many values are one object.
const perChunk = 64

type chunk[T any] struct {
	values [perChunk]T
	given  int
}

// New gives a value that nobody else has.
func (s *Slab[T]) New() *T {
	c, ok := s.open.Get().(*chunk[T])
	if !ok {
		c = new(chunk[T])
	}
	v := &c.values[c.given]
	if c.given++; c.given < perChunk {
		s.open.Put(c)
	}
	return v
}
