package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tranche/internal/plan"
	"tranche/models"
)

func TestPlanPrintsTheSameAsTextAndJSON(t *testing.T) {
	want := plan.Of(plan.Fleet{
		Rate: 300, Nodes: 3, LeaseSize: 500, TTL: 30 * time.Second, Adaptive: true, Mode: models.ModeAvailable,
		Commit: 5 * time.Millisecond,
	})
	args := []string{"plan", "--rate", "300", "--nodes", "3", "--lease-size", "500", "--ttl", "30s", "--mode", "available"}
	printed, err := run(t, append(args, "--json")...)
	var got plan.Plan
	if err != nil || json.Unmarshal([]byte(printed), &got) != nil || got != want {
		t.Errorf("%v, want %+v: %s", err, want, printed)
	}
	printed, err = run(t, args...)
	for _, figure := range []string{
		"300 redemptions a second", "500 units ", "1.2 tx/s ", "500 to 1001 units", "1500 to 3003 units", "for up to 39 s", "18.2 GB a day", "35 kB/s",
	} {
		if err != nil || !strings.Contains(printed, figure) {
			t.Errorf("%v, no %q in\n%s", err, figure, printed)
		}
	}
}

// A document that shows this call shows what it prints.
func TestDocumentsShowWhatPlanPrints(t *testing.T) {
	printed, err := run(t, "plan", "--rate", "300", "--nodes", "3")
	if err != nil {
		t.Fatal(err)
	}
	documents, err := filepath.Glob("../docs/*.md")
	if err != nil || len(documents) == 0 {
		t.Fatalf("%d documents, %v", len(documents), err)
	}
	for _, path := range append(documents, "../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "plan --rate 300 --nodes 3") && !strings.Contains(string(text), "```\n"+printed+"```\n") {
			t.Errorf("not in %s:\n%s", path, printed)
		}
	}
}

func TestAStrictOfferCantBeOverspentAndHasNoJournal(t *testing.T) {
	printed, err := run(t, "plan", "--rate", "1", "--nodes", "1", "--mode", "strict")
	if err != nil || !strings.Contains(printed, "0 units") || strings.Contains(printed, "journal") {
		t.Errorf("%v:\n%s", err, printed)
	}
}

func TestPlanRefusesWhatNoOfferCanHave(t *testing.T) {
	for _, wrong := range []string{"--rate=0", "--rate=NaN", "--nodes=0", "--lease-size=0", "--ttl=4s", "--ttl=5500ms", "--ttl=2h", "--mode=slow", "--commit=0s"} {
		if _, err := parse(t, "", "plan", "--rate=1", "--nodes=1", wrong); err == nil {
			t.Errorf("%s was accepted", wrong)
		}
	}
}
