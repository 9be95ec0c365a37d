package node

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// accepted gives both ends of a connection of a listener.
func accepted(t *testing.T) (server, client net.Conn) {
	t.Helper()
	l, err := listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	return server, client
}

func TestAConnectionIsReadOnlyUnderADeadline(t *testing.T) {
	t.Parallel()
	server, client := accepted(t)
	send(t, client, "ab")
	read := func(by time.Time, want string, wantErr error) {
		t.Helper()
		if err := server.SetReadDeadline(by); err != nil {
			t.Fatal(err)
		}
		var p [1]byte
		n, err := server.Read(p[:])
		if got := string(p[:n]); got != want || !errors.Is(err, wantErr) {
			t.Errorf("read %q, %v; want %q, %v", got, err, want, wantErr)
		}
	}
	soon := time.Now().Add(time.Minute)
	read(soon, "a", nil)
	read(time.Time{}, "", nil)
	read(time.Unix(1, 0), "", os.ErrDeadlineExceeded)
	read(soon, "b", nil)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	read(time.Time{}, "", nil)
	read(soon, "", io.EOF)
}

// What net/http reads from such a connection it gets, however the client cuts it up and whatever becomes of it.
func TestRequestsArriveHoweverTheyAreCutUp(t *testing.T) {
	t.Parallel()
	n := start(t, config(t))
	n.ready(200)
	n.offer("o", `"mode":"fast"`)
	const body = `{"user_id":"u"}`
	post := func(path, key, header, body string) string {
		return "POST " + path + " HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: " + key + "\r\n" + header + "\r\n" + body
	}
	redemption := func(key string, padding int) string {
		return post("/v1/offers/o/redemptions", key, fmt.Sprintf("X-Padding: %s\r\nContent-Length: %d\r\n", strings.Repeat("x", padding), len(body)), body)
	}
	cut := func(s string, at int) []string { return []string{s[:at], s[at:]} }
	const buffer = 4096 // of net/http
	client := n.dial(t)
	answers := bufio.NewReader(client)
	for name, c := range map[string]struct {
		writes []string
		want   []int
	}{
		"byte by byte":        {strings.Split(redemption("bytes", 0), ""), []int{201}},
		"two at once":         {[]string{redemption("first", 0) + redemption("second", 0)}, []int{201, 201}},
		"one and a bit":       {cut(redemption("whole", 0)+redemption("bit", 0), len(redemption("whole", 0))+1), []int{201, 201}},
		"body later":          {cut(redemption("head", 0), len(redemption("head", 0))-len(body)), []int{201}},
		"a buffer but a byte": {cut(redemption("long", buffer), buffer-1), []int{201}},
		"a buffer":            {cut(redemption("full", buffer), buffer), []int{201}},
		"a buffer and a byte": {cut(redemption("over", buffer), buffer+1), []int{201}},
		"chunks": {[]string{
			post("/v1/offers/o/redemptions", "chunks", "Transfer-Encoding: chunked\r\nTrailer: X-End\r\n", ""),
			fmt.Sprintf("%x\r\n%s\r\n", len(body), body), "0\r\n", "X-End: 1\r\n\r\n",
		}, []int{201}},
		"body on request": {[]string{
			post("/v1/offers/o/redemptions", "asked", fmt.Sprintf("Expect: 100-continue\r\nContent-Length: %d\r\n", len(body)), ""), body,
		}, []int{100, 201}},
		"body that nobody reads": {[]string{post("/nowhere", "k", fmt.Sprintf("Content-Length: %d\r\n", len(body)), body)}, []int{404}},
	} {
		for _, write := range c.writes {
			send(t, client, write)
		}
		for _, want := range c.want {
			answer, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			text, err := io.ReadAll(answer.Body)
			if err != nil || answer.StatusCode != want {
				t.Fatalf("%s: %d %s (%v), want %d", name, answer.StatusCode, text, err, want)
			}
		}
	}
}

func TestABodyThatDoesNotComeEndsAtItsTimeOut(t *testing.T) {
	t.Parallel()
	ended := make(chan error, 1)
	n := &Node{config: config(t)}
	n.http = n.server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, err := io.Copy(io.Discard, r.Body)
		ended <- err
	}))
	n.http.ReadTimeout = 50 * time.Millisecond
	n.serves(t)
	send(t, n.dial(t), "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{")
	if err := soon(t, ended); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("reading it ended with %v", err)
	}
}

// net/http must not ask again and again whether the client has hung up.
func TestAWaitTakesOneRead(t *testing.T) {
	t.Parallel()
	l := &readCounter{}
	ended := make(chan int64, 1)
	n := &Node{config: config(t)}
	server := n.server(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		before := l.reads.Load()
		time.Sleep(50 * time.Millisecond) // in which it would read thousands of times
		ended <- l.reads.Load() - before
	}))
	server.ConnContext = nil
	var err error
	if l.listener, err = listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(l) }()
	defer server.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send(t, client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
	if reads := soon(t, ended); reads > 1 {
		t.Errorf("%d reads in one wait", reads)
	}
}

