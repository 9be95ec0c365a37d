package node

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/storetest"
)

// fewConnections gives the DSN of an empty database whose user may have so many connections.
func fewConnections(t *testing.T, most int) string {
	t.Helper()
	cfg, err := mysql.ParseDSN(storetest.MySQL(t))
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	name := "few_" + cfg.DBName[max(0, len(cfg.DBName)-20):]
	t.Cleanup(func() {
		if _, err := db.Exec(fmt.Sprintf("DROP USER '%s'@'%%'", name)); err != nil {
			t.Error(err)
		}
		_ = db.Close()
	})
	for _, statement := range []string{
		fmt.Sprintf("CREATE USER '%s'@'%%' IDENTIFIED BY 'few' WITH MAX_USER_CONNECTIONS %d", name, most),
		fmt.Sprintf("GRANT ALL ON `%s`.* TO '%s'@'%%'", cfg.DBName, name),
	} {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
	cfg.User, cfg.Passwd = name, "few"
	return cfg.FormatDSN()
}

// offers is enough for each node to want more than a few connections at once.
const offers = 60

// threeNodes redeems five times from each offer on three nodes at once, and gives the nodes and how many were refused.
func threeNodes(t *testing.T, dsn string, conns int, log io.Writer) (nodes []*running, refused int) {
	t.Helper()
	for range 3 {
		c := config(t)
		c.DSN, c.DBConns, c.Logger = dsn, conns, zerolog.New(log)
		n := start(t, c)
		n.ready(200)
		nodes = append(nodes, n)
	}
	for i := range offers {
		nodes[0].offer(fmt.Sprint("o", i), `"mode":"strict"`)
	}
	var clients sync.WaitGroup
	var mu sync.Mutex
	for i := range offers {
		clients.Go(func() {
			for k := range 5 {
				status, _ := nodes[i%3].call("POST", fmt.Sprint("/v1/offers/o", i, "/redemptions"), `{"user_id":"u"}`, "Idempotency-Key", fmt.Sprint(k))
				if status != 201 {
					mu.Lock()
					refused++
					mu.Unlock()
				}
			}
		})
	}
	clients.Wait()
	return nodes, refused
}

func TestC9AFleetFitsIntoFewConnections(t *testing.T) {
	nodes, refused := threeNodes(t, fewConnections(t, 12), 4, io.Discard)
	if refused > 0 {
		t.Errorf("%d of 300 were refused", refused)
	}
	for _, n := range nodes {
		if d := n.degraded(200); len(d) > 0 {
			t.Errorf("degraded: %v", d)
		}
	}
}

// Nodes that may have more connections than the server gives say so, and serve with those that they get.
func TestC9ANodeTellsOfConnectionsThatItDoesNotGet(t *testing.T) {
	var log lines
	nodes, refused := threeNodes(t, fewConnections(t, 12), 0, &log)
	if refused > 3 { // of all connections a node may have none for a while
		t.Errorf("%d of 300 were refused", refused)
	}
	told := 0
	for _, n := range nodes {
		if strings.Contains(n.degraded(200)["connections"], "error 1226") {
			told++
		}
	}
	if told == 0 || !strings.Contains(log.String(), "error 1226") {
		t.Errorf("%d nodes tell; logged: %s", told, log.String())
	}
}

// A server without any connection to give is no reason to leave the load balancer, and the start says what it waits for.
func TestC9AStartNamesTheConnectionThatItWaitsFor(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write(append([]byte{23, 0, 0, 0, 0xff, 0x10, 0x04}, "Too many connections"...))
			_ = conn.Close()
		}
	}()
	c := config(t)
	c.DSN = "root@tcp(" + listener.Addr().String() + ")/nothing"
	n := start(t, c)
	n.until("the reason", func() bool {
		status, v := n.call("GET", "/readyz", "")
		return status == 503 && strings.Contains(fmt.Sprint(v["detail"]), "error 1040: max_connections")
	})
}

// lines is a log that may be read while it is written.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// MySQL gives 151 connections by default. One node at a time changes the tables, with four more, and people need some.
func TestC9FourNodesFitIntoTheServersDefault(t *testing.T) {
	if most := 4*DefaultDBConns + 4; most > 151-10 {
		t.Errorf("four nodes open %d connections", most)
	}
	c := config(t)
	for conns, ok := range map[int]bool{-1: false, 2: false, 3: true, 4: true, 1000: true, 1001: false} {
		c.DBConns = conns
		if err := c.Validate(); (err == nil) != ok {
			t.Errorf("%d connections: %v", conns, err)
		}
	}
}

// Clients' connections leave descriptors for all connections to the database that the settings allow.
func TestC3ClientsLeaveFilesToTheDatabase(t *testing.T) {
	for _, c := range []struct {
		files         uint64
		dbConns, want int
	}{
		{1024, 32, 768}, {4096, 1000, 2872}, {1024, 1000, 512}, {100, 32, 50}, {1 << 62, 32, 1<<20 - 256},
	} {
		if got := maxConnections(c.files, c.dbConns); got != c.want {
			t.Errorf("of %d files, %d for the database: %d connections of clients, want %d", c.files, c.dbConns, got, c.want)
		}
	}
}

func TestC9TroublesAreLoggedWhenTheyBeginAndEnd(t *testing.T) {
	var log lines
	clock := time.Unix(1000, 0)
	d := newDegraded(func() time.Time { return clock }, zerolog.New(&log), prometheus.NewRegistry())
	since := func(troubles map[string]string) (all []string) {
		clock = clock.Add(time.Second)
		for _, p := range d.review(troubles) {
			all = append(all, fmt.Sprint(p.Part, " ", p.Since.Time().Unix(), " ", p.Detail))
		}
		return all
	}
	for i, c := range []struct {
		troubles map[string]string
		want     []string
	}{
		{nil, nil},
		{map[string]string{partJournal: "full"}, []string{"journal 1002 full"}},
		{map[string]string{partJournal: "failed", partLedger: "away"}, []string{"journal 1002 failed", "ledger 1003 away"}},
		{map[string]string{partLedger: "away"}, []string{"ledger 1003 away"}},
		{nil, nil},
		{map[string]string{partLedger: "away"}, []string{"ledger 1006 away"}},
	} {
		if got := since(c.troubles); !slices.Equal(got, c.want) {
			t.Errorf("%d: %q, want %q", i, got, c.want)
		}
	}
	if begun, ended := strings.Count(log.String(), `"degraded"`), strings.Count(log.String(), `"no longer degraded"`); begun != 3 || ended != 2 {
		t.Errorf("logged %d times that it begins, %d times that it ends: %s", begun, ended, log.String())
	}
}
