package store_test

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// fate is what a proxy does with a COMMIT.
type fate int

const (
	pass        fate = iota
	cutBefore        // the server never hears of it
	cutAfter         // it takes effect, the reply is lost
	deliverLate      // the client is cut off at once, the server hears of it later
)

const lateBy = 60 * time.Millisecond

// proxy stands between a store and the server and loses COMMITs on request.
type proxy struct {
	listener net.Listener
	server   string
	fate     func() fate
	commands atomic.Int64 // packets that ask something

	mu      sync.Mutex
	conns   map[net.Conn]bool // of both sides
	creates []string          // statements that make tables
	wait    sync.WaitGroup
}

// through gives a DSN that goes by way of a new proxy.
func through(t *testing.T, dsn string, decide func() fate) (string, *proxy) {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := serve(listener, cfg.Addr, decide)
	t.Cleanup(p.stop)
	cfg.Addr = listener.Addr().String()
	return cfg.FormatDSN(), p
}

func serve(listener net.Listener, server string, decide func() fate) *proxy {
	p := &proxy{listener: listener, server: server, fate: decide, conns: map[net.Conn]bool{}}
	p.wait.Go(p.accept)
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			_ = client.Close()
			continue
		}
		p.keep(client, server)
		p.wait.Go(func() { _, _ = io.Copy(client, server); _ = client.Close() })
		p.wait.Go(func() { p.forward(client, server); p.drop(client, server) })
	}
}

// forward passes the client's packets on, one by one.
func (p *proxy) forward(client, server net.Conn) {
	header := make([]byte, 4)
	for {
		if _, err := io.ReadFull(client, header); err != nil {
			return
		}
		size := binary.LittleEndian.Uint32(header) & 0xffffff
		packet := append(make([]byte, 0, 4+size), header...)[:4+size]
		if _, err := io.ReadFull(client, packet[4:]); err != nil {
			return
		}
		if header[3] == 0 {
			p.commands.Add(1)
		}
		if statement, ok := strings.CutPrefix(string(packet[4:]), "\x03CREATE TABLE "); ok {
			p.mu.Lock()
			p.creates = append(p.creates, statement)
			p.mu.Unlock()
		}
		now := pass
		if string(packet[4:]) == "\x03COMMIT" {
			now = p.fate()
		}
		switch now {
		case cutBefore:
			return
		case cutAfter:
			_ = client.Close()
		case deliverLate:
			_ = client.Close()
			<-time.After(lateBy)
		}
		if _, err := server.Write(packet); err != nil || now != pass {
			if now != pass { // let the server run it before its client is gone
				<-time.After(lateBy / 10)
			}
			return
		}
	}
}

func (p *proxy) keep(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = true
	}
}

func (p *proxy) drop(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		_ = c.Close()
		delete(p.conns, c)
	}
}

// stop cuts all connections and takes no more.
func (p *proxy) stop() {
	_ = p.listener.Close()
	p.mu.Lock()
	for c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wait.Wait()
}
