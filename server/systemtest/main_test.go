package systemtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// harness is what all tests of a run share.
type harness struct {
	folder string
	group  int // the process group that nodes join

	build sync.Once
	err   error
}

var shared harness // a global, because TestMain has no other way to hand something to the tests

func TestMain(m *testing.M) { os.Exit(runAll(m)) }

func runAll(m *testing.M) int {
	folder, err := os.MkdirTemp("", "tranche-systemtest.")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	shared.folder = folder
	release, err := shared.startGroup()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer release()
	return m.Run()
}

func long() bool { return os.Getenv("TRANCHE_TEST_LONG") != "" }

// pick gives the figure of the short or of the long version.
func pick[T any](short, longer T) T {
	if long() {
		return longer
	}
	return short
}

// startGroup starts the leader of the nodes' process group. It kills the whole group when its input ends.
func (h *harness) startGroup() (release func(), err error) {
	leader := exec.Command("sh", "-c", "cat; kill -KILL 0")
	leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	input, err := leader.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := leader.Start(); err != nil {
		return nil, err
	}
	h.group = leader.Process.Pid
	return func() {
		_ = input.Close()
		_ = leader.Wait() // killed by itself, with the group
	}, nil
}

// binary builds the program at the first call and gives its path.
func (h *harness) binary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(h.folder, "tranche")
	h.build.Do(func() {
		if out, err := exec.Command("go", "build", "-buildvcs=false", "-o", path, "tranche/server").CombinedOutput(); err != nil {
			h.err = fmt.Errorf("building the program: %w\n%s", err, out)
		}
	})
	if h.err != nil {
		t.Fatal(h.err)
	}
	return path
}

// eventually polls until check gives nil, and fails the test with its last error after within.
func eventually(t *testing.T, within time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %v", within, err)
		}
	}
}

// pause lets a duration pass that is part of the scenario itself, such as how long an outage lasts.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
