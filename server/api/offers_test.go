package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func TestAnOfferIsCreatedOnce(t *testing.T) {
	w := newWorld(t)
	const body = `{"id":"Welcome_1-a","name":"Größe 🎁","unit":"EUR","budget":5000}`
	made := w.call("POST", "/v1/offers", body).is(201, "").header("Location", "/v1/offers/Welcome_1-a").header("ETag", `"1"`)
	made.has(map[string]any{
		"id": "Welcome_1-a", "name": "Größe 🎁", "unit": "EUR", "budget": 5000, "budget_target": 5000, "mode": "strict",
		"user_limit_redemptions": nil, "user_limit_units": nil, "starts_at": nil, "ends_at": nil, "status": "active",
		"lease_size": 50, "lease_ttl_seconds": 60, "adaptive": true, "refund_restores_budget": true, "refund_restores_user_limit": true,
		"user_limits": "none", "overspend_per_node": 0, "version": 1, "created_at": "2026-11-27T08:00:00.123456Z", "updated_at": "2026-11-27T08:00:00.123456Z",
	})
	w.call("POST", "/v1/offers", body).is(200, "").header("Location", "/v1/offers/Welcome_1-a").header("ETag", `"1"`)
	w.call("POST", "/v1/offers", strings.Replace(body, "5000", "5001", 1)).is(409, "already-exists").has(map[string]any{"offer_id": "Welcome_1-a"})
	read := w.call("GET", "/v1/offers/Welcome_1-a", "").is(200, "").header("ETag", `"1"`)
	if read.Body.String() != made.Body.String() {
		t.Errorf("read back differently: %s", read.Body)
	}
	w.call("GET", "/v1/offers/welcome_1-a", "").is(404, "offer-not-found").has(map[string]any{"offer_id": "welcome_1-a"})
}

func TestTheUnitIsRedemptionsUnlessItIsACurrency(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/offers", `{"id":"o","name":"n","budget":1}`).is(201, "").has(map[string]any{"unit": "redemptions"})
	for _, unit := range []string{"EUR", "JPY", "KWD", "redemptions"} {
		w.call("POST", "/v1/offers", `{"id":"`+unit+`","name":"n","budget":1,"unit":"`+unit+`"}`).is(201, "").has(map[string]any{"unit": unit})
	}
}

