package systemtest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// shop redeems over the nodes of a fleet and keeps its own record of what it was told.
type shop struct {
	t     *testing.T
	offer string
	doors []*door
	turn  atomic.Int64

	mu        sync.Mutex
	acked     map[string]acked         // by key
	refused   map[string]refusal       // by key: final answers
	undecided map[string]*order        // by key
	problems  map[string]int           // how often each problem was heard, retried ones included
	slowest   map[string]time.Duration // the longest wait for each
	longest   time.Duration            // the longest wait for anything, acknowledgements and lost connections included
	lost      int                      // requests without an answer
	malformed []error

	turnedAway atomic.Int64 // orders that found the shop full
}

// door is a node with a bound on the requests that wait in front of it, as a load balancer has: a frozen node must not swallow the
// whole shop.
type door struct {
	*node
	places chan struct{}
}

const placesPerNode = 64

// order is one redemption that the shop wants, tried until it is decided.
type order struct {
	key, user string
	units     int64
	// doubtful: an attempt had no answer, or one that left the outcome open.
	doubtful bool
}

// orderID is what the shop itself calls an order.
func (o *order) orderID() string { return "cart-of-" + o.key }

type acked struct {
	order
	id       string
	replayed bool
	recorded string
}

type refusal struct {
	order
	problem string
}

func newShop(f *fleet, offerID string) *shop {
	s := &shop{
		t: f.t, offer: offerID, acked: map[string]acked{}, refused: map[string]refusal{},
		undecided: map[string]*order{}, problems: map[string]int{}, slowest: map[string]time.Duration{},
	}
	for _, n := range f.nodes {
		s.doors = append(s.doors, &door{n, make(chan struct{}, placesPerNode)})
	}
	return s
}

// serve decides all orders from the channel, with that many workers. It returns when the channel is closed and everything is
// decided, or when ctx ends; what is open then stays undecided.
func (s *shop) serve(ctx context.Context, workers int, orders <-chan order) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for o := range orders {
				s.decide(ctx, o)
			}
		})
	}
	all.Wait()
}

// open lets orders come in at a rate until the returned function is called, which then waits until all of them are decided.
// An order that finds no worker free is lost, as a customer who finds the shop full is.
func (s *shop) open(perSecond int, next func(i int) order) (closeShop func()) {
	orders := make(chan order)
	coming, stop := context.WithCancel(s.t.Context())
	deciding, giveUp := context.WithCancel(s.t.Context())
	var running sync.WaitGroup
	running.Go(func() { s.serve(deciding, placesPerNode*len(s.doors), orders) })
	running.Go(func() {
		defer close(orders)
		s.arrivals(coming, perSecond, func(i int) {
			select {
			case orders <- next(i):
			default:
				s.turnedAway.Add(1)
			}
		})
	})
	return func() {
		s.t.Helper()
		stop()
		tooLate := time.AfterFunc(45*time.Second, giveUp)
		running.Wait()
		tooLate.Stop()
		giveUp()
	}
}

// arrivals calls arrive so many times a second until ctx ends. Where the machine was too busy to keep up, the next ones come closer
// together.
func (s *shop) arrivals(ctx context.Context, perSecond int, arrive func(i int)) {
	const atOnce = 16 // so that a pause does not fill the shop in one go
	tick := time.NewTicker(max(time.Second/time.Duration(perSecond), 2*time.Millisecond))
	defer tick.Stop()
	opened := time.Now()
	for i := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int(time.Since(opened).Seconds() * float64(perSecond))
		for range min(due-i, atOnce) {
			arrive(i)
			i++
		}
	}
}

