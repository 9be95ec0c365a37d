package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"tranche/internal/version"
)

// Every printed call shows a key that is set and that may make it.
func TestTheGreetingsCallsShowAKeyThatExists(t *testing.T) {
	const admin, checkout = `"Authorization: Bearer $TRANCHE_ADMIN_KEY"`, `"Authorization: Bearer $TRANCHE_CHECKOUT_KEY"`
	for _, c := range []struct {
		s                        settings
		calls, admins, checkouts int
	}{
		{settings{}, 3, 0, 0},
		{settings{AdminKey: "a", CheckoutKey: "c"}, 3, 1, 2},
		{settings{AdminKey: "a"}, 3, 3, 0},
		{settings{CheckoutKey: "c"}, 0, 0, 0},
	} {
		text := greeting("http://127.0.0.1:8080", &c.s)
		if !strings.HasPrefix(text, "Tranche listens on http://127.0.0.1:8080\n") || strings.ContainsAny(text, "{}") && c.calls == 0 {
			t.Errorf("%+v: %s", c.s, text)
		}
		calls, admins, checkouts := strings.Count(text, "curl -s http://127.0.0.1:8080/v1/"), strings.Count(text, admin), strings.Count(text, checkout)
		if calls != c.calls || admins != c.admins || checkouts != c.checkouts {
			t.Errorf("%+v: %d calls, %d with the admin key, %d with the checkout key:\n%s", c.s, calls, admins, checkouts, text)
		}
	}
	if text := greeting("http://127.0.0.1:8080", &settings{CheckoutKey: "c"}); !strings.Contains(text, "TRANCHE_ADMIN_KEY is not set") {
		t.Errorf("it doesn't say what is missing: %s", text)
	}
}

// A supervisor's log is no place for samples of calls.
func TestD2TheGreetingIsForTerminals(t *testing.T) {
	s, err := parse(t, "", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir(), "--log-level=error")
	if err != nil {
		t.Fatal(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	var out bytes.Buffer
	if err := (serve{}).Run(ended, &s, &out); err != nil || out.Len() > 0 {
		t.Errorf("printed %q, %v", &out, err)
	}
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if isTerminal(file) {
		t.Error("a file is taken for a terminal")
	}
	terminal, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no terminal to be had: ", err)
	}
	defer terminal.Close()
	if !isTerminal(terminal) {
		t.Error("a terminal is not taken for one")
	}
}

func TestD2TheProgramSaysItsVersion(t *testing.T) {
	var p program
	var out bytes.Buffer
	ended := -1
	k, err := parser(&p, "h", kong.Writers(&out, &out), kong.Exit(func(code int) { ended = code }))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = k.Parse([]string{"--version"}) // which goes on only because the exit is not one
	if got := out.String(); ended != 0 || got != "tranche "+version.Version+"\n" {
		t.Errorf("code %d, %q", ended, got)
	}
	if !regexp.MustCompile(`^\d+\.\d+\.\d+(-dev)?$`).MatchString(version.Version) {
		t.Errorf("version %q", version.Version)
	}
}
