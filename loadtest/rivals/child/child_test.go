package child

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func start(t *testing.T, script string) (*Process, string) {
	t.Helper()
	output := filepath.Join(t.TempDir(), "output")
	p, err := Start(exec.Command("sh", "-c", script), output)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p, output
}

func TestAProcessEndsWhenItIsAsked(t *testing.T) {
	p, _ := start(t, "exec sleep 600")
	p.Stop(time.Minute)
	select {
	case <-p.Exited():
	default:
		t.Error("it still runs")
	}
}

func TestAProcessThatDoesNotListenIsKilled(t *testing.T) {
	p, output := start(t, "trap '' TERM; echo ready; exec sleep 600") // what a shell ignores, the program in its place does, too
	for deadline := time.Now().Add(time.Minute); Tail(output) != "ready\n"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never got ready")
		}
	}
	p.Stop(10 * time.Millisecond)
	<-p.Exited()
}

func TestTail(t *testing.T) {
	p, output := start(t, "yes first | head -n 1000; echo last")
	<-p.Exited()
	if said := Tail(output); !strings.HasSuffix(said, "first\nlast\n") || len(said) != 2000 {
		t.Errorf("%d bytes: %s", len(said), said)
	}
	if said := Tail(output + "-not"); !strings.Contains(said, "no such file") {
		t.Errorf("a file that is not there says %s", said)
	}
}

func TestFreePort(t *testing.T) {
	port, err := FreePort()
	if err != nil || port < 10000 || port >= 20000 {
		t.Errorf("%d (%v)", port, err)
	}
}
