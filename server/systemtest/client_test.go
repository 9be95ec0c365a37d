package systemtest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"testing"
)

// answer is what a node said to a request.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	problem  problem // of an answer from 400 on
	replayed bool
}

// problem is an application/problem+json.
type problem struct {
	Type         string `json:"type"`
	Title        string `json:"title"`
	Status       int    `json:"status"`
	Detail       string `json:"detail"`
	Retryable    *bool  `json:"retryable"`
	RetryAfterMS *int64 `json:"retry_after_ms"`
	Outcome      string `json:"outcome"`
}

// is reports whether the answer is the problem of that name.
func (a *answer) is(name string) bool { return a.status >= 400 && a.problem.Type == "/problems/"+name }

func (a *answer) String() string { return fmt.Sprintf("%d %.300s", a.status, a.body) }

// decode reads the body of a success.
func decode[T any](t *testing.T, a *answer, status int) T {
	t.Helper()
	var v T
	if a.status != status {
		t.Fatalf("got %v, want %d", a, status)
	}
	if err := json.Unmarshal(a.body, &v); err != nil {
		t.Fatalf("%v: %v", err, a)
	}
	return v
}

// redemption is what the tests look at of one.
type redemption struct {
	ID             string `json:"id"`
	UserID         string `json:"user_id"`
	IdempotencyKey string `json:"idempotency_key"`
	Units          int64  `json:"units"`
	RefundedUnits  int64  `json:"refunded_units"`
	State          string `json:"state"`
	LeaseID        string `json:"lease_id"`
	Recorded       string `json:"recorded"`
	Late           bool   `json:"late"`
}

type refund struct {
	ID             string `json:"id"`
	RedemptionID   string `json:"redemption_id"`
	IdempotencyKey string `json:"idempotency_key"`
	Units          int64  `json:"units"`
}

type balance struct {
	Budget      int64 `json:"budget"`
	Allocated   int64 `json:"allocated"`
	Unallocated int64 `json:"unallocated"`
	Outstanding int64 `json:"outstanding"`
	Held        int64 `json:"held"`
	Redeemed    int64 `json:"redeemed"`
	Refunded    int64 `json:"refunded"`
	NetSpent    int64 `json:"net_spent"`
	Overspend   int64 `json:"overspend"`

	OverspendBound int64 `json:"overspend_bound"`
	LateUnits      int64 `json:"late_units"`
}

// check looks at the identities that hold in each answer.
func (b balance) check() error {
	switch {
	case b.Unallocated != b.Budget-b.Allocated,
		b.Allocated != b.NetSpent+b.Outstanding,
		b.NetSpent != b.Redeemed+b.Held-b.Refunded,
		b.Overspend != max(0, b.NetSpent-b.Budget),
		b.OverspendBound < b.Overspend, b.LateUnits < b.Overspend,
		b.Outstanding < 0, b.Allocated < 0:
		return fmt.Errorf("a balance that does not add up: %+v", b)
	}
	return nil
}

// readBalance reads and checks a balance.
func readBalance(a *answer) (balance, error) {
	var b balance
	if err := json.Unmarshal(a.body, &b); err != nil {
		return b, fmt.Errorf("%w: %v", err, a)
	}
	return b, b.check()
}

// send sends a request with a JSON body and reads the answer. An error means that there was none, or half of one.
func (n *node) send(ctx context.Context, method, path, key string, body any) (*answer, error) {
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	header := http.Header{}
	if body != nil {
		header.Set("Content-Type", "application/json")
	}
	if key != "" {
		header.Set("Idempotency-Key", key)
	}
	return n.sendRaw(ctx, method, path, header, content)
}

func (n *node) sendRaw(ctx context.Context, method, path string, header http.Header, body io.Reader) (*answer, error) {
	request, err := http.NewRequestWithContext(ctx, method, n.url+path, body)
	if err != nil {
		return nil, err
	}
	request.Header = header
	response, err := n.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	a := &answer{status: response.StatusCode, header: response.Header}
	if a.body, err = io.ReadAll(response.Body); err != nil {
		return nil, err
	}
	a.replayed = response.Header.Get("Idempotent-Replayed") == "true"
	if a.status >= 400 {
		return a, a.readProblem()
	}
	return a, nil
}

