package api

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"go.uber.org/goleak"

	"tranche/allocator"
	"tranche/internal/ledger"
	"tranche/internal/storetest"
	"tranche/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	adminKey    = "admin-key-of-the-tests"
	checkoutKey = "checkout-key-of-the-tests"
)

// world is an API over the in-memory ledger. Each exchange that goes through call is checked against openapi.yaml.
type world struct {
	t        *testing.T
	handler  http.Handler
	desk     *desk
	log      *bytes.Buffer
	config   Config
	ready    bool
	degraded []Degraded
	begun    bool
	doc      routers.Router
	clock    time.Time
}

func newWorld(t *testing.T, adjust ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, log: new(bytes.Buffer), ready: true, begun: true, doc: contract(t)}
	w.clock = time.Date(2026, 11, 27, 8, 0, 0, 123456000, time.UTC)
	now := func() time.Time { return w.clock }
	w.desk = newDesk(now)
	registry := prometheus.NewRegistry()
	w.config = Config{
		Keys:           Keys{Admin: adminKey, Checkout: checkoutKey},
		RequestTimeout: 5 * time.Second,
		Now:            now,
		Logger:         zerolog.New(zerolog.SyncWriter(w.log)),
		Registerer:     registry,
		Gatherer:       registry,
	}
	for _, a := range adjust {
		a(&w.config)
	}
	handler, err := New(w.config, Services{
		Allocator: w.desk, Books: w.desk.Fake,
		Ready:   func() Readiness { return Readiness{w.ready, "as told", w.degraded} },
		Started: func() bool { return w.begun },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.handler = handler
	return w
}

func noKeys(c *Config) { c.Keys = Keys{} }

// contract is a router over openapi.yaml, with objects that answers consist of closed, so that an undocumented member is found.
func contract(t *testing.T) routers.Router {
	t.Helper()
	router, err := loadContract()
	if err != nil {
		t.Fatalf("openapi.yaml: %v", err)
	}
	return router
}

var loadContract = sync.OnceValues(func() (routers.Router, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPIYAML)
	if err != nil {
		return nil, err
	}
	if err := doc.Validate(context.Background()); err != nil {
		return nil, err
	}
	for _, s := range doc.Components.Schemas {
		closeObjects(s.Value)
	}
	return gorillamux.NewRouter(doc)
})

func closeObjects(s *openapi3.Schema) {
	if len(s.Properties) > 0 {
		closed := false
		s.AdditionalProperties = openapi3.AdditionalProperties{Has: &closed}
	}
	for _, p := range s.Properties {
		closeObjects(p.Value)
	}
	if s.Items != nil {
		closeObjects(s.Items.Value)
	}
}

// answer is a response, with the members of its JSON object.
type answer struct {
	t *testing.T
	*httptest.ResponseRecorder
	json map[string]any
}

