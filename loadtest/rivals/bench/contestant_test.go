package main

import (
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
)

func TestContestants(t *testing.T) {
	schemas := map[string]bool{}
	for _, c := range field {
		if c.hasBooks() == (c.connections() == 0) {
			t.Errorf("%s: %d connections", c.name, c.connections())
		}
		v := server{contestant: c}
		if schema := v.schema(); schemas[schema] || strings.Trim(schema, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%s: the database %q is another's, or needs quotes", c.name, schema)
		} else {
			schemas[schema] = true
		}
		var offer map[string]any
		if err := json.Unmarshal([]byte(c.offer("o", 5, 7)), &offer); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if _, ours := offer["mode"]; ours == (c.mode == "") || offer["lease_size"] != nil && !ours {
			t.Errorf("%s: what is Tranche's is Tranche's only: %v", c.name, offer)
		}
		args := strings.Join(c.command("bin", "addr", "dir", "dsn", "", time.Second), " ")
		if !strings.Contains(args, "--listen addr") || strings.Contains(args, "--dsn dsn") != c.hasBooks() {
			t.Errorf("%s: %s", c.name, args)
		}
	}
}

func TestOnlySomeContestants(t *testing.T) {
	s := settings{Only: []string{"redis", "strict"}}
	got, err := s.contestants()
	if err != nil || len(got) != 3 || got[0].name != "floor" || got[1].name != "strict" || got[2].name != "redis" {
		t.Errorf("%v (%v)", got, err)
	}
	if _, err := (&settings{Only: []string{"nobody"}}).contestants(); err == nil {
		t.Error("nobody was found")
	}
}
