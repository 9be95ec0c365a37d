package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
)

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

func TestC10ConnectionsThatComeToNothingCostFewLines(t *testing.T) {
	var lines bytes.Buffer
	n := &Node{config: config(t)}
	n.log = zerolog.New(&lines)
	server := n.server(nil)
	for range 100 {
		server.ErrorLog.Print("http: TLS handshake error")
	}
	if got := strings.Count(lines.String(), "handshake"); got == 0 || got > 10 {
		t.Errorf("%d lines of 100", got)
	}
}

// A request ends when its client hangs up, in order or by a reset.
func TestAClientThatHangsUpIsNoticed(t *testing.T) {
	t.Parallel()
	for name, hangUp := range map[string]func(client *net.TCPConn) error{
		"in order": func(client *net.TCPConn) error { return client.Close() },
		"by reset": func(client *net.TCPConn) error { return errors.Join(client.SetLinger(0), client.Close()) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began, ended := make(chan struct{}), make(chan error, 1)
			n := answering(t, func(_ http.ResponseWriter, r *http.Request) {
				_, err := io.Copy(io.Discard, r.Body)
				close(began)
				<-r.Context().Done()
				ended <- errors.Join(err, r.Context().Err())
			})
			client := n.dial(t)
			send(t, client, "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}")
			soon(t, began)
			if err := hangUp(client.(*net.TCPConn)); err != nil {
				t.Fatal(err)
			}
			if err := soon(t, ended); !errors.Is(err, context.Canceled) {
				t.Errorf("its context ended with %v", err)
			}
		})
	}
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
	if n.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
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