// request makes one, as admin, with JSON and a key, unless headers ("Name: value", or "-Name" to have none) say otherwise.
func request(method, target, body string, headers ...string) *http.Request {
	var reader io.Reader
	if body != "" {
		reader = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, target, reader)
	r.Host, r.RemoteAddr = "127.0.0.1:8080", "127.0.0.1:50000"
	r.Header.Set("Authorization", "Bearer "+adminKey)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range headers {
		if name, found := strings.CutPrefix(h, "-"); found {
			r.Header.Del(name)
			continue
		}
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	return r
}

func (w *world) call(method, target, body string, headers ...string) *answer {
	w.t.Helper()
	return w.send(request(method, target, body, headers...), body)
}

func (w *world) send(r *http.Request, body string) *answer {
	w.t.Helper()
	a := &answer{t: w.t, ResponseRecorder: httptest.NewRecorder()}
	w.handler.ServeHTTP(a, r)
	if r.Method == http.MethodHead {
		return a // without a body; the document has no operations of it
	}
	if contentType := a.Header().Get("Content-Type"); contentType == typeJSON || contentType == typeProblem {
		if err := json.Unmarshal(a.Body.Bytes(), &a.json); err != nil {
			w.t.Fatalf("%s %s: %v in %s", r.Method, r.URL, err, a.Body)
		}
	}
	w.checkContract(r, body, a)
	return a
}

// checkContract checks an exchange against the document: the answer always, the request where it was accepted.
func (w *world) checkContract(r *http.Request, body string, a *answer) {
	w.t.Helper()
	if a.problem() == "route-not-found" || a.problem() == "method-not-allowed" || a.Code == statusClientGone {
		return // of no operation
	}
	r = r.Clone(context.Background())
	r.Body = io.NopCloser(strings.NewReader(body))
	route, params, err := w.doc.FindRoute(r)
	if err != nil {
		w.t.Fatalf("%s %s is not in the document: %v", r.Method, r.URL, err)
	}
	options := &openapi3filter.Options{
		AuthenticationFunc:    openapi3filter.NoopAuthenticationFunc,
		IncludeResponseStatus: true,
		MultiError:            true,
		SkipSettingDefaults:   true,
	}
	options.ExcludeResponseBody = strings.Contains(a.Header().Get("Content-Type"), "ndjson")
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route, Options: options}
	if a.Code < 300 {
		if err := openapi3filter.ValidateRequest(context.Background(), in); err != nil {
			w.t.Errorf("%s %s was accepted against the document: %v", r.Method, r.URL, err)
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: a.Code, Header: a.Header(), Options: options}
	out.SetBodyBytes(a.Body.Bytes())
	if err := openapi3filter.ValidateResponse(context.Background(), out); err != nil {
		w.t.Errorf("%s %s: the answer is not as documented: %v\n%s", r.Method, r.URL, err, a.Body)
	}
}

// problem gives the name of the problem, or nothing.
func (a *answer) problem() string {
	if a.Header().Get("Content-Type") != typeProblem {
		return ""
	}
	return strings.TrimPrefix(fmt.Sprint(a.json["type"]), "/problems/")
}

func (a *answer) is(status int, problem string) *answer {
	a.t.Helper()
	if a.Code != status || a.problem() != problem {
		a.t.Fatalf("status %d %q, want %d %q: %s", a.Code, a.problem(), status, problem, a.Body)
	}
	return a
}

// has compares members of the answer by their printed form; "a.b" is the member b of a.
func (a *answer) has(members map[string]any) *answer {
	a.t.Helper()
	for path, want := range members {
		var got any = a.json
		for name := range strings.SplitSeq(path, ".") {
			object, _ := got.(map[string]any)
			var found bool
			if got, found = object[name]; !found {
				got = "(absent)"
			}
		}
		if number, ok := got.(float64); ok {
			got = int64(number)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			a.t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	return a
}

// header compares one.
func (a *answer) header(name, want string) *answer {
	a.t.Helper()
	if got := a.Header().Get(name); got != want {
		a.t.Errorf("header %s is %q, want %q", name, got, want)
	}
	return a
}

// faults gives "field rule" of each fault, sorted as answered.
func (a *answer) faults() string {
	var list []string
	faults, _ := a.json["errors"].([]any)
	for _, f := range faults {
		fault := f.(map[string]any)
		list = append(list, fmt.Sprint(fault["field"], " ", fault["rule"]))
	}
	return strings.Join(list, ", ")
}

func (a *answer) items() []map[string]any {
	var list []map[string]any
	items, _ := a.json["items"].([]any)
	for _, i := range items {
		list = append(list, i.(map[string]any))
	}
	return list
}

// createOffer makes an offer with the given further members.
func (w *world) createOffer(id string, members string) {
	w.t.Helper()
	body := fmt.Sprintf(`{"id":%q,"name":"An offer","unit":"redemptions","budget":100%s}`, id, members)
	w.call("POST", "/v1/offers", body).is(201, "")
}

// redeem makes a redemption and gives its id.
func (w *world) redeem(offer, key, body string) string {
	w.t.Helper()
	a := w.call("POST", "/v1/offers/"+offer+"/redemptions", body, "Idempotency-Key: "+key).is(201, "")
	return a.json["id"].(string)
}

// desk is the smallest allocator: every redemption is settled at once, on one lease per offer.
type desk struct {
	*storetest.Fake
	now     func() time.Time
	node    models.ID
	leases  map[string]*models.Lease
	fail    error         // what the calls that change something answer with
	block   bool          // whether they wait for the end of their context
	linger  time.Duration // and for how long they go on then
	ended   error         // why it ended
	until   time.Time     // the deadline of the last of them
	calls   int           // of Redeem, Refund, Confirm and Cancel
	pending []allocator.Pending
	// incomplete says that other nodes may have redemptions in their journals.
	incomplete bool
	// journaled says that redemptions have been acknowledged from the journal, whatever has become of their lease.
	journaled bool
}

func newDesk(now func() time.Time) *desk {
	d := &desk{Fake: storetest.NewFake(now), now: now, node: models.NewID(), leases: map[string]*models.Lease{}}
	if _, err := d.RegisterNode(context.Background(), d.node, "node-1"); err != nil {
		panic(err)
	}
	return d
}

func (d *desk) LedgerNow() models.Micros { return models.MicrosOf(d.now()) }

func (d *desk) refusal(ctx context.Context) error {
	d.until, _ = ctx.Deadline()
	if d.block {
		<-ctx.Done()
		d.ended = ctx.Err()
		time.Sleep(d.linger)
		return d.ended
	}
	if d.fail != nil {
		return fmt.Errorf("in the depths: %w", d.fail)
	}
	return nil
}

func (d *desk) Redeem(ctx context.Context, offerID string, req allocator.RedeemRequest) (allocator.Redeemed, error) {
	d.calls++
	if err := d.refusal(ctx); err != nil {
		return allocator.Redeemed{}, err
	}
	offer, err := d.Offer(ctx, offerID)
	if err != nil {
		return allocator.Redeemed{}, err
	}
	if status := offer.StatusAt(d.LedgerNow()); status != models.StatusActive {
		return allocator.Redeemed{}, &models.NotActiveError{Status: status, StartsAt: offer.StartsAt, EndsAt: offer.EndsAt}
	}
	lease, err := d.lease(ctx, &offer)
	if err != nil {
		return allocator.Redeemed{}, err
	}
	entry := models.Entry{
		OfferID: offerID, ID: models.NewID(), Redemption: models.RedemptionIDOf(offerID, req.Key).Hash, Kind: models.KindRedeem,
		UserID: req.UserID, OrderID: req.OrderID, IdempotencyKey: req.Key, Units: req.Units, Metadata: req.Metadata,
		NodeID: d.node, LeaseID: lease.ID, CreatedAt: d.LedgerNow(),
	}
	if req.HoldFor > 0 {
		ends := entry.CreatedAt.Add(req.HoldFor)
		entry.Kind, entry.HoldExpiresAt = models.KindHold, &ends
	}
	verdict, err := d.settle(ctx, &offer, lease, entry)
	verdict.Redemption.Journaled = d.journaled
	return allocator.Redeemed{Redemption: verdict.Redemption, Replayed: verdict.Replayed}, err
}

func (d *desk) Refund(ctx context.Context, id models.RedemptionID, req allocator.RefundRequest) (allocator.Refunded, error) {
	verdict, err := d.giveBack(ctx, id, models.Entry{Kind: models.KindRefund, IdempotencyKey: req.Key, Units: req.Units, Reason: req.Reason})
	return allocator.Refunded{Refund: verdict.Entry, Redemption: verdict.Redemption, Replayed: verdict.Replayed}, err
}

func (d *desk) Confirm(ctx context.Context, id models.RedemptionID, units int64) (models.Redemption, error) {
	verdict, err := d.giveBack(ctx, id, models.Entry{Kind: models.KindConfirm, Units: units})
	return verdict.Redemption, err
}

func (d *desk) Cancel(ctx context.Context, id models.RedemptionID) (models.Redemption, error) {
	verdict, err := d.giveBack(ctx, id, models.Entry{Kind: models.KindCancel})
	return verdict.Redemption, err
}

func (d *desk) giveBack(ctx context.Context, id models.RedemptionID, e models.Entry) (models.Verdict, error) {
	d.calls++
	if err := d.refusal(ctx); err != nil {
		return models.Verdict{}, err
	}
	offer, err := d.Offer(ctx, id.OfferID)
	if err != nil {
		return models.Verdict{}, err
	}
	pool, _, err := d.OpenPool(ctx, models.Lease{
		OfferID: id.OfferID, ID: models.NewID(), NodeID: d.node, Epoch: 1, TTLSeconds: 60,
	})
	if err != nil {
		return models.Verdict{}, err
	}
	e.OfferID, e.ID, e.Redemption, e.NodeID, e.LeaseID, e.CreatedAt = id.OfferID, models.NewID(), id.Hash, d.node, pool.ID, d.LedgerNow()
	return d.settle(ctx, &offer, &pool, e)
}

func (d *desk) Complete(ctx context.Context, _ string) (bool, error) {
	return !d.incomplete, d.refusal(ctx)
}

func (d *desk) Redemption(ctx context.Context, id models.RedemptionID) (models.Redemption, error) {
	if err := d.refusal(ctx); err != nil {
		return models.Redemption{}, err
	}
	histories, err := d.Histories(ctx, id.OfferID, []models.ID{id.Hash})
	if err != nil {
		return models.Redemption{}, err
	}
	if len(histories[id.Hash]) == 0 {
		return models.Redemption{}, models.ErrRedemptionNotFound
	}
	r, err := ledger.Fold(histories[id.Hash])
	r.Journaled = d.journaled
	return r, err
}

func (d *desk) lease(ctx context.Context, offer *models.Offer) (*models.Lease, error) {
	if l := d.leases[offer.ID]; l != nil {
		return l, nil
	}
	grant, err := d.Grant(ctx, models.GrantRequest{
		OfferID: offer.ID, NodeID: d.node, Epoch: 1, LeaseID: models.NewID(),
		Size: func(_ *models.Offer, unallocated, _ int64) int64 { return unallocated },
	})
	if err != nil {
		return nil, err
	}
	d.leases[offer.ID] = grant.Lease
	return d.leases[offer.ID], nil
}

// reclaim closes the offer's lease as a reaper does. Its owner had acknowledged before what it redeems from it afterwards.
func (d *desk) reclaim(offerID string) {
	l := d.leases[offerID]
	if _, did, err := d.CloseLease(context.Background(), offerID, l.ID, models.LeaseReclaimed, nil); err != nil || !did {
		panic(fmt.Sprint("not reclaimed: ", err))
	}
	d.journaled = true
}

func (d *desk) settle(ctx context.Context, offer *models.Offer, lease *models.Lease, e models.Entry) (models.Verdict, error) {
	lease.Batch++
	wanted := models.Wanted{Entry: e, Acknowledged: d.journaled && e.Kind.Spends()}
	verdicts, err := d.Settle(ctx, models.Batch{Offer: offer, LeaseID: lease.ID, Number: lease.Batch, Wanted: []models.Wanted{wanted}})
	if err != nil {
		return models.Verdict{}, err
	}
	return verdicts[0], verdicts[0].Err
}

func (d *desk) CreateOffer(ctx context.Context, offer models.Offer, by models.Audit) (models.Offer, bool, error) {
	if err := d.refusal(ctx); err != nil {
		return models.Offer{}, false, err
	}
	by.NodeID = d.node
	return d.Fake.CreateOffer(ctx, offer, by)
}

func (d *desk) ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (allocator.Applied, error) {
	if err := d.refusal(ctx); err != nil {
		return allocator.Applied{}, err
	}
	by.NodeID = d.node
	offer, err := d.Fake.ChangeOffer(ctx, id, ifVersion, change, by)
	if shown, _ := d.Fake.Offer(ctx, id); err == nil {
		offer.Counting = shown.Counting
	}
	return allocator.Applied{Offer: offer, Applied: []allocator.Owner{{NodeID: d.node, NodeName: "node-1"}}, Pending: d.pending}, err
}