func TestAnOfferWithEverythingSet(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/offers", `{"id":"o","name":"n","unit":"redemptions","budget":0,"mode":"strict","user_limit_redemptions":1,
		"user_limit_units":9007199254740991,"starts_at":"2026-12-01T00:00:00.0000005+01:00","ends_at":"2026-12-31T23:59:59.5Z","lease_size":1,
		"lease_ttl_seconds":5,"adaptive":false,"refund_restores_budget":false,"refund_restores_user_limit":false}`).is(201, "").
		has(map[string]any{
			"user_limit_redemptions": 1, "user_limit_units": 9007199254740991, "starts_at": "2026-11-30T23:00:00Z",
			"ends_at": "2026-12-31T23:59:59.5Z", "status": "scheduled", "lease_size": 1, "lease_ttl_seconds": 5, "adaptive": false,
			"refund_restores_budget": false, "refund_restores_user_limit": false,
		})
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(409, "offer-not-active").has(map[string]any{
		"status": 409, "offer_status": "scheduled", "starts_at": "2026-11-30T23:00:00Z", "retryable": true, "retry_after_ms": 3_600_000, "offer_id": "o",
	}).header("Retry-After", "3600")
}

func TestBadOffersAreRefused(t *testing.T) {
	w := newWorld(t)
	for members, want := range map[string]string{
		`"id":""`:                                "id format",
		`"id":"a.b"`:                             "id format",
		`"id":"` + strings.Repeat("o", 65) + `"`: "id format",
		`"id":"é"`:                               "id format",
		`"id":null`:                              "id type",
		`"name":""`:                              "name length",
		`"name":null`:                            "name type",
		`"name":"a\tb"`:                          "name text",
		`"name":"` + strings.Repeat("n", 201) + `"`: "name length",
		`"unit":"eur"`:                            "unit enum",
		`"unit":"ZZZ"`:                            "unit enum",
		`"unit":"EURO"`:                           "unit enum",
		`"unit":null`:                             "unit type",
		`"unit":""`:                               "unit enum",
		`"budget":-1`:                             "budget range",
		`"budget":1.5`:                            "budget type",
		`"budget":"1"`:                            "budget type",
		`"budget":9007199254740992`:               "budget range",
		`"user_limit_redemptions":0`:              "user_limit_redemptions range",
		`"user_limit_units":-1`:                   "user_limit_units range",
		`"starts_at":"tomorrow"`:                  "starts_at format",
		`"starts_at":1764230400`:                  "starts_at type",
		`"starts_at":"2026-11-27"`:                "starts_at format",
		`"starts_at":"2026-11-27T08:00:00"`:       "starts_at format",
		`"starts_at":"2026-02-30T08:00:00Z"`:      "starts_at format",
		`"starts_at":"2026-11-27T08:00:00,5Z"`:    "starts_at format",
		`"starts_at":"2026-11-27T08:00:00+24:00"`: "starts_at format",
		`"starts_at":"2026-11-27T08:00:00-00:60"`: "starts_at format",
		`"starts_at":"2026-11-27T08:00:00+0100"`:  "starts_at format",
		`"starts_at":"2026-11-27t08:00:00z"`:      "starts_at format",
		`"starts_at":""`:                          "starts_at format",
		`"starts_at":"2026-11-27T8:00:00Z"`:       "starts_at format",
		`"starts_at":"1969-12-31T23:59:59Z"`:      "starts_at range",
		`"starts_at":"2026-11-27T08:00:00Z","ends_at":"2026-11-27T08:00:00Z"`:      "ends_at order",
		`"starts_at":"2026-11-27T08:00:00+01:00","ends_at":"2026-11-27T07:00:00Z"`: "ends_at order",
		`"lease_size":0`:                    "lease_size range",
		`"lease_ttl_seconds":4`:             "lease_ttl_seconds range",
		`"lease_ttl_seconds":3601`:          "lease_ttl_seconds range",
		`"adaptive":1`:                      "adaptive type",
		`"adaptive":null`:                   "adaptive type",
		`"refund_restores_budget":"true"`:   "refund_restores_budget type",
		`"mode":7`:                          "mode type",
		`"mode":null`:                       "mode type",
		`"mode":"STRICT"`:                   "mode enum",
		`"mode":""`:                         "mode enum",
		`"status":"paused"`:                 "status read-only",
		`"version":1,"budget_target":5`:     "budget_target read-only, version read-only",
		`"reason":"x"`:                      "reason unknown",
		`"colour":"red","id":"","budget":1`: "id format, colour unknown",
	} {
		full := "{" + members
		for name, value := range map[string]string{"id": `"o"`, "name": `"n"`, "unit": `"redemptions"`, "budget": "1"} {
			if !strings.Contains(members, `"`+name+`":`) {
				full += fmt.Sprintf(",%q:%s", name, value)
			}
		}
		a := w.call("POST", "/v1/offers", full+"}").is(400, "invalid-request")
		if a.faults() != want {
			t.Errorf("%s: faults %q, want %q", members, a.faults(), want)
		}
	}
	if a := w.call("POST", "/v1/offers", `{}`).is(400, "invalid-request"); a.faults() != "id required, name required, budget required" {
		t.Errorf("faults %q", a.faults())
	}
	if items := w.call("GET", "/v1/offers", "").is(200, "").items(); len(items) != 0 {
		t.Errorf("offers were made: %v", items)
	}
}

func TestB7AnOfferIsStrictUnlessAnotherModeIsNamed(t *testing.T) {
	w := newWorld(t)
	const limit = `,"user_limit_redemptions":1`
	for i, c := range []struct{ members, mode string }{
		{``, "strict"},
		{`,"mode":"fast"`, "fast"},
		{`,"mode":"available"`, "available"},
		{`,"mode":"strict"`, "strict"},
		{`,"user_limit_units":5`, "strict"},
		{limit, "strict"},
		{limit + `,"mode":"strict"`, "strict"},
		{limit + `,"mode":"available"`, "available"},
	} {
		id := fmt.Sprint("offer-", i)
		w.createOffer(id, c.members)
		w.call("GET", "/v1/offers/"+id, "").is(200, "").has(map[string]any{"mode": c.mode})
	}
}

func TestAFastOfferCannotLimitItsUsers(t *testing.T) {
	w := newWorld(t)
	a := w.call("POST", "/v1/offers", `{"id":"o","name":"n","budget":1,"mode":"fast","user_limit_units":1}`).is(422, "mode-not-possible").
		has(map[string]any{"retryable": false, "offer_id": "o"})
	if !strings.Contains(a.json["detail"].(string), "user limit") {
		t.Errorf("detail %q", a.json["detail"])
	}
	w.createOffer("limited", `,"user_limit_redemptions":1`)
	w.call("PATCH", "/v1/offers/limited", `{"mode":"fast"}`).is(422, "mode-not-possible")
	w.call("PATCH", "/v1/offers/limited", `{"mode":"available"}`).is(200, "").has(map[string]any{"offer.mode": "available", "offer.version": 2})
	w.call("PATCH", "/v1/offers/limited", `{"mode":"fast","user_limit_redemptions":null}`).is(200, "").has(map[string]any{"offer.mode": "fast", "offer.version": 3})
	w.call("PATCH", "/v1/offers/limited", `{"user_limit_units":2}`).is(422, "mode-not-possible")
	w.call("PATCH", "/v1/offers/limited", `{"mode":"strict","user_limit_units":2}`).is(200, "").has(map[string]any{"offer.mode": "strict", "offer.user_limit_units": 2})
}

func TestPatchTellsAbsentFromNull(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"user_limit_redemptions":2,"ends_at":"2026-12-01T00:00:00Z"`)
	w.call("PATCH", "/v1/offers/o", `{}`).is(200, "").has(map[string]any{"offer.version": 1}).header("ETag", `"1"`)
	w.call("PATCH", "/v1/offers/o", `{"reason":"only that"}`).is(200, "").has(map[string]any{"offer.version": 1})
	w.call("PATCH", "/v1/offers/o", `{"name":"new"}`).is(200, "").
		has(map[string]any{"offer.version": 2, "offer.name": "new", "offer.user_limit_redemptions": 2, "offer.ends_at": "2026-12-01T00:00:00Z"}).header("ETag", `"2"`)
	w.call("PATCH", "/v1/offers/o", `{"user_limit_redemptions":null,"ends_at":null,"budget":7,"adaptive":false,"lease_size":3,
		"lease_ttl_seconds":30,"refund_restores_budget":false,"refund_restores_user_limit":false,"mode":"strict"}`).is(200, "").
		has(map[string]any{
			"offer.version": 3, "offer.user_limit_redemptions": nil, "offer.ends_at": nil, "offer.budget": 7, "offer.budget_target": 7, "offer.adaptive": false,
			"offer.lease_size": 3, "offer.lease_ttl_seconds": 30, "offer.refund_restores_budget": false, "offer.refund_restores_user_limit": false,
		})
	for body, want := range map[string]string{
		`{"name":null}`: "name type", `{"budget":null}`: "budget type", `{"id":"p"}`: "id read-only", `{"unit":"EUR"}`: "unit read-only",
		`{"status":"ended"}`: "status read-only", `{"reason":7}`: "reason type", `{"reason":"` + strings.Repeat("r", 501) + `"}`: "reason length",
		`{"x":null}`: "x unknown", `{"starts_at":"2026-12-02T00:00:00Z","ends_at":"2026-12-01T00:00:00Z"}`: "ends_at order",
	} {
		if a := w.call("PATCH", "/v1/offers/o", body).is(400, "invalid-request"); a.faults() != want {
			t.Errorf("%s: faults %q, want %q", body, a.faults(), want)
		}
	}
	w.call("PATCH", "/v1/offers/o", ``, "Content-Type: application/json").is(400, "invalid-request")
	w.call("PATCH", "/v1/offers/none", `{"name":"x"}`).is(404, "offer-not-found")
	w.call("GET", "/v1/offers/o", "").has(map[string]any{"version": 3})
}