// decide tries an order at one node after the other until it is acknowledged or refused for good.
func (s *shop) decide(ctx context.Context, o order) {
	s.mu.Lock()
	s.undecided[o.key] = &o
	s.mu.Unlock()
	for ctx.Err() == nil {
		d := s.enter(ctx)
		if d == nil {
			return
		}
		decided := s.attempt(ctx, d.node, &o)
		<-d.places
		if decided {
			return
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// enter takes a place in front of the next node that has one.
func (s *shop) enter(ctx context.Context) *door {
	for {
		first := int(s.turn.Add(1))
		for i := range s.doors {
			d := s.doors[(first+i)%len(s.doors)]
			select {
			case d.places <- struct{}{}:
				return d
			default:
			}
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// attempt sends an order to a node once, and reports whether that decided it.
func (s *shop) attempt(ctx context.Context, n *node, o *order) bool {
	sent := time.Now()
	a, err := n.send(ctx, http.MethodPost, redemptionsOf(s.offer), o.key,
		map[string]any{"user_id": o.user, "order_id": o.orderID(), "units": o.units})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.longest = max(s.longest, time.Since(sent))
	var broken malformed
	switch {
	case errors.As(err, &broken):
		s.malformed = append(s.malformed, broken)
		return false
	case err != nil:
		o.doubtful = true
		s.lost++
		return false
	case a.status == http.StatusCreated:
		return s.acknowledged(o, a)
	}
	s.problems[a.problem.Type]++
	s.slowest[a.problem.Type] = max(s.slowest[a.problem.Type], time.Since(sent))
	switch {
	case a.is("budget-exhausted"), a.is("budget-insufficient"), a.is("user-limit-reached"):
		s.refused[o.key] = refusal{*o, a.problem.Type}
		delete(s.undecided, o.key)
		return true
	case a.is("ledger-unavailable"):
		if a.problem.Outcome != "not_redeemed" && a.problem.Outcome != "unknown" {
			s.malformed = append(s.malformed, fmt.Errorf("no outcome: %v", a))
		}
		o.doubtful = o.doubtful || a.problem.Outcome != "not_redeemed"
	case a.is("ledger-busy"), a.is("overloaded"), a.is("draining"), a.is("budget-held"), a.is("request-in-flight"),
		a.is("offer-not-active"): // paused
	default:
		s.malformed = append(s.malformed, fmt.Errorf("an answer that nobody expects: %v", a))
	}
	return false
}

// acknowledged writes a success down. The caller holds mu.
func (s *shop) acknowledged(o *order, a *answer) bool {
	var r redemption
	if err := json.Unmarshal(a.body, &r); err != nil {
		s.malformed = append(s.malformed, fmt.Errorf("%w: %v", err, a))
		return false
	}
	if r.IdempotencyKey != o.key || r.UserID != o.user || r.Units != o.units || r.State != "redeemed" {
		s.malformed = append(s.malformed, fmt.Errorf("asked for %+v, got %v", *o, a))
	}
	if r.Recorded != "ledger" && r.Recorded != "journal" {
		s.malformed = append(s.malformed, fmt.Errorf("recorded where? %v", a))
	}
	if before, again := s.acked[o.key]; again && before.id != r.ID {
		s.malformed = append(s.malformed, fmt.Errorf("%s was acknowledged as %s and as %s", o.key, before.id, r.ID))
	}
	s.acked[o.key] = acked{*o, r.ID, a.replayed, r.Recorded}
	delete(s.undecided, o.key)
	return true
}

func (s *shop) ackedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.acked)
}

// recordedIn counts the acknowledgements that said that they are recorded there.
func (s *shop) recordedIn(where string) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.acked {
		if a.recorded == where {
			n++
		}
	}
	return n
}

func (s *shop) problemCount(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.problems["/problems/"+name]
}

// awaitAcked waits until that many more redemptions are acknowledged: the shop is busy.
func (s *shop) awaitAcked(more int, within time.Duration) {
	s.t.Helper()
	want := s.ackedCount() + more
	eventually(s.t, within, func(context.Context) error {
		if got := s.ackedCount(); got < want {
			return fmt.Errorf("%d of %d redemptions acknowledged; problems heard: %v", got, want, s.heard())
		}
		return nil
	})
}

func (s *shop) heard() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%v, slowest %v, any answer %v, none %d times", s.problems, s.slowest, s.longest, s.lost)
}

// compare holds the shop's record against the books.
func (s *shop) compare(b *books) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, err := range s.malformed[:min(5, len(s.malformed))] {
		s.t.Error(err)
	}
	if len(s.undecided) > 0 {
		s.t.Errorf("%d orders were never decided", len(s.undecided))
	}
	redeems := b.redeems()
	for key, entries := range redeems {
		if len(entries) > 1 {
			s.t.Errorf("%s is in the books %d times", key, len(entries))
		}
	}
	for key, a := range s.acked {
		entries := redeems[key]
		if len(entries) != 1 {
			s.t.Errorf("%s was acknowledged and is in the books %d times", key, len(entries))
		} else if e := entries[0]; e.user != a.user || e.units != a.units || e.order != a.orderID() {
			s.t.Errorf("%s: acknowledged %d units to %s for %s, the books say %d to %s for %s",
				key, a.units, a.user, a.orderID(), e.units, e.user, e.order)
		}
	}
	for key, r := range s.refused {
		if len(redeems[key]) > 0 {
			s.t.Errorf("%s was refused (%s, in doubt before: %v) and is in the books", key, r.problem, r.doubtful)
		}
	}
	for key, o := range s.undecided {
		if len(redeems[key]) > 0 && !o.doubtful {
			s.t.Errorf("%s was answered not_redeemed each time and is in the books", key)
		}
	}
	for key := range redeems {
		_, known := s.acked[key]
		if _, open := s.undecided[key]; !known && !open {
			s.t.Errorf("%s is in the books and was not acknowledged", key)
		}
	}
}

// audit reads the books, and holds them against themselves and against the shop.
func (s *shop) audit(f *fleet) *books {
	s.t.Helper()
	b := f.readBooks(s.offer)
	b.check(s.t)
	s.compare(b)
	return b
}

// watchBalance asks all nodes for the balance, in turn, until the returned function is called, and checks each answer.
// Refusals are for the scenario to judge; an answer that is there has to add up.
func (f *fleet) watchBalance(offerID string) (stop func() int) {
	ctx, cancel := context.WithCancel(f.t.Context())
	answers := make(chan int)
	go func() {
		seen := 0
		tick := time.NewTicker(25 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			a, err := f.nodes[i%len(f.nodes)].send(ctx, http.MethodGet, "/v1/offers/"+offerID+"/balance", "", nil)
			if err == nil && a.status == http.StatusOK {
				seen++
				if _, err := readBalance(a); err != nil {
					f.t.Error(err)
				}
			}
			select {
			case <-tick.C:
			case <-ctx.Done():
			}
		}
		answers <- seen
	}()
	return func() int { cancel(); return <-answers }
}
