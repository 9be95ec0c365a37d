// Package network puts a distance between a node and its database.
//
// A Relay listens on loopback and hands every byte on a fixed time after it came, in both directions. It needs no privileges.
// One thread delivers everything: the delay is the same for all bytes, so what came first is due first.
// The thread sleeps in the kernel, because the runtime's timers can be a millisecond late.
//
// A relay costs CPU time on the machine that it shares with what is measured. The bench measures that time and reports it.
package network

import (
	"net"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Relay passes connections on to a server. It serves from Listen until Close.
type Relay struct {
	listener net.Listener
	upstream string
	oneWay   time.Duration
	line     chan parcel

	mu     sync.Mutex
	conns  map[net.Conn]bool // open ones
	closed bool
	all    sync.WaitGroup // what accepts and reads
	end    chan struct{}  // is closed when the last parcel is delivered
}

// parcel is some bytes on their way. Without bytes, it ends the connection.
type parcel struct {
	due   time.Time
	to    net.Conn
	bytes []byte
}

// Listen starts a relay to a server, which delays each direction by oneWay.
func Listen(upstream string, oneWay time.Duration) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{
		listener: listener, upstream: upstream, oneWay: oneWay,
		line: make(chan parcel, 4096), conns: map[net.Conn]bool{}, end: make(chan struct{}),
	}
	r.all.Go(r.accept)
	go r.deliver()
	return r, nil
}

// Addr is where the relay listens.
func (r *Relay) Addr() string { return r.listener.Addr().String() }

// Close ends all connections, and returns when nothing of the relay runs any more.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	r.closed = true
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.mu.Unlock()
	r.all.Wait()
	close(r.line)
	<-r.end
}

func (r *Relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", r.upstream)
		if err != nil {
			_ = client.Close()
			continue
		}
		if !r.add(client, server) {
			return
		}
		r.all.Go(func() { r.read(client, server) })
		r.all.Go(func() { r.read(server, client) })
	}
}

// add registers connections. A closed relay ends them instead, and gives false.
func (r *Relay) add(conns ...net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, conn := range conns {
		if r.closed {
			_ = conn.Close()
			continue
		}
		r.conns[conn] = true
	}
	return !r.closed
}

// read takes what one side sends until that side ends, and then ends the other side after the same delay.
func (r *Relay) read(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		due := time.Now().Add(r.oneWay)
		if n > 0 {
			r.line <- parcel{due, to, append([]byte(nil), buffer[:n]...)}
		}
		if err != nil {
			r.line <- parcel{due: due, to: to}
			return
		}
	}
}

func (r *Relay) deliver() {
	defer close(r.end)
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for p := range r.line {
		sleepUntil(p.due)
		if p.bytes == nil {
			r.finish(p.to)
			continue
		}
		_, _ = p.to.Write(p.bytes) // the reader of a broken connection ends it
	}
}

// finish closes one side of a connection.
func (r *Relay) finish(conn net.Conn) {
	_ = conn.Close()
	r.mu.Lock()
	delete(r.conns, conn)
	r.mu.Unlock()
}

// sleepUntil sleeps in the kernel. A signal can wake it early; then it sleeps again.
func sleepUntil(due time.Time) {
	for left := time.Until(due); left > 0; left = time.Until(due) {
		pause := syscall.NsecToTimespec(int64(left))
		_ = syscall.Nanosleep(&pause, nil)
	}
}