// The window is checked as the change leaves it, not as the request has it.
func TestPatchChecksTheWindowAgainstWhatIsThere(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"ends_at":"2026-12-01T00:00:00Z"`)
	a := w.call("PATCH", "/v1/offers/o", `{"starts_at":"2026-12-01T00:00:00Z"}`).is(400, "invalid-request")
	if a.faults() != "ends_at order" {
		t.Errorf("faults %q", a.faults())
	}
	w.call("PATCH", "/v1/offers/o", `{"starts_at":"2026-11-30T00:00:00Z"}`).is(200, "").has(map[string]any{"offer.status": "scheduled"})
}

func TestB7ALimitCanComeAtAnyTime(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.call("GET", "/v1/offers/o", "").has(map[string]any{"mode": "strict", "user_limits": "none", "overspend_per_node": 0})
	w.redeem("o", "k", `{"user_id":"u","units":3}`)
	w.call("PATCH", "/v1/offers/o", `{"user_limit_units":5}`).is(200, "").has(map[string]any{"offer.user_limits": "counting"})
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u","units":3}`, aKey).is(409, "user-limit-reached").
		has(map[string]any{"remaining_units": 2})
	w.call("GET", "/v1/offers", "").is(200, "")
	w.createOffer("fast", `,"mode":"fast","lease_size":20`)
	w.call("GET", "/v1/offers/fast", "").has(map[string]any{"overspend_per_node": 40})
	w.call("PATCH", "/v1/offers/fast", `{"user_limit_units":5}`).is(422, "mode-not-possible")
	w.call("PATCH", "/v1/offers/fast", `{"user_limit_units":5,"mode":"strict"}`).is(200, "").
		has(map[string]any{"offer.user_limits": "exact", "offer.overspend_per_node": 0})
}

