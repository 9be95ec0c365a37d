package faultproxy

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"
)

// patience is how long a test waits for what must happen. The largest packet has 16 MiB, which takes the race detector more than ten
// seconds on a busy machine.
const patience = time.Minute

// fakeServer speaks just enough of the protocol: a greeting, a login, and a reply to each command.
type fakeServer struct {
	listener net.Listener
	commands chan string   // what clients sent, in order
	ended    chan struct{} // one item for each connection that its client ended
	refuses  atomic.Bool   // answer commands with an error
}

func startServer(t *testing.T) *fakeServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &fakeServer{listener: listener, commands: make(chan string, 100), ended: make(chan struct{}, 100)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go s.serve(conn)
		}
	}()
	t.Cleanup(func() { listener.Close(); <-done })
	return s
}

func (s *fakeServer) serve(conn net.Conn) {
	defer func() { conn.Close(); s.ended <- struct{}{} }()
	r := bufio.NewReader(conn)
	_ = send(conn, 0, "greeting") // a client that is gone shows at the next read
	if login, err := receive(r); err != nil || login != "login" {
		return
	}
	_ = send(conn, 2, "\x00")
	for {
		command, err := receive(r)
		if err != nil {
			return
		}
		s.commands <- command
		reply := "\x00ok"
		if s.refuses.Load() {
			reply = "\xffno"
		}
		if send(conn, 1, reply) != nil {
			return
		}
	}
}

// next gives the next command that reached the server.
func (s *fakeServer) next(t *testing.T) string {
	t.Helper()
	select {
	case command := <-s.commands:
		return command
	case <-time.After(patience):
		t.Fatal("no command reached the server")
		return ""
	}
}

// sees fails the test unless the server's next command is want.
func (s *fakeServer) sees(t *testing.T, want string) {
	t.Helper()
	if got := s.next(t); got != want {
		t.Fatalf("the server got %.40q, want %.40q", got, want)
	}
}

// seesNothing fails the test if a command has reached the server.
func (s *fakeServer) seesNothing(t *testing.T) {
	t.Helper()
	select {
	case got := <-s.commands:
		t.Fatalf("the server got %.40q", got)
	default:
	}
}

func (s *fakeServer) seesTheEnd(t *testing.T) {
	t.Helper()
	select {
	case <-s.ended:
	case <-time.After(patience):
		t.Fatal("the connection to the server did not end")
	}
}

const maxFrame = 1<<24 - 1

// send writes a message in as many frames as it takes.
func send(w io.Writer, seq byte, message string) error {
	var buf bytes.Buffer
	for {
		n := min(len(message), maxFrame)
		buf.Write([]byte{byte(n), byte(n >> 8), byte(n >> 16), seq})
		buf.WriteString(message[:n])
		message, seq = message[n:], seq+1
		if n < maxFrame {
			_, err := w.Write(buf.Bytes())
			return err
		}
	}
}

// receive reads a message of one or more frames.
func receive(r io.Reader) (string, error) {
	var message bytes.Buffer
	for {
		var header [4]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			return "", err
		}
		n := int64(header[0]) | int64(header[1])<<8 | int64(header[2])<<16
		if _, err := io.CopyN(&message, r, n); err != nil {
			return "", err
		}
		if n < maxFrame {
			return message.String(), nil
		}
	}
}

// client is a logged-in connection through the proxy.
type client struct {
	net.Conn
	t *testing.T
}

func dial(t *testing.T, p *Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	return talk(t, conn)
}

// talk makes a client of a connection.
func talk(t *testing.T, conn net.Conn) *client {
	t.Helper()
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &client{conn, t}
}

func connect(t *testing.T, p *Proxy) *client {
	t.Helper()
	c := dial(t, p)
	c.hears("greeting")
	c.says(1, "login")
	c.hears("\x00")
	return c
}

func (c *client) says(seq byte, message string) {
	c.t.Helper()
	if err := send(c, seq, message); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) query(sql string) {
	c.t.Helper()
	c.says(0, "\x03"+sql)
}

func (c *client) hears(want string) {
	c.t.Helper()
	got, err := receive(c)
	if err != nil || got != want {
		c.t.Fatalf("the client got %.40q, %v, want %.40q", got, err, want)
	}
}

// hearsTheEnd fails the test unless the connection is cut with nothing more to read.
func (c *client) hearsTheEnd() {
	c.t.Helper()
	n, err := c.Read(make([]byte, 1))
	if n != 0 || err == nil || isTimeout(err) {
		c.t.Fatalf("the client read %d bytes, %v, and should have been cut off", n, err)
	}
}

func isTimeout(err error) bool {
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout()
}
