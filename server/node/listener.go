package node

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tranche/internal/run"
)

// listener accepts connections of which only those are watched for their client to hang up whose request takes long.
//
// While a handler runs, net/http reads from its connection, to end the request's context when the client goes away. That takes a
// goroutine, a system call and some switches per request, a twentieth of what a redemption costs a node, and it is in vain for all that
// are answered within milliseconds. Here that read ends at once, and who waits for longer is looked after from time to time.
type listener struct {
	*net.TCPListener
	mu    sync.Mutex
	conns map[*conn]uint64 // with the number of the wait that each was in when it was looked at
}

func listen(address string) (*listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return &listener{TCPListener: l.(*net.TCPListener), conns: map[*conn]uint64{}}, nil
}

// Accept implements net.Listener.
func (l *listener) Accept() (net.Conn, error) {
	tcp, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c := &conn{TCPConn: tcp, listener: l, abandon: func() {}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns[c] = 0
	return c, nil
}

// hangUpTick is how often it is looked who has hung up: one who does is noticed within two ticks.
const hangUpTick = 100 * time.Millisecond

// watch looks who has hung up until ctx ends.
func (l *listener) watch(ctx context.Context) {
	for run.Pause(ctx, hangUpTick) {
		for _, c := range l.waiting() {
			if c.hungUp() {
				c.abandon()
			}
		}
	}
}

// waiting gives the connections that have been in the same wait since it was last called.
func (l *listener) waiting() (long []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c, before := range l.conns {
		wait := c.waits.Load()
		if wait == before {
			if isWait(wait) {
				long = append(long, c)
			}
			continue
		}
		l.conns[c] = wait
	}
	return long
}

// conn is a connection that has nothing to read for whoever would wait for ever. net/http takes the read deadline off to wait for the
// client to hang up, and leaves it off until the next time-out, without which it reads nothing else: the server has one for everything.
// A handler must not hijack such a connection.
type conn struct {
	*net.TCPConn
	listener *listener
	abandon  context.CancelFunc // ends the contexts of its requests
	waits    atomic.Uint64      // odd while there is no read deadline: the number of this wait
}

func isWait(n uint64) bool { return n%2 == 1 }

// withAbandon makes a context that ends when the client has hung up. It is a http.Server's ConnContext.
func withAbandon(ctx context.Context, c net.Conn) context.Context {
	ctx, c.(*conn).abandon = context.WithCancel(ctx)
	return ctx
}

// SetReadDeadline implements net.Conn.
func (c *conn) SetReadDeadline(t time.Time) error {
	if t.IsZero() != isWait(c.waits.Load()) {
		c.waits.Add(1)
	}
	if t.IsZero() {
		return nil // nothing is read
	}
	return c.TCPConn.SetReadDeadline(t)
}

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if isWait(c.waits.Load()) {
		return 0, nil
	}
	return c.TCPConn.Read(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.abandon()
	c.listener.mu.Lock()
	delete(c.listener.conns, c)
	c.listener.mu.Unlock()
	return c.TCPConn.Close()
}

// hungUp looks whether the next read would find the end, without reading.
func (c *conn) hungUp() (ended bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) {
		var next [1]byte
		n, _, err := unix.Recvfrom(int(fd), next[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		switch err {
		case nil:
			ended = n == 0
		case unix.EAGAIN, unix.EINTR:
		default:
			ended = true
		}
	})
	return ended || err != nil
}
