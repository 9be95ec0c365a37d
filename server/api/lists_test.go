package api

import (
	"encoding/csv"
	"fmt"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/go-json-experiment/json"

	"tranche/allocator"
	"tranche/models"
)

func TestBooksAreListed(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "k", `{"user_id":"alice","order_id":"4711","units":2}`)
	w.call("POST", "/v1/redemptions/"+id+"/refunds", `{"units":1}`, aKey).is(201, "")

	entries := w.call("GET", "/v1/offers/o/ledger", "").is(200, "").has(map[string]any{"next_cursor": nil}).items()
	if len(entries) != 2 || entries[0]["kind"] != "refund" || entries[1]["kind"] != "redeem" || entries[1]["redemption_id"] != id {
		t.Errorf("entries %v", entries)
	}
	leases := w.call("GET", "/v1/offers/o/leases?limit=1", "").is(200, "")
	if items := leases.items(); len(items) != 1 || items[0]["kind"] != "refund_pool" || items[0]["node_name"] != "node-1" {
		t.Errorf("leases %v", items)
	}
	leases = w.call("GET", "/v1/offers/o/leases?limit=1&cursor="+leases.json["next_cursor"].(string), "").is(200, "")
	if items := leases.items(); len(items) != 1 || items[0]["kind"] != "block" || leases.json["next_cursor"] != nil {
		t.Errorf("leases %v", items)
	}
	nodes := w.call("GET", "/v1/nodes", "").is(200, "").items()
	if len(nodes) != 1 || nodes[0]["name"] != "node-1" || nodes[0]["active"] != true || fmt.Sprint(nodes[0]["leases_active"]) != "2" {
		t.Errorf("nodes %v", nodes)
	}
	w.clock = w.clock.Add(models.NodeSilence)
	if nodes := w.call("GET", "/v1/nodes", "").items(); nodes[0]["active"] != false {
		t.Errorf("a silent node is active: %v", nodes)
	}
}

