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

// What net/http reads from such a connection it gets, however the client cuts it up: also where net/http has room for one more byte only.
func TestRequestsArriveHoweverTheyAreCutUp(t *testing.T) {
	t.Parallel()
	n := start(t, config(t))
	n.ready(200)
	n.offer("o", `"mode":"fast"`)
	redemption := func(key string, padding int) string {
		body := `{"user_id":"u"}`
		return fmt.Sprintf("POST /v1/offers/o/redemptions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nIdempotency-Key: %s\r\nX-Padding: %s\r\nContent-Length: %d\r\n\r\n%s",
			key, strings.Repeat("x", padding), len(body), body)
	}
	const buffer = 4096 // of net/http
	client := n.dial(t)
	answers := bufio.NewReader(client)
	for name, writes := range map[string][]string{
		"byte by byte":        strings.Split(redemption("bytes", 0), ""),
		"two at once":         {redemption("first", 0) + redemption("second", 0)},
		"one and a bit":       {redemption("whole", 0) + redemption("bit", 0)[:1], redemption("bit", 0)[1:]},
		"body later":          {redemption("head", 0)[:len(redemption("head", 0))-15], `{"user_id":"u"}`},
		"a buffer but a byte": {redemption("long", buffer)[:buffer-1], redemption("long", buffer)[buffer-1:]},
		"a buffer":            {redemption("full", buffer)[:buffer], redemption("full", buffer)[buffer:]},
		"a buffer and a byte": {redemption("over", buffer)[:buffer+1], redemption("over", buffer)[buffer+1:]},
		"one byte at its end": {redemption("slow", buffer)[:buffer-1], redemption("slow", buffer)[buffer-1 : buffer], redemption("slow", buffer)[buffer:]},
	} {
		for _, write := range writes {
			send(t, client, write)
		}
		for range strings.Count(strings.Join(writes, ""), "POST ") {
			if err := readCreated(answers); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

// Who hangs up while a handler runs is noticed, and who has sent the next request already, or just waits, is not taken for one.
func TestAClientThatHangsUpIsNoticed(t *testing.T) {
	t.Parallel()
	began, ended, answer := make(chan struct{}), make(chan error, 1), make(chan struct{})
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
	<-began
	n.listener.stays(t)
	send(t, client, request)
	n.listener.stays(t)
	answer <- struct{}{}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-began // the second one
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go n.listener.watch(ctx)
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("its context ended with %v", err)
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
	<-began
	atOnce, cancel := context.WithCancel(t.Context())
	cancel()
	n.stopServing(atOnce)
	<-ended
}

// answering is the HTTP server of a node, with a handler of the test's.
func answering(t *testing.T, handler http.HandlerFunc) *Node {
	t.Helper()
	n := &Node{config: config(t)}
	n.http = n.server(handler)
	var err error
	if n.listener, err = listen("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	go func() { _ = n.http.Serve(n.listener) }()
	t.Cleanup(func() { _ = n.http.Close() })
	return n
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
	if len(long) != 1 || long[0].hungUp() {
		t.Errorf("of %d that wait, the client has hung up", len(long))
	}
}