func TestB7ABlockOfACurrencyFollowsFromTheBudget(t *testing.T) {
	w := newWorld(t)
	create := func(id, members string) *answer {
		return w.call("POST", "/v1/offers", fmt.Sprintf(`{"id":%q,"name":"An offer"%s}`, id, members)).is(201, "")
	}
	for budget, size := range map[int]int{50: 1, 20_000: 200, 5_000_000: 50_000} {
		create(fmt.Sprint("o", budget), fmt.Sprintf(`,"unit":"EUR","budget":%d`, budget)).has(map[string]any{"lease_size": size, "mode": "strict"})
	}
	create("counts", `,"budget":20000`).has(map[string]any{"lease_size": 1000})
	create("chosen", `,"budget":20000,"unit":"EUR","lease_size":7`).has(map[string]any{"lease_size": 7})
}

func TestABudgetStaysAboveWhatIsSpent(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.redeem("o", "k", `{"user_id":"u","units":40}`)
	w.call("PATCH", "/v1/offers/o", `{"budget":39}`).is(409, "budget-below-spent").
		has(map[string]any{"minimum": 40, "offer_id": "o", "retryable": false})
	w.call("PATCH", "/v1/offers/o", `{"budget":40}`).is(200, "").has(map[string]any{"offer.budget": 100, "offer.budget_target": 40})
}

