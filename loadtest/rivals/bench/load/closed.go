package load

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/go-json-experiment/json"
)

// Closed is a run of wrk.
type Closed struct {
	Script      string // loadtest/redeem.lua
	URL         string
	Offer       string
	Run         string // part of all keys and users
	Connections int
	Duration    time.Duration // whole seconds
}

// Throughput is what came of it.
type Throughput struct {
	Requests      int64
	NotSuccessful int64 // answered with a status of 400 or more
	Lost          int64 // without an answer
	Elapsed       time.Duration
	P50, P99      time.Duration
	P999          time.Duration
}

// Rate is how many redemptions were acknowledged a second.
func (t *Throughput) Rate() float64 {
	return float64(t.Acknowledged()) / t.Elapsed.Seconds()
}

// Acknowledged is how many redemptions were.
func (t *Throughput) Acknowledged() int64 { return t.Requests - t.NotSuccessful }

// Start runs wrk to its end.
func (c *Closed) Start(ctx context.Context) (Throughput, error) {
	cmd := exec.CommandContext(ctx, "wrk", "--threads", "1", "--connections", fmt.Sprint(c.Connections),
		"--duration", fmt.Sprintf("%.0fs", c.Duration.Seconds()), "--timeout", "10s", "--script", c.Script, c.URL)
	cmd.Env = append(os.Environ(), "OFFER="+c.Offer, "RUN="+c.Run)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return Throughput{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	return parseWrk(out)
}

// parseWrk reads the last line, which is the script's.
func parseWrk(out []byte) (Throughput, error) {
	out = bytes.TrimSpace(out)
	line := out[bytes.LastIndexByte(out, '\n')+1:]
	var r struct {
		Requests      int64 `json:"requests"`
		Microseconds  int64 `json:"microseconds"`
		NotSuccessful int64 `json:"not_successful"`
		Lost          int64 `json:"lost"`
		P50           int64 `json:"p50"`
		P99           int64 `json:"p99"`
		P999          int64 `json:"p999"`
	}
	if err := json.Unmarshal(line, &r); err != nil {
		return Throughput{}, fmt.Errorf("wrk said something else: %w: %s", err, out)
	}
	return Throughput{
		Requests: r.Requests, NotSuccessful: r.NotSuccessful, Lost: r.Lost, Elapsed: micros(r.Microseconds),
		P50: micros(r.P50), P99: micros(r.P99), P999: micros(r.P999),
	}, nil
}

func micros(n int64) time.Duration { return time.Duration(n) * time.Microsecond }