// readProblem holds every refusal to the shape of the contract.
func (a *answer) readProblem() error {
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		return malformed{fmt.Errorf("a problem of type %q: %v", got, a)}
	}
	if err := json.Unmarshal(a.body, &a.problem); err != nil {
		return malformed{fmt.Errorf("%w: %v", err, a)}
	}
	p := a.problem
	switch {
	case p.Status != a.status, p.Type == "", p.Title == "", p.Retryable == nil:
		return malformed{fmt.Errorf("a problem without its fields: %v", a)}
	case *p.Retryable && p.RetryAfterMS == nil:
		return malformed{fmt.Errorf("retryable, and no retry_after_ms: %v", a)}
	case a.status == http.StatusServiceUnavailable && a.header.Get("Retry-After") == "":
		return malformed{fmt.Errorf("no Retry-After: %v", a)}
	}
	return nil
}

// malformed is an answer that breaks the contract, as opposed to none at all.
type malformed struct{ error }

// must is send for requests that have to be answered.
func (n *node) must(method, path, key string, body any) *answer {
	n.t.Helper()
	a, err := n.send(n.t.Context(), method, path, key, body)
	if err != nil {
		n.t.Fatalf("%s: %s %s: %v", n.name, method, path, err)
	}
	return a
}

func redemptionsOf(offer string) string { return "/v1/offers/" + offer + "/redemptions" }

func refundsOf(id string) string { return "/v1/redemptions/" + url.PathEscape(id) + "/refunds" }

// redeem asks for units of an offer.
func (n *node) redeem(offer, key, user string, units int64) *answer {
	n.t.Helper()
	return n.must(http.MethodPost, redemptionsOf(offer), key, map[string]any{"user_id": user, "units": units})
}

// hold asks for units to be held.
func (n *node) hold(offer, key, user string, units, seconds int64) *answer {
	n.t.Helper()
	return n.must(http.MethodPost, redemptionsOf(offer), key, map[string]any{"user_id": user, "units": units, "hold_seconds": seconds})
}

// resolve confirms or cancels a hold.
func (n *node) resolve(id, how string) *answer {
	n.t.Helper()
	return n.must(http.MethodPost, "/v1/redemptions/"+url.PathEscape(id)+"/"+how, "", nil)
}

// refund asks for units back; 0: all that is left.
func (n *node) refund(id, key string, units int64) *answer {
	n.t.Helper()
	body := map[string]any{}
	if units > 0 {
		body["units"] = units
	}
	return n.must(http.MethodPost, refundsOf(id), key, body)
}

// balance asks for an offer's balance, and checks it.
func (n *node) balance(offer string) balance {
	n.t.Helper()
	a := n.must(http.MethodGet, "/v1/offers/"+offer+"/balance", "", nil)
	if a.status != http.StatusOK {
		n.t.Fatal(a)
	}
	b, err := readBalance(a)
	if err != nil {
		n.t.Fatal(err)
	}
	return b
}

// offer is what the tests say of one; the rest is left to the defaults.
type offer struct {
	ID                   string `json:"id"`
	Name                 string `json:"name"`
	Unit                 string `json:"unit"`
	Budget               int64  `json:"budget"`
	Mode                 string `json:"mode"`
	Adaptive             *bool  `json:"adaptive,omitempty"`
	UserLimitRedemptions *int64 `json:"user_limit_redemptions,omitempty"`
	LeaseSize            int64  `json:"lease_size,omitempty"`
	LeaseTTLSeconds      int64  `json:"lease_ttl_seconds,omitempty"`
}

// createOffer creates o through the first node, as a strict one unless it says otherwise. The other nodes know it by themselves, at
// the latest when they are asked for it.
func (f *fleet) createOffer(o offer) string {
	f.t.Helper()
	o.Name, o.Unit = "System test "+o.ID, "redemptions"
	if o.Mode == "" {
		o.Mode = "strict"
	}
	decode[offer](f.t, f.nodes[0].must(http.MethodPost, "/v1/offers", "", o), http.StatusCreated)
	return o.ID
}
