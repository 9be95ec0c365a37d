package load

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Open is a run at a fixed rate.
type Open struct {
	Addrs       []string           // of nodes, asked in turn
	Offers      []string           // wanted in turn
	Run         string             // part of all keys and users
	User        func(i int) string // who makes the request; nil: each is somebody else's
	PerSecond   int
	Duration    time.Duration
	Grace       time.Duration // for the answers that are late at the end
	Connections int           // at most, over all of them; more requests than that wait for a connection, and their time counts
}

// Latencies is what came of it.
type Latencies struct {
	Due     int
	Refused int             // answered with something else than an acknowledgement, or not at all
	Unsent  int             // still waiting for a connection when the run was over: the server can't hold the rate
	Sorted  []time.Duration // of the acknowledged, each from when it was due
}

// Held reports whether the server took the rate: it acknowledged nearly everything in time.
func (l *Latencies) Held() bool { return len(l.Sorted)*100 >= l.Due*99 }

// Start sends until the run is over and everything that was sent is answered.
func (o *Open) Start(ctx context.Context) Latencies {
	total := int(o.Duration.Seconds() * float64(o.PerSecond))
	var clients []*Client
	for _, addr := range o.Addrs {
		client := NewClient(addr, o.Connections, 10*time.Second)
		defer client.Close()
		clients = append(clients, client)
	}

	due := make(chan int, total) // so that the clock never waits
	start := time.Now()
	at := func(i int) time.Time {
		return start.Add(time.Duration(float64(i) / float64(o.PerSecond) * float64(time.Second)))
	}
	go func() {
		defer close(due)
		clock(ctx, total, at, func(i int) { due <- i })
	}()

	end := start.Add(o.Duration + o.Grace)
	perConnection := make([][]time.Duration, o.Connections)
	var refused, unsent atomic.Int64
	var all sync.WaitGroup
	for c := range o.Connections {
		all.Go(func() {
			for i := range due {
				if time.Now().After(end) {
					unsent.Add(1)
					continue
				}
				if o.send(clients[i%len(clients)], i) {
					perConnection[c] = append(perConnection[c], time.Since(at(i)))
				} else {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	l := Latencies{Due: total, Refused: int(refused.Load()), Unsent: int(unsent.Load()), Sorted: slices.Concat(perConnection...)}
	slices.Sort(l.Sorted)
	return l
}

// send makes request i, and reports whether it was acknowledged.
func (o *Open) send(client *Client, i int) bool {
	key := fmt.Sprintf("%s-%d", o.Run, i)
	user := key
	if o.User != nil {
		user = o.User(i)
	}
	return client.redeem(Redemptions(o.Offers[i%len(o.Offers)]), key, user)
}

// clock calls tick for 0, 1, … at their times. It sleeps on a thread of its own, in the kernel: the runtime's timers may be a millisecond
// late on a quiet machine, and that would be counted as the server's.
func clock(ctx context.Context, n int, at func(i int) time.Time, tick func(i int)) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for i := range n {
		for {
			if ctx.Err() != nil {
				return
			}
			left := time.Until(at(i))
			if left <= 0 {
				break
			}
			pause := syscall.NsecToTimespec(int64(left))
			_ = syscall.Nanosleep(&pause, nil) // woken early, it sleeps again
		}
		tick(i)
	}
}
