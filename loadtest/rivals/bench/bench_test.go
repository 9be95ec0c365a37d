package main

import (
	"slices"
	"strings"
	"testing"
)

func TestWhoIsComparedMeetsAgain(t *testing.T) {
	var servers []*server
	for i := range field { // as in the third round
		servers = append(servers, &server{contestant: field[(i+2)%len(field)]})
	}
	names := func(servers []*server) string {
		var names []string
		for _, v := range servers {
			names = append(names, v.name)
		}
		return strings.Join(names, ", ")
	}
	for _, c := range []struct {
		step step
		want string
	}{
		{step{}, names(servers)},
		{step{matched: 64}, names(servers)},
		{step{turn: 1, matched: 64}, "floor, fast, strict, naive, redis"},
		{step{turn: 2, matched: 64}, "redis, naive, strict, fast, floor"},
		{step{turn: 1, matched: 256}, "floor, strict, strict + limit, naive, redis"},
		{step{turn: 1, matched: 1}, ""},
	} {
		if got := names(c.step.order(slices.Clone(servers))); got != c.want {
			t.Errorf("turn %d over %d connections: %s; want %s", c.step.turn, c.step.matched, got, c.want)
		}
	}
}
