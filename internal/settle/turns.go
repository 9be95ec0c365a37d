package settle

import "context"

// Of the store's connections, whoever waits for an answer must always find one: a batch of requests, a grant, a look-up. So the others
// take turns.
const (
	bookingsAtOnce = 8
	backlogsAtOnce = 1  // whole batches of what is owed, in a burst: more would leave too little of the processors to requests
	cartsAtOnce    = 16 // each does less with its connection than a batch
)

// turns bounds what runs at once: its capacity. Who came first has the next turn.
type turns chan struct{}

// take waits for a turn. It gives false when ctx ended first.
func (t turns) take(ctx context.Context) bool {
	select {
	case t <- struct{}{}:
		return true
	case <-ctx.Done():
		return false
	}
}

// end ends a turn, if t is any.
func (t turns) end() {
	if t != nil {
		<-t
	}
}