func TestIfMatch(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	change := func(name, ifMatch string) *answer {
		return w.call("PATCH", "/v1/offers/o", fmt.Sprintf(`{"name":%q}`, name), "If-Match: "+ifMatch)
	}
	change("second", `"1"`).is(200, "").header("ETag", `"2"`)
	change("third", `"1"`).is(412, "stale-version")
	change("third", `W/"2"`).is(412, "stale-version") // a strong comparison
	change("third", `"02"`).is(412, "stale-version")
	change("third", `"abc"`).is(412, "stale-version")
	for _, bad := range []string{`2`, `"2`, `""2"`, `"1", "2"`, `"`, `W/2`, ``} {
		if a := change("third", bad).is(400, "invalid-request"); a.faults() != "If-Match format" {
			t.Errorf("%s: %s", bad, a.faults())
		}
	}
	r := request("POST", "/v1/offers/o/pause", "")
	r.Header["If-Match"] = []string{`"1"`, `"2"`}
	w.send(r, "").is(400, "invalid-request")
	w.call("POST", "/v1/offers/o/pause", "", `If-Match: "1"`).is(412, "stale-version")
	w.call("POST", "/v1/offers/o/pause", "", `If-Match: "2"`).is(200, "").header("ETag", `"3"`)
	change("last", `*`).is(200, "").header("ETag", `"4"`)
}

func TestPauseResumeEnd(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	other := models.NewID()
	w.desk.pending = []allocator.Pending{{Owner: allocator.Owner{NodeID: other, NodeName: "cut-off"}, Until: w.desk.LedgerNow().Add(time.Minute)}}
	paused := w.call("POST", "/v1/offers/o/pause", `{"reason":"wrong price"}`).is(200, "").has(map[string]any{"offer.status": "paused", "offer.version": 2})
	if got, want := fmt.Sprint(paused.json["applied"], paused.json["pending"]),
		fmt.Sprintf("[map[node_id:%s node_name:node-1]] [map[node_id:%s node_name:cut-off until:2026-11-27T08:01:00.123456Z]]", w.desk.node, other); got != want {
		t.Errorf("applied and pending %s, want %s", got, want)
	}
	w.desk.pending = nil
	w.call("POST", "/v1/offers/o/pause", "").is(200, "").has(map[string]any{"offer.version": 2, "pending": "[]"})
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(409, "offer-not-active").
		has(map[string]any{"offer_status": "paused", "retryable": true, "retry_after_ms": 5000, "starts_at": nil, "ends_at": nil})
	w.call("POST", "/v1/offers/o/resume", `{}`).is(200, "").has(map[string]any{"offer.status": "active", "offer.version": 3})
	w.call("POST", "/v1/offers/o/resume", "").is(200, "").has(map[string]any{"offer.version": 3})
	w.call("POST", "/v1/offers/o/end", "").is(200, "").has(map[string]any{"offer.status": "ended", "offer.version": 4})
	w.call("POST", "/v1/offers/o/end", "").is(200, "").has(map[string]any{"offer.version": 4})
	for _, verb := range []string{"pause", "resume"} {
		w.call("POST", "/v1/offers/o/"+verb, "").is(409, "offer-not-active").has(map[string]any{"offer_status": "ended", "retryable": false})
	}
	w.call("PATCH", "/v1/offers/o", `{"ends_at":"2027-01-01T00:00:00Z"}`).is(200, "").has(map[string]any{"offer.status": "ended"})
	w.call("POST", "/v1/offers/o/pause", `{"status":"x"}`).is(400, "invalid-request")
	w.call("POST", "/v1/offers/none/pause", "").is(404, "offer-not-found")
	if !strings.Contains(w.log.String(), `"reason":"wrong price"`) {
		t.Error("the reason is not in the log")
	}
}

