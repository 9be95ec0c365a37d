package sysmon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestProcessExecutesItselfOnceAndOnlySysmonIsCalm starts this program as a process of its own, which calls Calm and reports.
func TestProcessExecutesItselfOnceAndOnlySysmonIsCalm(t *testing.T) {
	runs := filepath.Join(t.TempDir(), "runs")
	process := exec.Command(os.Args[0], "-test.run=^TestReport$", "an argument")
	process.Env = append(os.Environ(), "SYSMON_RUNS="+runs)
	out, err := process.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if pids := strings.Fields(read(t, runs)); len(pids) != 2 || pids[0] != pids[1] {
		t.Errorf("process ids of the runs: %q, want the same one twice", pids)
	}
	if !strings.Contains(string(out), reported) {
		t.Errorf("the process ended without its report: %s", out)
	}
	t.Logf("%s", out)
}

// reported is what the process says last.
const reported = "reported"

// TestReport is the process of the test above.
func TestReport(t *testing.T) {
	runs := os.Getenv("SYSMON_RUNS")
	if runs == "" {
		return // and does nothing in the tests' own process
	}
	defer fmt.Println(reported)
	note(t, runs)
	if err := Calm(); err != nil {
		t.Fatal(err)
	}
	if args := os.Args; args[len(args)-1] != "an argument" {
		t.Errorf("arguments: %q", args)
	}
	slacks, err := allSlacks()
	if errors.Is(err, fs.ErrPermission) {
		fmt.Println("the slack of other threads is shown to root only, and was not looked at")
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	calm, usual := 0, 0
	for _, slack := range slacks {
		switch slack {
		case calmSlack:
			calm++
		case usualSlack:
			usual++
		}
	}
	if calm == 0 || usual <= runtime.GOMAXPROCS(0) { // how many others sysmon and the runtime have started since, nobody knows
		t.Errorf("slack of the threads: %v, want more for sysmon, and the usual for enough to run all goroutines", slacks)
	}
}

// note appends the process id to a file.
func note(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func allSlacks() (slacks []time.Duration, err error) {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return nil, err
	}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/" + thread.Name() + "/timerslack_ns")
		if err != nil {
			return nil, err
		}
		ns, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return nil, err
		}
		slacks = append(slacks, time.Duration(ns))
	}
	return slacks, nil
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
