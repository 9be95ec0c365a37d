package main

import (
	"context"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/internal/datadir"
	"tranche/internal/journal"
	"tranche/server/node"
)

// journalCommands work on the data directory of a node that doesn't run: they lock it, and fail where a node has.
type journalCommands struct {
	Dump   dump   `cmd:"" help:"Print the records, a line of JSON each, up to the first damage."`
	Verify verify `cmd:"" help:"Read every record, and say how many there are. Ends with status 1 and the place if any is damaged."`
	Settle settle `cmd:"" help:"Book what the journal of a dead machine holds into the database that --dsn names, or without it into the embedded one, and return its leases, without serving. Waits for the database. May be repeated."`
}

type (
	dump   struct{}
	verify struct{}
	settle struct{}
)

// dumped is one line of a dump.
type dumped struct {
	Seq     uint64 `json:"seq"`
	Segment string `json:"segment"`
	Offset  int64  `json:"offset"`
	Type    byte   `json:"type"`
	Record  any    `json:"record"` // JSON as it is; a payload that is none, in base64
}

// Run implements the command.
func (dump) Run(ctx context.Context, s *settings, out io.Writer) error {
	lines := jsontext.NewEncoder(out)
	_, err := scan(s.DataDir, func(r journal.Record) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		line := dumped{Seq: r.Seq, Segment: r.Segment, Offset: r.Offset, Type: r.Kind, Record: r.Payload}
		if record := jsontext.Value(r.Payload); record.IsValid() {
			line.Record = record
		}
		return json.MarshalEncode(lines, line)
	})
	return err
}

// Run implements the command.
func (verify) Run(ctx context.Context, s *settings, out io.Writer) error {
	report, err := scan(s.DataDir, func(journal.Record) error { return ctx.Err() })
	if report.Records > 0 || err == nil {
		fmt.Fprintf(out, "segments  %d\nrecords   %d\nbytes     %d\n", report.Segments, report.Records, report.Bytes)
	}
	if report.Records > 0 {
		fmt.Fprintf(out, "sequence  %d to %d\n", report.First, report.Last)
	}
	if report.Torn != nil {
		fmt.Fprintf(out, "torn      %s at byte %d: the node was stopped in a write that nobody heard of, or the last second is damaged\n",
			report.Torn.Segment, report.Torn.Offset)
	}
	return err
}

// scan reads the journal of a data directory that no node has locked.
func scan(dataDir string, visit func(journal.Record) error) (journal.Report, error) {
	dir, err := datadir.OpenExisting(dataDir)
	if err != nil {
		return journal.Report{}, err
	}
	defer dir.Close()
	return journal.Scan(dir.Journal(), visit)
}

// Run implements the command.
func (settle) Run(ctx context.Context, s *settings, out io.Writer) error {
	settled, err := node.SettleJournal(ctx, node.SettleConfig{DataDir: s.DataDir, Database: s.database(), Logger: s.logger()})
	if err == nil || settled != (node.Settled{}) {
		fmt.Fprintf(out, "records settled  %d\nleases returned  %d\n", settled.Records, settled.Leases)
	}
	return err
}