// readCounter counts the reads of its connections.
type readCounter struct {
	*listener
	reads atomic.Int64
}

func (l *readCounter) Accept() (net.Conn, error) {
	c, err := l.listener.Accept()
	return &countedConn{c, &l.reads}, err
}

type countedConn struct {
	net.Conn
	reads *atomic.Int64
}

func (c *countedConn) Read(p []byte) (int, error) {
	c.reads.Add(1)
	return c.Conn.Read(p)
}

// Who hangs up while a handler runs is noticed, and who has sent the next request already, or just waits, is not taken for one.
func TestAClientThatHangsUpIsNoticed(t *testing.T) {
	t.Parallel()
	for name, hangUp := range map[string]func(client *net.TCPConn) error{
		"in order": func(client *net.TCPConn) error { return client.Close() },
		"by reset": func(client *net.TCPConn) error { return errors.Join(client.SetLinger(0), client.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, ended, answer := make(chan struct{}, 1), make(chan error, 1), make(chan struct{})
			n := answering(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				began <- struct{}{}
				select {
				case <-answer:
				case <-r.Context().Done():
					err = errors.Join(err, r.Context().Err())
				}
				ended <- err
			})
			client := n.dial(t)
			const request = "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
			send(t, client, request)
			soon(t, began)
			n.listener.stays(t)
			send(t, client, request)
			n.listener.stays(t)
			answer <- struct{}{}
			if err := soon(t, ended); err != nil {
				t.Error(err)
			}
			if _, err := http.ReadResponse(bufio.NewReader(client), nil); err != nil { // what was not read would make it a reset
				t.Error(err)
			}
			soon(t, began) // the second one
			if err := hangUp(client.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			go n.listener.watch(ctx)
			if err := soon(t, ended); !errors.Is(err, context.Canceled) {
				t.Errorf("its context ended with %v", err)
			}
		})
	}
}

// A request that is answered between two looks is not in the same wait as another one on its connection.
func TestOnlyLongWaitsAreLookedAt(t *testing.T) {
	t.Parallel()
	server, _ := accepted(t)
	c := server.(*conn)
	looked := func(want bool) {
		t.Helper()
		if got := slices.Contains(c.listener.waiting(), c); got != want {
			t.Errorf("looked at: %v, want %v", got, want)
		}
	}
	wait := func(by time.Time) {
		t.Helper()
		if err := c.SetReadDeadline(by); err != nil {
			t.Fatal(err)
		}
	}
	soon := time.Now().Add(time.Minute)
	looked(false)
	wait(soon)
	looked(false)
	wait(time.Time{})
	looked(false)
	wait(time.Time{}) // it is the same wait
	looked(true)
	looked(true)
	wait(soon)
	wait(time.Time{})
	looked(false)
	looked(true)
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	looked(false)
}

func TestADrainEndsTheRequestsThatAreLeft(t *testing.T) {
	t.Parallel()
	began, ended := make(chan struct{}), make(chan struct{})
	n := answering(t, func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
		close(ended)
	})
	send(t, n.dial(t), "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
	soon(t, began)
	atOnce, cancel := context.WithCancel(t.Context())
	cancel()
	n.stopServing(atOnce)
	soon(t, ended)
}

// answering is the HTTP server of a node, with a handler of the test's.
func answering(t *testing.T, handler http.HandlerFunc) *Node {
	t.Helper()
	n := &Node{config: config(t)}
	n.http = n.server(handler)
	n.serves(t)
	return n
}

func (n *Node) serves(t *testing.T) {
	t.Helper()
	var err error
	if n.listener, err = listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.http.Serve(n.listener) }()
	t.Cleanup(func() { _ = n.http.Close() })
}

// soon gives what comes, which it does in no time unless something is broken.
func soon[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		t.Fatal("it does not come")
	}
	return v
}

func (n *Node) dial(t *testing.T) net.Conn {
	t.Helper()
	client, err := net.Dial("tcp", n.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	return client
}

func send(t *testing.T, client net.Conn, text string) {
	t.Helper()
	if _, err := client.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
}

// stays fails the test unless the one connection waits, and its client has not hung up.
func (l *listener) stays(t *testing.T) {
	t.Helper()
	_ = l.waiting()
	long := l.waiting()
	if len(long) != 1 {
		t.Fatalf("%d connections wait, want one", len(long))
	}
	if long[0].hungUp() {
		t.Error("its client is taken for one that has hung up")
	}
}