func TestTheFeedGivesEachEntryOnce(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.createOffer("p", "")
	place := func() {
		if _, err := w.desk.PlaceEntries(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
	}
	follow := func(target, after string) (orders []string, position string) {
		page := w.call("GET", target+"?limit=2&after="+after, "").is(200, "").has(map[string]any{"next_cursor": nil})
		for _, item := range page.items() {
			orders = append(orders, item["order_id"].(string))
			position = item["position"].(string)
		}
		if position != "" && page.json["position"] != position {
			t.Errorf("%s after %s: the page ends at %v, its last item at %s", target, after, page.json["position"], position)
		}
		return orders, page.json["position"].(string)
	}
	for i, offer := range []string{"o", "p", "o", "p"} {
		w.redeem(offer, fmt.Sprint("k", i), fmt.Sprintf(`{"user_id":"u","order_id":"%d"}`, i))
		place()
	}
	ends := map[string]string{}
	for target, want := range map[string][][]string{
		"/v1/events":          {{"0", "1"}, {"2", "3"}, nil, nil},
		"/v1/offers/o/ledger": {{"0", "2"}, nil, nil},
	} {
		ends[target] = "0"
		for _, orders := range want {
			var got []string
			if got, ends[target] = follow(target, ends[target]); !slices.Equal(got, orders) {
				t.Errorf("%s: %v, want %v", target, got, orders)
			}
		}
	}
	w.redeem("o", "late", `{"user_id":"u","order_id":"late"}`)
	place()
	for target, end := range ends {
		if got, _ := follow(target, end); !slices.Equal(got, []string{"late"}) {
			t.Errorf("%s: what has committed since: %v", target, got)
		}
	}
	lines := w.call("GET", "/v1/events?after=1&limit=1", "", "Accept: text/csv").is(200, "").Body.String()
	if !strings.HasPrefix(lines, "position,id,") || !strings.Contains(lines, "\n2,") {
		t.Errorf("as CSV: %s", lines)
	}
	w.call("GET", "/v1/offers/none/ledger?after=0", "").is(404, "offer-not-found")
	w.call("GET", "/v1/offers/o/ledger?after=0&cursor=x", "").is(400, "invalid-request")
	for _, bad := range []string{"", "-1", "01", "x", "9223372036854775808"} {
		w.call("GET", "/v1/events?after="+bad, "").is(400, "invalid-request")
	}
}

// A redemption acknowledged before its lease was reclaimed is booked late, and listed for the shop.
func TestLateRedemptionsAreListed(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"mode":"fast"`)
	w.redeem("o", "k1", `{"user_id":"alice","units":40}`)
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"overspend_bound": 60, "late_units": 0, "overspend": 0})
	w.desk.reclaim("o")
	w.call("PATCH", "/v1/offers/o", `{"budget":45}`).is(200, "")
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"overspend_bound": 60, "outstanding": 0})
	late := w.redeem("o", "k2", `{"user_id":"=bob","order_id":"4711","units":10}`)
	w.call("GET", "/v1/redemptions/"+late, "").is(200, "").has(map[string]any{"late": true})
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").
		has(map[string]any{"overspend_bound": 55, "late_units": 10, "overspend": 5, "net_spent": 50, "unallocated": -5})

	items := w.call("GET", "/v1/offers/o/overspend", "").is(200, "").has(map[string]any{"next_cursor": nil}).items()
	if len(items) != 1 {
		t.Fatalf("listed %v", items)
	}
	entry := w.call("GET", "/v1/offers/o/ledger?limit=1", "").is(200, "").items()[0]
	for name, want := range map[string]any{
		"reason": "late", "redemption_id": late, "user_id": "=bob", "order_id": "4711", "idempotency_key": "k2", "units": 10.0,
		"lease_id": w.desk.leases["o"].ID.String(), "node_id": w.desk.node.String(), "entry_id": entry["id"], "created_at": "2026-11-27T08:00:00.123456Z", "booked_at": "2026-11-27T08:00:00.123456Z",
	} {
		if items[0][name] != want {
			t.Errorf("%s is %v, want %v", name, items[0][name], want)
		}
	}
	table := w.call("GET", "/v1/offers/o/overspend", "", "Accept: text/csv").is(200, "").Body.String()
	if !strings.HasPrefix(table, "id,reason,redemption_id,user_id,order_id,idempotency_key,units,lease_id,node_id,entry_id,created_at,booked_at\r\n") ||
		!strings.Contains(table, ",late,"+late+",'=bob,4711,k2,10,") {
		t.Errorf("as CSV: %s", table)
	}
	if line := w.call("GET", "/v1/offers/o/overspend", "", "Accept: application/x-ndjson").is(200, "").Body.String(); strings.Count(line, "\n") != 1 {
		t.Errorf("as NDJSON: %s", line)
	}
}

func TestAnOfferWithNothingToListIsNotAnUnknownOne(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for _, list := range []string{"leases", "ledger", "overspend", "history"} {
		if list != "history" { // which begins with the offer
			w.call("GET", "/v1/offers/o/"+list, "").is(200, "").has(map[string]any{"items": "[]", "next_cursor": nil})
		}
		w.call("GET", "/v1/offers/none/"+list, "").is(404, "offer-not-found")
	}
	w.call("GET", "/v1/offers/none/balance", "").is(404, "offer-not-found")
}

func TestACursorBelongsToItsList(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.createOffer("p", "")
	w.redeem("o", "k1", `{"user_id":"u"}`)
	w.redeem("o", "k2", `{"user_id":"u"}`)
	w.desk.reclaim("o")
	w.redeem("o", "k3", `{"user_id":"u"}`)
	w.redeem("o", "k4", `{"user_id":"u"}`)
	cursors := map[string]string{
		"/v1/offers?":                 "",
		"/v1/offers/o/ledger?":        "",
		"/v1/offers/o/overspend?":     "",
		"/v1/audit?":                  "",
		"/v1/redemptions?offer_id=o&": "",
	}
	for target := range cursors {
		cursors[target] = w.call("GET", target+"limit=1", "").is(200, "").json["next_cursor"].(string)
	}
	for target := range cursors {
		for from, cursor := range cursors {
			want := 400
			if from == target {
				want = 200
			}
			if got := w.call("GET", target+"cursor="+cursor, "").Code; got != want {
				t.Errorf("a cursor of %s in %s: %d", from, target, got)
			}
		}
		w.call("GET", target+"cursor="+cursors[target]+"A", "").is(400, "invalid-request")
		w.call("GET", target+"cursor="+cursors[target][1:], "").is(400, "invalid-request")
	}
}

func TestListsAsNDJSON(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.createOffer(id, "")
	}
	a := w.call("GET", "/v1/offers?limit=2", "", "Accept: application/x-ndjson").is(200, "").
		header("Content-Type", "application/x-ndjson").header("Vary", "Accept")
	lines := strings.Split(strings.TrimSuffix(a.Body.String(), "\n"), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines: %s", len(lines), a.Body)
	}
	for _, line := range lines {
		var item map[string]any
		if err := json.Unmarshal([]byte(line), &item); err != nil || item["name"] != "An offer" {
			t.Errorf("line %s: %v", line, err)
		}
	}
	page := w.call("GET", "/v1/offers?limit=2", "")
	if link := a.Header().Get("Link"); link == "" || link != page.Header().Get("Link") ||
		!strings.Contains(link, page.json["next_cursor"].(string)) || !strings.HasSuffix(link, `>; rel="next"`) {
		t.Errorf("link %q", link)
	}
}

func TestListsAsCSV(t *testing.T) {
	w := newWorld(t)
	w.createOffer("-o", "")
	for i, user := range []string{`=HYPERLINK("http://evil")`, "+1", "-1", "@x", "a,\"b\"", "plain"} {
		w.redeem("-o", fmt.Sprint("k", i), fmt.Sprintf(`{"user_id":%q,"metadata":{"a":[1,"=x"]}}`, user))
	}
	read := func(target string) []map[string]string {
		t.Helper()
		a := w.call("GET", target, "", "Accept: text/csv").is(200, "").header("Content-Type", "text/csv; charset=utf-8; header=present")
		records, err := csv.NewReader(a.Body).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var rows []map[string]string
		for _, record := range records[1:] {
			row := map[string]string{}
			for i, name := range records[0] {
				row[name] = record[i]
			}
			rows = append(rows, row)
		}
		return rows
	}
	rows := read("/v1/redemptions?offer_id=-o")
	var users []string
	for _, row := range rows {
		users = append(users, row["user_id"])
	}
	if got, want := strings.Join(users, " | "), `plain | a,"b" | '@x | '-1 | '+1 | '=HYPERLINK("http://evil")`; got != want {
		t.Errorf("users %s, want %s", got, want)
	}
	first := rows[0]
	if first["offer_id"] != "'-o" || first["order_id"] != "" || first["units"] != "1" || first["late"] != "false" || first["metadata"] != `{"a":[1,"=x"]}` {
		t.Errorf("row %v", first)
	}
	if entries := read("/v1/offers/-o/ledger?limit=2"); len(entries) != 2 || entries[0]["kind"] != "redeem" {
		t.Errorf("entries %v", entries)
	}
	for _, target := range []string{"/v1/offers", "/v1/nodes", "/v1/offers/-o/leases"} {
		if rows := read(target); len(rows) != 1 {
			t.Errorf("%s: %v", target, rows)
		}
	}
	empty := w.call("GET", "/v1/offers?q=none", "", "Accept: text/csv").Body.String()
	if !strings.HasPrefix(empty, "id,name,unit,budget,budget_target,") || strings.Count(empty, "\r\n") != 1 {
		t.Errorf("an empty list: %q", empty)
	}
}

// Many clients may ask for long pages of large items, and be slow to read them.
func TestC2APageEndsAtAMegabyteAndTheNextOneGoesOn(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/offers", `{"id":"o","name":"An offer","budget":1000}`).is(201, "")
	const made = 600
	metadata := `{"a":"` + strings.Repeat("<", models.MaxMetadataBytes-8) + `"}`
	for i := range made {
		if _, err := w.desk.Redeem(t.Context(), "o", allocator.RedeemRequest{Key: fmt.Sprint(i), UserID: "u", Units: 1, Metadata: &metadata}); err != nil {
			t.Fatal(err)
		}
	}
	type keyed struct {
		IdempotencyKey string `json:"idempotency_key"`
	}
	items := map[string]func(body string) (keys []string){
		typeJSON: func(body string) (keys []string) {
			var page struct {
				Items []keyed `json:"items"`
			}
			if err := json.Unmarshal([]byte(body), &page); err != nil {
				t.Fatal(err)
			}
			for _, r := range page.Items {
				keys = append(keys, r.IdempotencyKey)
			}
			return keys
		},
		typeNDJSON: func(body string) (keys []string) {
			for line := range strings.Lines(body) {
				var r keyed
				if err := json.Unmarshal([]byte(line), &r); err != nil {
					t.Fatal(err)
				}
				keys = append(keys, r.IdempotencyKey)
			}
			return keys
		},
		typeCSV: func(body string) (keys []string) {
			records, err := csv.NewReader(strings.NewReader(body)).ReadAll()
			if err != nil {
				t.Fatal(err)
			}
			for _, record := range records[1:] {
				keys = append(keys, record[slices.Index(records[0], "idempotency_key")])
			}
			return keys
		},
	}
	for form, read := range items {
		var keys []string
		pages, target := 0, "/v1/redemptions?limit=1000&offer_id=o"
		for target != "" {
			a := &answer{t: t, ResponseRecorder: httptest.NewRecorder()} // past the checks of the contract, which are slow on long pages
			w.handler.ServeHTTP(a, request("GET", target, "", "Accept: "+form))
			if a.Code != 200 || a.Body.Len() > 1<<20 {
				t.Fatalf("%s: status %d, %d bytes", form, a.Code, a.Body.Len())
			}
			keys = append(keys, read(a.Body.String())...)
			target, _ = strings.CutPrefix(a.Header().Get("Link"), "<")
			target, _ = strings.CutSuffix(target, `>; rel="next"`)
			pages++
		}
		if pages < 3 || len(keys) != made || keys[0] != fmt.Sprint(made-1) || keys[made-1] != "0" || len(slices.Compact(slices.Clone(keys))) != made {
			t.Errorf("%s: %d items on %d pages", form, len(keys), pages)
		}
	}
	w.call("GET", "/v1/redemptions?limit=50&offer_id=o", "").is(200, "") // as documented
}

// slowReader is a client that reads nothing until it is told to.
type slowReader struct {
	*httptest.ResponseRecorder
	reads chan struct{}
}

func (r *slowReader) Write(p []byte) (int, error) {
	<-r.reads
	return r.ResponseRecorder.Write(p)
}

func TestC2PagesOfSlowReadersAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.createOffer("o", "")
		reads := make(chan struct{})
		var slow sync.WaitGroup
		for range maxPages {
			slow.Go(func() {
				r := &slowReader{httptest.NewRecorder(), reads}
				w.handler.ServeHTTP(r, request("GET", "/v1/offers", ""))
				if r.Code != 200 {
					t.Errorf("a slow reader: %d", r.Code)
				}
			})
		}
		synctest.Wait()
		w.call("GET", "/v1/nodes", "").is(503, "overloaded").has(map[string]any{"outcome": "(absent)", "retryable": true})
		w.call("GET", "/v1/nodes", "", "Authorization: Bearer "+checkoutKey).is(403, "forbidden") // which takes no turn
		w.call("GET", "/v1/offers/o", "").is(200, "")
		close(reads)
		slow.Wait()
		w.call("GET", "/v1/nodes", "").is(200, "")
	})
}

func TestNumbersInCSVAreNotDisarmed(t *testing.T) {
	if got := cell([]byte("-5")); got != "-5" {
		t.Errorf("-5 becomes %q", got)
	}
}

func TestAccept(t *testing.T) {
	for accept, want := range map[string]string{
		"":                                    typeJSON,
		"*/*":                                 typeJSON,
		"application/json":                    typeJSON,
		"text/csv":                            typeCSV,
		"TEXT/CSV; charset=utf-8":             typeCSV,
		"text/*":                              typeCSV,
		"application/x-ndjson":                typeNDJSON,
		"application/xml":                     typeJSON, // nothing that there is: JSON
		"text/csv;q=0.5, application/json":    typeJSON,
		"text/csv, application/json;q=0.9":    typeCSV,
		"application/x-ndjson, */*":           typeNDJSON,
		"text/html,*/*;q=0.8":                 typeJSON,
		"text/csv;q=0":                        typeJSON,
		"text/csv;q=nonsense, */*;q=0.1":      typeJSON,
		", ,text/csv":                         typeCSV,
		strings.Repeat("a/b,", 100) + typeCSV: typeCSV,
	} {
		if got := preferred(accept); got != want {
			t.Errorf("%q: %s, want %s", accept, got, want)
		}
	}
}

// A list that lacks something, because another node has it in its journal, says so: it is no firm "nothing".
func TestB5ListsAndUsageSayWhetherTheyAreComplete(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"mode":"fast"`)
	for _, complete := range []bool{true, false} {
		w.desk.incomplete = !complete
		for _, path := range []string{
			"/v1/redemptions?offer_id=o", "/v1/redemptions?offer_id=o&order_id=1", "/v1/redemptions?offer_id=o&user_id=u", "/v1/offers/o/users/u",
		} {
			w.call("GET", path, "").is(200, "").has(map[string]any{"complete": complete})
		}
	}
	w.desk.fail = models.ErrLedgerUnavailable
	w.call("GET", "/v1/offers/o/users/u", "").is(503, "ledger-unavailable")
	w.call("GET", "/v1/redemptions?offer_id=o", "").is(503, "ledger-unavailable")
}
