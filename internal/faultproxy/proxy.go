package faultproxy

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Weather is how the proxy treats every connection.
type Weather int

// The kinds of weather.
const (
	// Pass hands everything on.
	Pass Weather = iota
	// Refuse cuts every connection, and new ones as soon as they are made: the database is down.
	Refuse
	// Blackhole accepts and then lets nothing through in either direction: the network is gone.
	// When it ends, what was held back arrives late, as retransmitted packets do.
	Blackhole
)

// CommitFault is what happens to one COMMIT.
type CommitFault struct {
	Kind CommitKind
	// After is how long a CutEarly COMMIT takes to reach the server.
	After time.Duration
}

// CommitKind is the kind of a CommitFault.
type CommitKind int

// The kinds of fault. The package comment says what each stands for.
const (
	Deliver CommitKind = iota
	CutBefore
	CutAfter
	CutEarly
	Strand
	kinds // how many there are
)

func (k CommitKind) String() string {
	return [...]string{"deliver", "cut before", "cut after", "cut early", "strand"}[k]
}

// Counts is how often each thing happened to a COMMIT.
type Counts struct {
	Seen int64 // COMMITs that clients sent
	// Done counts by kind the faults that ran to their end: for CutAfter and CutEarly those that the server confirmed.
	Done [kinds]int64
	// Refused counts COMMITs that the server answered with an error; they are in no other number.
	Refused int64
}

// Proxy stands in front of one database server. Make it with [Listen].
type Proxy struct {
	listener net.Listener
	upstream string

	mu       sync.Mutex
	weather  Weather
	changed  chan struct{} // closed and replaced when the weather changes
	latency  time.Duration
	onCommit func(n int64) CommitFault
	counts   Counts
	links    map[*link]struct{}
}

// Listen binds a free loopback port for a proxy of the server at upstream (host:port). Nothing is served before Run.
func Listen(upstream string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &Proxy{
		listener: listener,
		upstream: upstream,
		changed:  make(chan struct{}),
		onCommit: func(int64) CommitFault { return CommitFault{} },
		links:    map[*link]struct{}{},
	}, nil
}

// Addr is where clients connect, as host:port.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Run serves until ctx ends, then cuts everything and returns nil once all of it has stopped.
func (p *Proxy) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { p.listener.Close() })()
	for {
		conn, err := p.listener.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return err
		}
		running.Go(func() { p.serve(ctx, conn) })
	}
}

// SetWeather changes how all connections are treated from now on.
func (p *Proxy) SetWeather(w Weather) {
	p.mu.Lock()
	p.weather = w
	close(p.changed)
	p.changed = make(chan struct{})
	p.mu.Unlock()
	if w == Refuse {
		p.CutAll()
	}
}

// SetLatency makes every packet from a client, and so every statement, take d longer.
func (p *Proxy) SetLatency(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.latency = d
}

func (p *Proxy) delay() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.latency
}

// OnCommit has decide called for each COMMIT, with its number from 1. Calls never overlap, so that decide may hold a seeded
// random source. It must not call the proxy.
func (p *Proxy) OnCommit(decide func(n int64) CommitFault) {
	p.mu.Lock()
	p.onCommit = decide
	p.mu.Unlock()
}

// CutAll cuts the connections there are; new ones are served.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

// Counts gives the numbers so far.
func (p *Proxy) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts
}

// pass waits until a packet may go through: not at all in good weather. It fails when ctx ends or connections are refused.
func (p *Proxy) pass(ctx context.Context) error {
	for {
		p.mu.Lock()
		weather, changed := p.weather, p.changed
		p.mu.Unlock()
		switch weather {
		case Refuse:
			return errRefused
		case Pass:
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// decide counts a COMMIT and says what happens to it.
func (p *Proxy) decide() CommitFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts.Seen++
	return p.onCommit(p.counts.Seen)
}

func (p *Proxy) done(kind CommitKind, accepted bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if accepted {
		p.counts.Done[kind]++
	} else {
		p.counts.Refused++
	}
}

var errRefused = errors.New("faultproxy: connections are refused")

// wait takes d, or fails when ctx ends first.
func wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
