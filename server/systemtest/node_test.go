package systemtest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"tranche/internal/storetest"
)

// fleet is a database and the nodes on it.
type fleet struct {
	t     *testing.T
	dsn   string
	db    *sql.DB
	nodes []*node
	http  *http.Client
}

// newFleet makes an empty database, with no node yet.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	return fleetOn(t, storetest.MySQL(t))
}

// fleetOn takes a database that is there.
func fleetOn(t *testing.T, dsn string) *fleet {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = db.Close()
	})
	// Longer than any node's own time-out, and than a node is frozen for: late answers are answers too.
	return &fleet{t: t, dsn: dsn, db: db, http: &http.Client{Transport: transport, Timeout: 25 * time.Second}}
}

// startFleet gives a fleet of n nodes that are ready.
func startFleet(t *testing.T, n int) *fleet {
	t.Helper()
	f := newFleet(t)
	for range n {
		f.add(f.dsn)
	}
	f.awaitReady()
	return f
}

// add starts one more node on a DSN of its own: that of the fleet, or the way to it through a proxy.
func (f *fleet) add(dsn string, flags ...string) *node {
	f.t.Helper()
	return f.addUnder(nil, dsn, flags...)
}

// addUnder is add for a process that another command becomes, such as prlimit.
func (f *fleet) addUnder(command []string, dsn string, flags ...string) *node {
	f.t.Helper()
	n := f.prepare(dsn, flags...)
	n.under = command
	n.start()
	return n
}

// prepare is add for a node that is not started yet.
func (f *fleet) prepare(dsn string, flags ...string) *node {
	f.t.Helper()
	n := &node{t: f.t, http: f.http, name: fmt.Sprintf("node-%d", len(f.nodes)+1), dsn: dsn, flags: flags, dir: f.t.TempDir(), port: freePort(f.t)}
	n.url = fmt.Sprintf("http://127.0.0.1:%d", n.port)
	f.nodes = append(f.nodes, n)
	f.t.Cleanup(n.end)
	return n
}

func (f *fleet) awaitReady() {
	f.t.Helper()
	for _, n := range f.nodes {
		n.awaitReady()
	}
}

// dsnVia is the fleet's DSN with another address.
func (f *fleet) dsnVia(addr string) string {
	f.t.Helper()
	cfg, err := mysql.ParseDSN(f.dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	cfg.Addr = addr
	return cfg.FormatDSN()
}

// upstream is the address of the database.
func (f *fleet) upstream() string {
	f.t.Helper()
	cfg, err := mysql.ParseDSN(f.dsn)
	if err != nil {
		f.t.Fatal(err)
	}
	return cfg.Addr
}

// node is one process of the program.
type node struct {
	t       *testing.T
	http    *http.Client
	name    string
	dsn     string
	program string   // what is run; empty: what was built from this tree
	under   []string // the command that becomes the process; empty: none
	flags   []string
	dir     string
	port    int
	url     string

	process *exec.Cmd
	exited  chan struct{} // closed when the process has been waited for
}

// start starts the process, the first time or again.
func (n *node) start() {
	n.t.Helper()
	output, err := os.OpenFile(n.output(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		n.t.Fatal(err)
	}
	defer output.Close()
	program := n.program
	if program == "" {
		program = shared.binary(n.t)
	}
	command := append(slices.Clone(n.under), program,
		"--listen", fmt.Sprintf("127.0.0.1:%d", n.port),
		"--data-dir", filepath.Join(n.dir, "data"), "--node-name", n.name, "--dsn", n.dsn)
	command = append(command, n.flags...)
	n.process = exec.Command(command[0], command[1:]...)
	n.process.Env = n.environment()
	n.process.Stdout, n.process.Stderr = output, output
	n.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: shared.group}
	if err := n.process.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.exited = make(chan struct{})
	go func(process *exec.Cmd, exited chan struct{}) {
		_ = process.Wait()
		close(exited)
	}(n.process, n.exited)
}

// environment is this process's own, without what would set the program up.
func (n *node) environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "TRANCHE_") })
}

func (n *node) output() string { return filepath.Join(n.dir, "output") }

func (n *node) awaitReady() {
	n.t.Helper()
	eventually(n.t, 30*time.Second, func(ctx context.Context) error {
		select {
		case <-n.exited:
			return fmt.Errorf("%s ended", n.name)
		default:
		}
		status, body, err := n.get(ctx, "/readyz")
		if err == nil && status != http.StatusOK {
			err = fmt.Errorf("%s: /readyz says %d %s", n.name, status, body)
		}
		return err
	})
}

func (n *node) get(ctx context.Context, path string) (status int, body []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
	if err != nil {
		return 0, nil, err
	}
	response, err := n.http.Do(request)
	if err != nil {
		return 0, nil, err
	}
	defer response.Body.Close()
	body, err = io.ReadAll(response.Body)
	return response.StatusCode, body, err
}

// kill is kill -9.
func (n *node) kill() {
	_ = n.process.Process.Kill()
	<-n.exited
}

// freeze stops the process where it stands, connections and locks included.
func (n *node) freeze() { n.signal(syscall.SIGSTOP) }

// thaw lets it go on.
func (n *node) thaw() { n.signal(syscall.SIGCONT) }

func (n *node) signal(s syscall.Signal) {
	n.t.Helper()
	if err := n.process.Process.Signal(s); err != nil {
		n.t.Fatal(err)
	}
}

// drain asks the process to end and waits until it has.
func (n *node) drain(within time.Duration) {
	n.t.Helper()
	n.signal(syscall.SIGTERM)
	select {
	case <-n.exited:
	case <-time.After(within):
		n.t.Fatalf("%s did not end within %v of SIGTERM", n.name, within)
	}
}

// end kills the process when its test is over, and shows what it said last if the test failed.
func (n *node) end() {
	if n.process == nil {
		return // it was never started
	}
	n.kill()
	if !n.t.Failed() {
		return
	}
	output, err := os.ReadFile(n.output())
	if err != nil {
		n.t.Log(err)
		return
	}
	lines := bytes.Split(bytes.TrimSpace(output), []byte("\n"))
	n.t.Logf("%s said last:\n%s", n.name, bytes.Join(lines[max(0, len(lines)-25):], []byte("\n")))
}

// givenPorts are those that freePort has given: who got one may not listen yet.
var givenPorts sync.Map

// freePort finds a port that is free now and that no outgoing connection will be given. It gives each once.
func freePort(t *testing.T) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(10000)
		if _, given := givenPorts.LoadOrStore(port, true); given {
			continue
		}
		listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			_ = listener.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}
