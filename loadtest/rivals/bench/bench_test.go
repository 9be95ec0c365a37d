package main

import (
	"slices"
	"testing"

	"tranche/loadtest/rivals/bench/report"
)

func TestADistantContestantIsMeasuredOnlyWhereAnAimIsAboutIt(t *testing.T) {
	at := slices.IndexFunc(field, func(c contestant) bool { return c.distant })
	if at < 0 {
		t.Fatal("no contestant is distant")
	}
	distant, near := field[at], field[0]
	for _, connections := range []int{1, 64, report.DistantConnections, 1024} {
		if got := distant.takesPart(report.DistantConnections, connections); got != (connections == report.DistantConnections) {
			t.Errorf("distant, %d connections: %v", connections, got)
		}
		if !near.takesPart(report.DistantConnections, connections) {
			t.Errorf("%s has no part over %d connections", near.name, connections)
		}
	}
}
