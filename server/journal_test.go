package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/rs/zerolog"

	"tranche/internal/datadir"
	"tranche/internal/journal"
)

// run runs the program as its arguments say, and gives what it prints.
func run(t *testing.T, args ...string) (printed string, err error) {
	t.Helper()
	var p program
	var out bytes.Buffer
	k, err := parser(&p, "h", kong.BindTo(t.Context(), (*context.Context)(nil)), kong.BindTo(&out, (*io.Writer)(nil)), kong.Bind(&p.settings))
	if err != nil {
		t.Fatal(err)
	}
	command, err := k.Parse(args)
	if err != nil {
		t.Fatal(err)
	}
	err = command.Run()
	return out.String(), err
}

// written makes a data directory whose journal has these payloads, and gives the name of the segment that they are in.
func written(t *testing.T, payloads ...string) (dataDir, segment string) {
	t.Helper()
	dataDir = t.TempDir()
	dir, err := datadir.Open(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	j, err := journal.Open(journal.Config{Dir: dir.Journal(), SegmentBytes: 1 << 20, Now: time.Now, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); j.Run(context.Background()) }()
	for _, payload := range payloads {
		if _, err := j.Append(t.Context(), 1, []byte(payload)); err != nil {
			t.Error(err)
		}
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	<-done
	segments, err := filepath.Glob(filepath.Join(dir.Journal(), "*.segment"))
	if err != nil || len(segments) > 1 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	if len(segments) == 1 {
		segment = filepath.Base(segments[0])
	}
	return dataDir, segment
}

func TestDumpPrintsARecordPerLine(t *testing.T) {
	dataDir, segment := written(t, `{"user_id":"<alice>","units":1}`, "not JSON \x00")
	printed, err := run(t, "journal", "dump", "--data-dir", dataDir)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":1,"segment":"` + segment + `","offset":64,"type":1,"record":{"user_id":"<alice>","units":1}}` + "\n" +
		`{"seq":2,"segment":"` + segment + `","offset":120,"type":1,"record":"bm90IEpTT04gAA=="}` + "\n"
	if printed != want {
		t.Errorf("printed\n%swant\n%s", printed, want)
	}
	for line := range strings.Lines(printed) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	if printed, err = run(t, "journal", "dump", "--data-dir", dataDir); err != nil || printed != want {
		t.Errorf("the second time: %s, %v", printed, err)
	}
}

func TestVerifySaysHowMuchThereIs(t *testing.T) {
	dataDir, _ := written(t, "{}", "{}", "{}")
	printed, err := run(t, "journal", "verify", "--data-dir", dataDir)
	if want := "segments  1\nrecords   3\nbytes     72\nsequence  1 to 3\n"; err != nil || printed != want {
		t.Errorf("printed %q, %v; want %q", printed, err, want)
	}
	empty, _ := written(t)
	printed, err = run(t, "journal", "verify", "--data-dir", empty)
	if want := "segments  0\nrecords   0\nbytes     0\n"; err != nil || printed != want {
		t.Errorf("an empty one: printed %q, %v; want %q", printed, err, want)
	}
}

func TestVerifyAndDumpNameThePlaceOfTheDamage(t *testing.T) {
	dataDir, segment := written(t, "{}", "{}", "{}")
	path := filepath.Join(dataDir, "journal", segment)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text[64+24+21] ^= 1 // the payload of the second record
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	printed, err := run(t, "journal", "verify", "--data-dir", dataDir)
	if !errors.Is(err, journal.ErrCorrupt) || !strings.Contains(err.Error(), segment+" at byte 88") || !strings.Contains(printed, "records   1\n") {
		t.Errorf("verify: %q, %v", printed, err)
	}
	printed, err = run(t, "journal", "dump", "--data-dir", dataDir)
	if !errors.Is(err, journal.ErrCorrupt) || strings.Count(printed, "\n") != 1 {
		t.Errorf("dump: %q, %v", printed, err)
	}
}

func TestTheJournalOfANodeThatRunsIsLeftAlone(t *testing.T) {
	dataDir, _ := written(t, "{}")
	dir, err := datadir.Open(dataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, command := range []string{"dump", "verify", "settle"} {
		if printed, err := run(t, "journal", command, "--data-dir", dataDir, "--dsn", "u@tcp(127.0.0.1:1)/d"); !errors.Is(err, datadir.ErrLocked) {
			t.Errorf("%s: %q, %v", command, printed, err)
		}
	}
}

func TestAFolderThatIsNoNodesIsLeftAlone(t *testing.T) {
	dataDir := filepath.Join(t.TempDir(), "misspelt")
	for _, command := range []string{"dump", "verify", "settle"} {
		if printed, err := run(t, "journal", command, "--data-dir", dataDir, "--dsn", "u@tcp(127.0.0.1:1)/d"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %q, %v", command, printed, err)
		}
	}
	if _, err := os.Stat(dataDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it was made: %v", err)
	}
}

// Without a DSN the server takes the embedded database, and a dead machine's journal would go into an empty one.
func TestD4SettleTakesTheEmbeddedDatabaseThatIsThere(t *testing.T) {
	dataDir, _ := written(t, "{}")
	if err := os.WriteFile(filepath.Join(dataDir, "tranche.db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	printed, err := run(t, "journal", "settle", "--data-dir", dataDir)
	if err == nil || strings.Contains(err.Error(), "--dsn") {
		t.Errorf("the record is none, and settle says %q, %v", printed, err)
	}
}

func TestSettleNeedsADatabase(t *testing.T) {
	dataDir, _ := written(t, "{}")
	if _, err := run(t, "journal", "settle", "--data-dir", dataDir); err == nil || !strings.Contains(err.Error(), "--dsn") {
		t.Errorf("without one: %v", err)
	}
}

func TestWithoutACommandTheProgramServes(t *testing.T) {
	for _, args := range [][]string{{}, {"serve"}, {"--listen", "127.0.0.1:1"}, {"serve", "--listen", "127.0.0.1:1"}} {
		var p program
		k, err := parser(&p, "h")
		if err != nil {
			t.Fatal(err)
		}
		command, err := k.Parse(args)
		if err != nil || command.Command() != "serve" || len(args) > 1 && p.Listen != "127.0.0.1:1" {
			t.Errorf("%v: %v, listen %q, %v", args, command, p.Listen, err)
		}
	}
}
