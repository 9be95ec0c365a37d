package systemtest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// TestC3ACrowdLeavesFilesToTheNode: strangers who open more connections than the process may have open files take none from the
// database and the journal.
func TestC3ACrowdLeavesFilesToTheNode(t *testing.T) {
	t.Parallel()
	const files, strangers = 120, 300
	f := newFleet(t)
	n := f.addUnder([]string{"prlimit", fmt.Sprintf("--nofile=%d", files)}, f.dsn)
	f.awaitReady()
	f.createWith("fast", offer{ID: "fast", Budget: 1000})
	f.createWith("strict", offer{ID: "strict", Budget: 1000})
	n.redeemTogether("before") // the shop's connections are older than the crowd

	var dialer net.Dialer
	for range strangers {
		connection, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", n.port))
		if err != nil {
			t.Fatal(err)
		}
		defer connection.Close()
		// Once answered, a connection may be idle for minutes.
		if _, err := connection.Write([]byte("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 10*time.Second, func(context.Context) error {
		if open := n.openFiles(); open < files/2 { // what a node may accept
			return fmt.Errorf("the process has %d files open: the crowd is not there", open)
		}
		return nil
	})
	n.redeemTogether("after")
	if open := n.openFiles(); open > files-files/4 {
		t.Errorf("%d of %d files are open: the crowd leaves too few to the journal and the database", open, files)
	}
}

// redeemTogether makes some redemptions of each offer at the same time.
func (n *node) redeemTogether(when string) {
	var all errgroup.Group
	for i := range 16 {
		for _, id := range []string{"fast", "strict"} {
			all.Go(func() error {
				key := fmt.Sprintf("%s-%d", when, i)
				a, err := n.send(n.t.Context(), http.MethodPost, redemptionsOf(id), key, map[string]any{"user_id": key})
				if err == nil && a.status != http.StatusCreated {
					err = fmt.Errorf("%s, %s the crowd: %v, with %d files open", id, when, a, n.openFiles())
				}
				return err
			})
		}
	}
	if err := all.Wait(); err != nil {
		n.t.Fatal(err)
	}
}

// openFiles counts the file descriptors of the process.
func (n *node) openFiles() int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", n.process.Process.Pid))
	if err != nil {
		n.t.Fatal(err)
	}
	return len(entries)
}
