package journal

import (
	"context"
	"fmt"
	"sync"
)

// maxGroups bounds what waits to be written, together with the size of a group.
const maxGroups = 8

// maxGroupBytes keeps one write, and so the time until the next one can begin, short.
const maxGroupBytes = 1 << 20

// group is records that are written, synced and acknowledged together.
type group struct {
	buf   []byte // the writer's, once it has taken the group
	count int
	done  chan struct{}
	// Set before done is closed, and never again.
	first uint64
	err   error
}

// Ticket is a record on its way to the disk. It is safe for concurrent use.
type Ticket struct {
	group *group
	index int
}

// Done is closed when Wait will not wait.
func (t Ticket) Done() <-chan struct{} { return t.group.done }

// Wait gives the record's sequence once it is durable. When ctx ends first it gives ErrUnknown; the writing goes on, and
// Wait can be called again for its outcome.
func (t Ticket) Wait(ctx context.Context) (uint64, error) {
	select {
	case <-t.group.done:
	default:
		select {
		case <-t.group.done:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
		}
	}
	if t.group.err != nil {
		return 0, t.group.err
	}
	return t.group.first + uint64(t.index), nil
}

// queue is what waits to be written. Records join its last group; the writer takes the first.
type queue struct {
	limit int           // bytes in a group
	wake  chan struct{} // of the writer

	mu     sync.Mutex
	groups []*group
	spare  [][]byte // buffers of groups that were written
	closed error
}

func newQueue(limit int) *queue { return &queue{limit: limit, wake: make(chan struct{}, 1)} }

func (q *queue) add(kind byte, payload []byte) (Ticket, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed != nil {
		return Ticket{}, q.closed
	}
	g, err := q.open(recordSize(len(payload)))
	if err != nil {
		return Ticket{}, err
	}
	g.buf = appendRecord(g.buf, kind, payload)
	g.count++
	return Ticket{group: g, index: g.count - 1}, nil
}

// open gives a group that has room.
func (q *queue) open(size int) (*group, error) {
	n := len(q.groups)
	if n > 0 && len(q.groups[n-1].buf)+size <= q.limit {
		return q.groups[n-1], nil
	}
	if n == maxGroups {
		return nil, ErrOverloaded
	}
	g := &group{done: make(chan struct{})}
	if last := len(q.spare) - 1; last >= 0 {
		g.buf, q.spare = q.spare[last], q.spare[:last]
	}
	q.groups = append(q.groups, g)
	if n == 0 {
		select {
		case q.wake <- struct{}{}:
		default: // the writer has been told already
		}
	}
	return g, nil
}

// take gives the next group to write, or nil.
func (q *queue) take() *group {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.groups) == 0 {
		return nil
	}
	g := q.groups[0]
	q.groups = append(q.groups[:0], q.groups[1:]...)
	return g
}

// resolve tells all who wait for a group what came of it.
func (q *queue) resolve(g *group, first uint64, err error) {
	buf := g.buf
	g.buf, g.first, g.err = nil, first, err
	close(g.done)
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.spare) < 2 {
		q.spare = append(q.spare, buf[:0])
	}
}

// close refuses all that waits, and all that comes.
func (q *queue) close(err error) {
	q.mu.Lock()
	if q.closed == nil {
		q.closed = err
	}
	q.mu.Unlock()
	for g := q.take(); g != nil; g = q.take() {
		q.resolve(g, 0, err)
	}
}

func (q *queue) waits() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.groups) > 0
}

// gathered is how many records the next group has.
func (q *queue) gathered() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.groups) == 0 {
		return 0
	}
	return q.groups[0].count
}
