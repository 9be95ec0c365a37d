package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestD1MistakesOfAllKindsEndAlike(t *testing.T) {
	file := filepath.Join(t.TempDir(), "tranche.conf")
	if err := os.WriteFile(file, []byte("TRANCHE_LISTEN=nowhere\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for args, want := range map[string]string{
		"--no-such-flag":                                     "--no-such-flag",
		"--drain-wait=soon":                                  "--drain-wait",
		"--listen=nowhere":                                   "want host:port",
		"--config=/no/such/file":                             "/no/such/file",
		"--config=" + file:                                   file,
		"--dsn=mysql://u:p@h/d":                              "user:password@tcp(host:3306)/database",
		"--dsn=u:p@tcp(h:1)/d --db-ca=/no/ca":                "/no/ca",
		"--dsn=u@tcp(h:1)/d --db-password-file=/no/password": "/no/password",
		"--migrate=off":                                      "--dsn",
		"--listen=" + busy.Addr().String():                   "choose a free address",
		"migrate":                                            "--dsn",
	} {
		var errOut bytes.Buffer
		code := execute(t.Context(), append(strings.Fields(args), "--data-dir="+filepath.Join(t.TempDir(), "data")), io.Discard, &errOut)
		said := errOut.String()
		if code != 1 || !strings.HasPrefix(said, "tranche: ") || strings.Count(said, "\n") != 1 || !strings.Contains(said, want) {
			t.Errorf("%s: code %d, %q", args, code, said)
		}
	}
}

func TestC6AnArgumentThatMayBeADSNIsNotRepeated(t *testing.T) {
	for _, args := range []string{"u:hunter2@tcp(h:3306)/d", "migrate u:hunter2@tcp(h:3306)/d", "--dns=u:hunter2@tcp(h:3306)/d", "--dsn u:hunter2@h/d"} {
		var errOut bytes.Buffer
		code := execute(t.Context(), append(strings.Fields(args), "--data-dir="+filepath.Join(t.TempDir(), "data")), io.Discard, &errOut)
		if said := errOut.String(); code != 1 || said == "" || strings.Contains(said, "hunter2") {
			t.Errorf("%s: code %d, %q", args, code, said)
		}
	}
}
