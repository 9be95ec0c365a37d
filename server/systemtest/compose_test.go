package systemtest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// composeEnv asks for the test of docker-compose.yml. It needs a Docker engine with the images that the files name, and the ports
// 8081 to 8083.
const composeEnv = "TRANCHE_TEST_COMPOSE"

// composed is the fleet of docker-compose.yml, in a project of its own.
type composed struct {
	*fleet
	project string
	extra   string // a compose file beside the repository's
}

// adminKey is what the test's fleet is asked with.
const adminKey = "admin-key-of-the-compose-test"

// withKey sends the key with each request.
type withKey struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (k withKey) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+adminKey)
	return k.RoundTripper.RoundTrip(r)
}

// composeUp builds the image and starts the fleet. All of it is gone after the test.
func composeUp(t *testing.T) *composed {
	t.Helper()
	c := &composed{project: fmt.Sprintf("tranche-test-%d", os.Getpid()), extra: filepath.Join(t.TempDir(), "test.yml")}
	// The test reads the books past the program.
	extra := "services:\n  mysql:\n    ports: ['127.0.0.1::3306']\n"
	if err := os.WriteFile(c.extra, []byte(extra), 0o600); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 1000, DisableCompression: true}
	c.fleet = &fleet{t: t, http: &http.Client{Transport: withKey{transport}, Timeout: 25 * time.Second}}
	for i := range 3 {
		c.nodes = append(c.nodes, &node{
			t: t, http: c.http, name: fmt.Sprintf("node-%d", i+1), url: fmt.Sprintf("http://127.0.0.1:%d", 8081+i),
		})
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if t.Failed() {
			t.Logf("the nodes said last:\n%s", c.must("logs", "--no-color", "--tail", "20", "node-1", "node-2", "node-3"))
		}
		if out, err := c.compose(context.Background(), "down", "--volumes", "--timeout", "1", "--rmi", "local"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	c.must("build", "node-1") // alone: the others find it made, where builds side by side would each make it
	c.must("up", "--detach", "--wait", "--wait-timeout", "240")
	return c
}

// compose runs docker compose on the fleet.
func (c *composed) compose(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	command := exec.CommandContext(ctx, "docker", append([]string{
		"compose", "--project-name", c.project, "--file", "../../docker-compose.yml", "--file", c.extra,
	}, args...)...)
	// The files are to build without BuildKit, too.
	command.Env = append(os.Environ(), "DOCKER_BUILDKIT=0", "TRANCHE_ADMIN_KEY="+adminKey, "TRANCHE_CHECKOUT_KEY=checkout-key-of-the-compose-test")
	out, err := command.CombinedOutput()
	return string(out), err
}

func (c *composed) must(args ...string) string {
	c.t.Helper()
	out, err := c.compose(context.WithoutCancel(c.t.Context()), args...)
	if err != nil {
		c.t.Fatalf("docker compose %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// network takes a container off the fleet's network, or puts it back.
func (c *composed) network(how, service string) {
	c.t.Helper()
	args := []string{"network", how}
	if how == "connect" {
		args = append(args, "--alias", service)
	}
	args = append(args, c.project+"_default", c.project+"-"+service+"-1")
	if out, err := exec.CommandContext(c.t.Context(), "docker", args...).CombinedOutput(); err != nil {
		c.t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// awaitHealthy waits until each node says that it is ready.
func (c *composed) awaitHealthy() {
	c.t.Helper()
	for _, n := range c.nodes {
		eventually(c.t, 60*time.Second, func(ctx context.Context) error {
			status, body, err := n.get(ctx, "/readyz")
			if err == nil && status != http.StatusOK {
				err = fmt.Errorf("%s: /readyz says %d %s", n.name, status, body)
			}
			return err
		})
	}
}

// openDatabase connects to the fleet's MySQL, whose port changes with each start.
func (c *composed) openDatabase() {
	c.t.Helper()
	address := strings.TrimSpace(c.must("port", "mysql", "3306"))
	db, err := sql.Open("mysql", "tranche:local-only@tcp("+address+")/tranche")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = db.Close() })
	c.db = db
}

// TestD5TheComposeFileIsAFleet: three nodes from the image on MySQL, used in all modes while containers are killed, frozen, cut off
// and stopped.
func TestD5TheComposeFileIsAFleet(t *testing.T) {
	if os.Getenv(composeEnv) == "" {
		t.Skip("docker-compose.yml is NOT tested: set " + composeEnv + "=1 where a Docker engine has the images")
	}
	c := composeUp(t)
	var shops []*shop
	var closeShops []func()
	for _, mode := range []string{"strict", "available", "fast"} {
		id := c.createWith(mode, offer{ID: mode, Budget: 1_000_000, LeaseSize: 2000, LeaseTTLSeconds: int64(ttl / time.Second)})
		s := newShop(c.fleet, id)
		for i, n := range c.nodes {
			s.askAt(n, order{key: fmt.Sprintf("first-%d", i), user: "first", units: 1})
		}
		shops, closeShops = append(shops, s), append(closeShops, s.open(40, numbered))
	}
	acknowledge := func(what string) {
		t.Helper()
		for _, s := range shops {
			s.awaitAcked(100, 60*time.Second)
		}
		t.Log(what)
	}
	acknowledge("redeemed in all modes")

	c.must("kill", "--signal", "KILL", "node-1")
	acknowledge("with node-1 killed")
	c.must("start", "node-1")

	c.must("pause", "node-2")
	pause(t, ttl+grace+slack)
	c.must("unpause", "node-2")
	acknowledge("after node-2 was frozen for longer than its leases live")

	c.network("disconnect", "node-3")
	pause(t, 10*time.Second)
	c.network("connect", "node-3")
	acknowledge("after node-3 was cut off")

	c.must("stop", "mysql")
	pause(t, 10*time.Second)
	c.must("start", "mysql")
	acknowledge("after the database was stopped for ten seconds")
	c.awaitHealthy()

	for _, closeShop := range closeShops {
		closeShop()
	}
	c.awaitSettled(settledAfterOutage+20*time.Second, 0)
	c.openDatabase()
	for _, s := range shops {
		if b := s.audit(c.fleet); len(s.acked) == 0 || len(b.entries) == 0 {
			t.Errorf("nothing was sold of %s", s.offer)
		}
	}

	c.must("stop", "node-1", "node-2", "node-3")
	for _, n := range c.nodes {
		if err := c.exitedWell(n.name); err != nil {
			t.Error(err)
		}
	}
	for _, s := range shops {
		b := c.readBooks(s.offer)
		b.check(t)
		for id, l := range b.leases {
			if l.state == "active" {
				t.Errorf("lease %s of %s is active after all nodes have ended", id, s.offer)
			}
		}
	}
}

// exitedWell gives an error unless a container's program has ended by itself. After the grace period it would have been killed.
func (c *composed) exitedWell(service string) error {
	out, err := exec.CommandContext(c.t.Context(), "docker", "inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}",
		c.project+"-"+service+"-1").CombinedOutput()
	if got := strings.TrimSpace(string(out)); err == nil && got != "exited 0" {
		err = fmt.Errorf("%s was stopped and is %q", service, got)
	}
	return errors.Join(err)
}
