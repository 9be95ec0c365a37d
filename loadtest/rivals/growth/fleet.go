package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/child"
)

// timeout is longer than any answer takes.
const timeout = 10 * time.Second

// fleet is some nodes in one process, with a folder of their own.
type fleet struct {
	books   *books
	dir     string
	process *child.Process
	addrs   []string
}

// startFleet starts nodes on the books, with their data directories in a new folder on disk, and returns when all of them are ready.
func startFleet(ctx context.Context, b *books, nodes int64, disk string) (_ *fleet, err error) {
	f := &fleet{books: b}
	if f.dir, err = os.MkdirTemp(disk, "tranche-growth."); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("the fleet: %w: %s", err, child.Tail(f.output()))
			f.stop()
		}
	}()
	cmd := exec.Command(filepath.Join(b.growth.Bin, "fleet"), "--nodes", strconv.FormatInt(nodes, 10), "--dsn", b.dsn, "--dir", f.dir)
	if f.process, err = child.Start(cmd, f.output()); err != nil {
		return nil, err
	}
	if err = f.poll(ctx, f.listening); err != nil {
		return nil, err
	}
	for _, addr := range f.addrs {
		if err = f.poll(ctx, func() bool { return ready(addr) }); err != nil {
			return nil, fmt.Errorf("%s: %w", addr, err)
		}
	}
	return f, nil
}

func (f *fleet) output() string { return filepath.Join(f.dir, "fleet.log") }

// poll waits for something that the process does.
func (f *fleet) poll(ctx context.Context, done func() bool) error {
	return child.Poll(ctx, time.Minute, func() (bool, error) {
		select {
		case <-f.process.Exited():
			return false, errors.New("the process ended")
		default:
			return done(), nil
		}
	})
}

// listening reads the addresses, once they are there.
func (f *fleet) listening() bool {
	text, err := os.ReadFile(filepath.Join(f.dir, "addresses"))
	f.addrs = strings.Fields(string(text))
	return err == nil
}

func ready(addr string) bool {
	client := load.NewClient(addr, 1, timeout)
	defer client.Close()
	a, err := client.Ask(http.MethodGet, "/readyz", "", "")
	return err == nil && a.Status == http.StatusOK
}

// stop drains the nodes and removes what they leave behind.
func (f *fleet) stop() {
	if f.process != nil {
		f.process.Stop(2 * timeout)
	}
	_ = os.RemoveAll(f.dir)
}

// reading is what a run's cost is the difference of.
type reading struct {
	at              time.Time
	nodes, database time.Duration // of CPU
	metrics         metrics
}

// read reads the CPU times before it asks the nodes, which costs some.
func (f *fleet) read(ctx context.Context) (r reading, err error) {
	r.at = time.Now()
	if r.nodes, err = meter.CPU(f.process.PID()); err != nil {
		return r, err
	}
	if pid := f.books.growth.database.PID; pid != 0 {
		if r.database, err = meter.CPU(pid); err != nil {
			return r, err
		}
	}
	r.metrics, err = f.scrape(ctx)
	return r, err
}

// settled reads when everything that was acknowledged is in the ledger.
func (f *fleet) settled(ctx context.Context) (r reading, err error) {
	const gathering = 200 * time.Millisecond // more than nodes that have time to spare let what is acknowledged gather for
	err = child.Poll(ctx, 10*time.Minute, func() (bool, error) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(gathering):
		}
		r, err = f.read(ctx)
		return r.metrics[backlog] == 0, err
	})
	return r, err
}
