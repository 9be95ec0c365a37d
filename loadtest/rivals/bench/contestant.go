package main

import (
	"fmt"
	"strconv"
	"time"

	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/bench/trial"
)

// contestant is a server as it is measured.
type contestant struct {
	name    string // in the report; also what its offer is
	rival   string // kind of rival; empty: Tranche, or the floor
	mode    string // of Tranche's offer; empty: none
	limit   int64  // redemptions per user; zero: none
	redis   bool   // needs one
	job     bool   // rolls a log up behind its answers
	endures bool   // has a sustained run, too
	distant bool   // from its database, by a relay of networkDelay; measured only where an aim is about it
}

// networkDelay is how long a distant contestant's bytes take to its database, and again to come back. The kernel wakes a sleeper a little late,
// so a round trip takes somewhat more than a millisecond; the report says how much.
const networkDelay = 500 * time.Microsecond

// takesPart reports whether the contestant is measured over so many connections, or at such a rate.
func (c *contestant) takesPart(only, connectionsOrRate int) bool {
	return !c.distant || connectionsOrRate == only
}

// field are all contestants, in the order of the report. The rivals count users always, as their tables have it; of Tranche there is one
// strict with a limit to hold against them, and one without.
var field = []contestant{ // read only
	{name: report.Floor, endures: true},
	{name: report.Fast, mode: "fast", endures: true},
	{name: "available", mode: "available"},
	{name: report.Strict, mode: "strict"},
	{name: report.StrictLimit, mode: "strict", limit: 1},
	{name: report.Distant, mode: "strict", distant: true},
	{name: report.Naive, rival: "naive", limit: 1},
	{name: "slotted", rival: "slotted", limit: 1},
	{name: "split", rival: "split", limit: 1, redis: true, job: true},
	{name: report.Redis, rival: "redis", limit: 1, redis: true, job: true, endures: true},
}

// connections is how many the contestant may have to the database: the size of Tranche's pool by default, or of the rivals', and those that
// are not of the pool.
func (c *contestant) connections() int {
	switch {
	case c.mode != "":
		return 32 + 4
	case c.rival != "":
		return rivalConns
	default:
		return 0
	}
}

// rivalConns is the size of the rivals' pools.
const rivalConns = 64

func (c *contestant) hasBooks() bool { return c.rival != "" || c.mode != "" }

// command is how the contestant is started. dsn and redis are empty where it needs none.
func (c *contestant) command(bin, addr, dir, dsn, redis string, period time.Duration) []string {
	switch {
	case c.mode != "":
		return []string{bin + "/tranche", "--listen", addr, "--data-dir", dir + "/data", "--node-name", "bench", "--dsn", dsn, "--drain-wait", "0s", "--log-level", "warn"}
	case c.rival != "":
		args := []string{bin + "/rivals", "--kind", c.rival, "--listen", addr, "--dsn", dsn, "--conns", strconv.Itoa(rivalConns), "--period", period.String()}
		if redis != "" {
			args = append(args, "--redis", redis)
		}
		return args
	default:
		return []string{bin + "/floor", "--listen", addr}
	}
}

// offer is the body that makes an offer. leaseSize is Tranche's; zero: its default.
func (c *contestant) offer(id string, budget, leaseSize int64) string {
	body := fmt.Sprintf(`{"id": %q, "name": %q, "budget": %d`, id, id, budget)
	if c.limit > 0 {
		body += fmt.Sprintf(`, "user_limit_redemptions": %d`, c.limit)
	}
	if c.mode != "" {
		body += fmt.Sprintf(`, "mode": %q`, c.mode)
		if leaseSize > 0 {
			body += fmt.Sprintf(`, "lease_size": %d`, leaseSize)
		}
	}
	return body + "}"
}

func (c *contestant) books() *trial.Queries {
	if c.mode != "" {
		return &trial.Tranche
	}
	return &trial.Rivals
}