func TestTheWindowDecidesTheStatus(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"starts_at":"2026-11-27T09:00:00Z","ends_at":"2026-11-27T10:00:00Z"`)
	status := func(want string) {
		t.Helper()
		w.call("GET", "/v1/offers/o", "").is(200, "").has(map[string]any{"status": want})
		if items := w.call("GET", "/v1/offers?status="+want, "").is(200, "").items(); len(items) != 1 || items[0]["status"] != want {
			t.Errorf("listed as %v, want %s", items, want)
		}
	}
	status("scheduled")
	w.clock = w.clock.Add(time.Hour)
	status("active")
	w.clock = w.clock.Add(time.Hour)
	status("ended")
	w.call("POST", "/v1/offers/o/resume", "").is(409, "offer-not-active")
	w.call("PATCH", "/v1/offers/o", `{"ends_at":"2026-11-28T00:00:00Z"}`).is(200, "")
	status("active")
}

func TestOffersAreListedAndPaged(t *testing.T) {
	w := newWorld(t)
	for i := range 5 {
		w.clock = w.clock.Add(time.Second)
		w.createOffer(fmt.Sprintf("offer-%d", i), "")
	}
	var ids []any
	target := "/v1/offers?limit=2&q=OFFER"
	for target != "" {
		a := w.call("GET", target, "").is(200, "")
		for _, item := range a.items() {
			ids = append(ids, item["id"])
		}
		link := a.Header().Get("Link")
		if (link == "") != (a.json["next_cursor"] == nil) {
			t.Errorf("link %q and cursor %v", link, a.json["next_cursor"])
		}
		target, _, _ = strings.Cut(strings.TrimPrefix(link, "<"), ">")
	}
	if fmt.Sprint(ids) != "[offer-4 offer-3 offer-2 offer-1 offer-0]" {
		t.Errorf("listed %v", ids)
	}
	if items := w.call("GET", "/v1/offers?q=er-3", "").items(); len(items) != 1 {
		t.Errorf("found %v", items)
	}
}

// An answer that somebody puts into a page must not run.
func TestAScriptInANameStaysData(t *testing.T) {
	w := newWorld(t)
	const name = `</script><script>alert("x")</script>&`
	a := w.call("POST", "/v1/offers", `{"id":"o","name":"`+strings.ReplaceAll(name, `"`, `\"`)+`","unit":"redemptions","budget":1}`).is(201, "").
		has(map[string]any{"name": name})
	for _, body := range []string{a.Body.String(), w.call("GET", "/v1/offers", "").Body.String()} {
		if strings.ContainsAny(body, "<>&") {
			t.Errorf("not escaped: %s", body)
		}
	}
	a.header("X-Content-Type-Options", "nosniff").header("Content-Type", "application/json").header("Cache-Control", "no-store")
}

func TestB8PatchAnswersInTheShapeOfPause(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	other := models.NewID()
	w.desk.pending = []allocator.Pending{{Owner: allocator.Owner{NodeID: other, NodeName: "cut-off"}, Until: w.desk.LedgerNow().Add(time.Minute)}}
	patched := w.call("PATCH", "/v1/offers/o", `{"lease_size":7}`).is(200, "").header("ETag", `"2"`)
	if got, want := fmt.Sprint(patched.json["applied"], patched.json["pending"]),
		fmt.Sprintf("[map[node_id:%s node_name:node-1]] [map[node_id:%s node_name:cut-off until:2026-11-27T08:01:00.123456Z]]", w.desk.node, other); got != want {
		t.Errorf("applied and pending %s, want %s", got, want)
	}
	if got := w.call("GET", "/v1/offers/o", ""); len(patched.json) != 3 || fmt.Sprint(patched.json["offer"]) != fmt.Sprint(got.json) {
		t.Errorf("PATCH answers %s", patched.Body)
	}
}

// Sums of what is within these bounds stay what JSON readers can hold.
func TestB10UnitsHaveABound(t *testing.T) {
	w := newWorld(t)
	w.call("POST", "/v1/offers", `{"id":"o","name":"n","budget":1000000000000,"lease_size":1000000000000}`).is(201, "")
	for _, c := range []struct{ method, path, body, faults string }{
		{"POST", "/v1/offers", `{"id":"p","name":"n","budget":1000000000001}`, "budget range"},
		{"PATCH", "/v1/offers/o", `{"budget":1000000000001,"lease_size":1000000000001}`, "budget range, lease_size range"},
		{"POST", "/v1/offers/o/redemptions", `{"user_id":"u","units":1000000000001}`, "units range"},
		{"POST", "/v1/carts", `{"user_id":"u","items":[{"offer_id":"o","units":1000000000001}]}`, "items[0].units range"},
	} {
		if a := w.call(c.method, c.path, c.body, aKey).is(400, "invalid-request"); a.faults() != c.faults {
			t.Errorf("%s: faults %q, want %q", c.body, a.faults(), c.faults)
		}
	}
}
