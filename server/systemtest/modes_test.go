package systemtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// What the scenarios of the modes fast and available share.

// drainAtOnce lets a node that is asked to end do so without waiting for a load balancer.
const drainAtOnce = "--drain-wait=0s"

// settledAfterOutage is how soon the backlog of an outage must be gone after the database is back.
const settledAfterOutage = 10 * time.Second

// createWith creates an offer in a mode, with leases of one size from the start, so that a node has something to outlast an outage with.
func (f *fleet) createWith(mode string, o offer) string {
	f.t.Helper()
	adaptive := false
	o.Mode, o.Adaptive = mode, &adaptive
	return f.createOffer(o)
}

// journalCommand runs one of the program's commands for the journal of a node that doesn't run, and gives what it printed.
func (n *node) journalCommand(name string, args ...string) string {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), 30*time.Second)
	defer cancel()
	command := exec.CommandContext(ctx, shared.binary(n.t), append([]string{
		"journal", name, "--data-dir", filepath.Join(n.dir, "data"),
	}, args...)...)
	command.Env = n.environment()
	out, err := command.CombinedOutput()
	if err != nil {
		n.t.Fatalf("journal %s of %s: %v\n%s", name, n.name, err, out)
	}
	return string(out)
}

// metric reads one number without labels from a node's metrics.
func (n *node) metric(ctx context.Context, name string) (float64, error) {
	status, body, err := n.get(ctx, "/metrics")
	if err != nil {
		return 0, err
	}
	lines := bufio.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		if value, found := strings.CutPrefix(lines.Text(), name+" "); found {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, fmt.Errorf("%s has no metric %s: %d, %d bytes", n.name, name, status, len(body))
}

// backlog is how many records of a node's journal are not settled.
func (n *node) backlog(ctx context.Context) (int, error) {
	v, err := n.metric(ctx, "tranche_journal_backlog_records")
	return int(v), err
}

// awaitBacklog waits until a node has at least that much to lose.
func (n *node) awaitBacklog(atLeast int, within time.Duration) {
	n.t.Helper()
	eventually(n.t, within, func(ctx context.Context) error {
		got, err := n.backlog(ctx)
		if err == nil && got < atLeast {
			err = fmt.Errorf("%d records of %s are not settled, want %d", got, n.name, atLeast)
		}
		return err
	})
}

// awaitSettled waits until everything that the nodes have acknowledged is in the ledger. While they are under load there is always
// something on its way; so each is waited for on its own, and at most leaves that much.
func (f *fleet) awaitSettled(within time.Duration, leaves int, nodes ...*node) {
	f.t.Helper()
	if len(nodes) == 0 {
		nodes = f.nodes
	}
	deadline := time.Now().Add(within)
	for _, n := range nodes {
		eventually(f.t, time.Until(deadline), func(ctx context.Context) error {
			left, err := n.backlog(ctx)
			if err == nil && left > leaves {
				err = fmt.Errorf("%d records of %s are not settled", left, n.name)
			}
			return err
		})
	}
}

// drainAll ends all nodes that run, and sees that they leave nothing: no lease, no unit that is not spent and not in the pool.
// Units that a node has lost track of would keep their lease open here.
func (f *fleet) drainAll(offerID string) {
	f.t.Helper()
	for _, n := range f.nodes {
		select {
		case <-n.exited:
		default:
			n.drain(15 * time.Second)
		}
	}
	b := f.readBooks(offerID)
	b.check(f.t)
	for id, l := range b.leases {
		if l.state == "active" {
			f.t.Errorf("lease %s, %s of %s, is active after all nodes have ended", id, l.kind, l.node)
		}
	}
	if spent := b.netSpent(); b.allocated != spent || b.unanswered() != 0 {
		f.t.Errorf("after all nodes have ended, %d are allocated and %d exposed; %d are spent", b.allocated, b.unanswered(), spent)
	}
}

// noneLate fails the test if anything went beyond a promise: nothing may have, where leases outlived the trouble.
func (b *books) noneLate(t *testing.T) {
	t.Helper()
	if b.lateUnits != 0 || len(b.exceptions) > 0 {
		t.Errorf("%d units late, %d listed, the first: %+v", b.lateUnits, len(b.exceptions), b.exceptions[:min(1, len(b.exceptions))])
	}
}

// noFailures fails the test unless every single request of the shop was answered with 201.
func (s *shop) noFailures() {
	s.t.Helper()
	if len(s.problems) > 0 || s.lost > 0 {
		s.t.Errorf("not every request was redeemed: %s", s.heard())
	}
}

// neverSlower fails the test if any request took longer than a bound.
func (s *shop) neverSlower(bound time.Duration) {
	s.t.Helper()
	if s.longest > bound {
		s.t.Errorf("a request took %v, the bound is %v: %s", s.longest, bound, s.heard())
	}
}

// askAt sends an order to one node, once, and gives what it was acknowledged with.
func (s *shop) askAt(n *node, o order) acked {
	s.t.Helper()
	if !s.attempt(s.t.Context(), n, &o) {
		s.t.Fatalf("%s did not redeem %s: %s", n.name, o.key, s.heard())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acked[o.key]
}

// awaitRecordedIn waits until that many more redemptions are acknowledged as recorded there.
func (s *shop) awaitRecordedIn(where string, more int, within time.Duration) {
	s.t.Helper()
	want := s.recordedIn(where) + more
	eventually(s.t, within, func(context.Context) error {
		if got := s.recordedIn(where); got < want {
			return fmt.Errorf("%d of %d recorded in the %s; heard %s", got, want, where, s.heard())
		}
		return nil
	})
}

// missing counts the acknowledged redemptions that are not in the books.
func (s *shop) missing(b *books) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	redeems := b.redeems()
	for key := range s.acked {
		if len(redeems[key]) == 0 {
			n++
		}
	}
	return n
}

// exception is a line of /v1/offers/{offer}/overspend.
type exception struct {
	Reason         string `json:"reason"`
	RedemptionID   string `json:"redemption_id"`
	UserID         string `json:"user_id"`
	OrderID        string `json:"order_id"`
	IdempotencyKey string `json:"idempotency_key"`
	Units          int64  `json:"units"`
	LeaseID        string `json:"lease_id"`
	NodeID         string `json:"node_id"`
	EntryID        string `json:"entry_id"`
}

// exceptions reads the whole list, page by page.
func (n *node) exceptions(offerID string) (all []exception) {
	n.t.Helper()
	type page struct {
		Items      []exception `json:"items"`
		NextCursor *string     `json:"next_cursor"`
	}
	for path := "/v1/offers/" + offerID + "/overspend?limit=100"; ; {
		a := n.must(http.MethodGet, path, "", nil)
		var p page
		if err := json.Unmarshal(a.body, &p); err != nil || a.status != http.StatusOK {
			n.t.Fatalf("%v: %v", err, a)
		}
		all = append(all, p.Items...)
		if p.NextCursor == nil {
			return all
		}
		path = "/v1/offers/" + offerID + "/overspend?limit=100&cursor=" + *p.NextCursor
	}
}

// checkListing holds what a node lists against the books, both ways.
func (b *books) checkListing(t *testing.T, listed []exception) {
	t.Helper()
	plain := func(uuid string) string { return strings.ReplaceAll(uuid, "-", "") }
	left := map[exceptionRow]bool{}
	for _, x := range b.exceptions {
		x.redemption = "" // a name of its own over HTTP; the key says the same
		left[x] = true
	}
	for _, l := range listed {
		row := exceptionRow{
			reason: l.Reason, entry: plain(l.EntryID), user: l.UserID, order: l.OrderID, key: l.IdempotencyKey,
			lease: plain(l.LeaseID), node: plain(l.NodeID), units: l.Units,
		}
		if !left[row] {
			t.Errorf("listed, and not in the books, or a second time: %+v", l)
		}
		delete(left, row)
	}
	for row := range left {
		t.Errorf("in the books, and not listed: %+v", row)
	}
}
