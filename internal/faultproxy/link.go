package faultproxy

import (
	"bufio"
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// link is one client's connection and the one to the server behind it.
//
// One goroutine carries each direction, and both sides are cut when either goroutine ends. A fault that outlives its client
// therefore stays in the upward one.
type link struct {
	proxy  *Proxy
	client net.Conn
	server net.Conn

	// committing is set by the client's direction before a COMMIT is handed on, and taken by the server's direction with the next
	// packet. The protocol is a strict exchange, so that packet is the reply.
	committing atomic.Pointer[pending]

	cutOnce sync.Once
	cutting chan struct{}
}

// pending is a COMMIT that is on its way to the server.
type pending struct {
	kind     CommitKind
	answered chan struct{}
}

// serve carries one client's connection until it ends.
func (p *Proxy) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	if err := p.pass(ctx); err != nil {
		reset(client)
		return
	}
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", p.upstream)
	if err != nil {
		reset(client)
		return
	}
	defer server.Close()
	l := &link{proxy: p, client: client, server: server, cutting: make(chan struct{})}
	if !p.add(l) {
		reset(client)
		return
	}
	defer p.remove(l)
	l.run(ctx)
}

// add registers l, unless connections came to be refused while it was being made.
func (p *Proxy) add(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.weather == Refuse {
		return false
	}
	p.links[l] = struct{}{}
	return true
}

func (p *Proxy) remove(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// reset closes a connection so that its client sees an error at once instead of an orderly end.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	conn.Close()
}

// cut ends both sides.
func (l *link) cut() { l.cutOnce.Do(func() { close(l.cutting) }) }

// run carries both directions. It returns when both have ended.
func (l *link) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var both sync.WaitGroup
	both.Go(func() { l.upward(ctx); l.cut() })
	both.Go(func() { l.downward(ctx); l.cut() })
	select {
	case <-l.cutting:
	case <-ctx.Done():
	}
	cancel()
	reset(l.client)
	l.server.Close()
	both.Wait()
}

// upward carries the client's packets, and the faults of its COMMITs.
func (l *link) upward(ctx context.Context) {
	from := bufio.NewReader(l.client)
	for {
		f, err := readFrame(from)
		if err != nil || wait(ctx, l.proxy.delay()) != nil || l.proxy.pass(ctx) != nil {
			return
		}
		if f.isCommit() {
			if !l.commit(ctx, f) {
				return
			}
			continue
		}
		if f.forward(l.server, from) != nil {
			return
		}
	}
}

// commit applies what was decided about a COMMIT. It reports whether the connection goes on.
func (l *link) commit(ctx context.Context, f frame) bool {
	fault := l.proxy.decide()
	switch fault.Kind {
	case CutBefore:
		l.proxy.done(CutBefore, true)
		return false
	case CutAfter:
		l.deliver(ctx, f, CutAfter)
		return false
	case CutEarly:
		reset(l.client)
		if wait(ctx, fault.After) == nil {
			l.deliver(ctx, f, CutEarly)
		}
		return false
	case Strand:
		// The client may give up and go; the server must not notice. It ends this by its own time-out.
		l.proxy.done(Strand, true)
		<-ctx.Done()
		return false
	default:
		l.committing.Store(&pending{kind: Deliver, answered: make(chan struct{})})
		return f.forward(l.server, nil) == nil
	}
}

// deliver hands a COMMIT to the server and waits for the reply, which the client does not get.
func (l *link) deliver(ctx context.Context, f frame, kind CommitKind) {
	commit := &pending{kind: kind, answered: make(chan struct{})}
	l.committing.Store(commit)
	if f.forward(l.server, nil) != nil {
		return
	}
	select {
	case <-commit.answered:
	case <-ctx.Done():
	}
}

// downward carries the server's packets, and swallows the replies that are to be lost.
func (l *link) downward(ctx context.Context) {
	from := bufio.NewReader(l.server)
	for {
		f, err := readFrame(from)
		if err != nil {
			return
		}
		if commit := l.committing.Swap(nil); commit != nil {
			l.proxy.done(commit.kind, f.saysOK())
			if commit.kind != Deliver {
				close(commit.answered)
				return
			}
		}
		if l.proxy.pass(ctx) != nil || f.forward(l.client, from) != nil {
			return
		}
	}
}
