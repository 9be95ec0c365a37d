package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"
)

func TestD1AStartThatCannotSucceedEndsWithTheNameOfItsFile(t *testing.T) {
	for what, spoil := range map[string]func(file string) error{
		"file is not a database": func(file string) error { return os.WriteFile(file, []byte(strings.Repeat("damaged ", 1000)), 0o600) },
		"is a directory":         func(file string) error { return os.Mkdir(file, 0o700) },
	} {
		c := config(t)
		file := filepath.Join(c.DataDir, "tranche.db")
		if err := os.Mkdir(c.DataDir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := spoil(file); err != nil {
			t.Fatal(err)
		}
		n := start(t, c)
		if err := n.wait(); err == nil || !strings.HasPrefix(err.Error(), "the database "+file) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: the node ends with: %v", what, err)
		}
	}
}

func TestD1AStartThatMaySucceedSaysWhatItWaitsFor(t *testing.T) {
	c := config(t)
	log := new(lines)
	c.Logger = zerolog.New(log)
	c.DSN = "u:hunter2@tcp(127.0.0.1:1)/d" // nobody listens there
	n := start(t, c)
	n.until("the log to say what it waits for", func() bool { return strings.Contains(log.String(), "127.0.0.1:1: connect: connection refused") })
	status, v := n.call("GET", "/readyz", "")
	if detail := fmt.Sprint(v["detail"]); status != 503 || detail != "starting: the database has not answered yet" {
		t.Errorf("%d %s", status, detail)
	}
	if strings.Contains(log.String(), "hunter2") {
		t.Errorf("the log has the password: %s", log)
	}
}
