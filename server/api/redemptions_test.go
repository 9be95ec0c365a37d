package api

import (
	"fmt"
	"net/url"
	"strings"
	"testing"

	"tranche/models"
)

const aKey = "Idempotency-Key: key-1"

func TestARedemptionIsMadeReadAndReplayed(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	body := `{"user_id":"alice","order_id":"4711","units":3,"metadata":{ "a" : [1, {"b": null}], "t":"</script>" }}`
	made := w.call("POST", "/v1/offers/o/redemptions", body, aKey).is(201, "")
	id := models.RedemptionIDOf("o", "key-1").String()
	made.header("Location", "/v1/redemptions/"+id).header("Idempotent-Replayed", "").header("Content-Type", "application/json")
	made.has(map[string]any{
		"id": id, "offer_id": "o", "user_id": "alice", "order_id": "4711", "idempotency_key": "key-1", "units": 3, "refunded_units": 0,
		"state": "redeemed", "hold_expires_at": nil, "recorded": "ledger", "late": false, "cart_id": nil,
		"created_at": "2026-11-27T08:00:00.123456Z", "resolved_at": "2026-11-27T08:00:00.123456Z", "metadata.t": "</script>",
	})

	read := w.call("GET", "/v1/redemptions/"+id, "").is(200, "")
	if read.Body.String() != made.Body.String() {
		t.Errorf("read back differently:\n%s\n%s", made.Body, read.Body)
	}
	again := w.call("POST", "/v1/offers/o/redemptions", body, aKey).is(201, "").header("Idempotent-Replayed", "true")
	if again.Body.String() != made.Body.String() {
		t.Errorf("replayed differently:\n%s\n%s", made.Body, again.Body)
	}
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"bob"}`, aKey).is(422, "idempotency-key-reused")
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"redeemed": 3, "net_spent": 3, "allocated": 100, "outstanding": 97})
}

func TestUnitsDefaultToOne(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice"}`, aKey).is(201, "").
		has(map[string]any{"units": 1, "order_id": nil, "metadata": nil})
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice","order_id":null,"metadata":null}`, "Idempotency-Key: key-2").is(201, "")
}

func TestAnIdempotencyKeyIsNeededAndChecked(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "first", `{"user_id":"alice"}`)
	w.desk.calls = 0
	for _, target := range []string{"/v1/offers/o/redemptions", "/v1/redemptions/" + id + "/refunds"} {
		const body = `{"units":1}`
		w.call("POST", target, body).is(400, "idempotency-key-missing")
		w.call("POST", target, body, "Idempotency-Key: ").is(400, "idempotency-key-missing")
		for _, bad := range []string{"with space", "tab\there", "é", strings.Repeat("k", 256)} {
			a := w.call("POST", target, body, "Idempotency-Key: "+bad).is(400, "invalid-request")
			if !strings.HasPrefix(a.faults(), "Idempotency-Key format") {
				t.Errorf("key %q: %s", bad, a.faults())
			}
		}
		r := request("POST", target, `{"user_id":"u"}`)
		r.Header["Idempotency-Key"] = []string{"one", "two"}
		a := w.send(r, `{"user_id":"u"}`).is(400, "invalid-request")
		if !strings.HasPrefix(a.faults(), "Idempotency-Key repeated") {
			t.Errorf("two lines: %s", a.faults())
		}
	}
	if w.desk.calls != 0 {
		t.Errorf("the allocator was called %d times", w.desk.calls)
	}
	w.redeem("o", strings.Repeat("~", 255), `{"user_id":"alice"}`)
}

func TestB11AKeyInQuotesIsTheKeyWithinThem(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for header, key := range map[string]string{`"abc"`: "abc", `"a\"b\\c"`: `a"b\c`, `"` + strings.Repeat("k", 255) + `"`: strings.Repeat("k", 255)} {
		id := models.RedemptionIDOf("o", key).String()
		w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key: "+header).is(201, "").has(map[string]any{"id": id, "idempotency_key": key})
		w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key: "+header).is(201, "").header("Idempotent-Replayed", "true")
		for _, form := range []string{header, key} {
			found := w.call("GET", "/v1/redemptions?offer_id=o&idempotency_key="+url.QueryEscape(form), "").is(200, "").items()
			if len(found) != 1 || found[0]["id"] != id {
				t.Errorf("by %s: %v", form, found)
			}
		}
	}
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key: abc").is(201, "").header("Idempotent-Replayed", "true")
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, `Idempotency-Key: ""`).is(400, "idempotency-key-missing")
	for _, bad := range []string{`"`, `"abc`, `"a"b"`, `"abc";p=1`, `"a\b"`, `"abc\"`, `"a b"`, `"` + strings.Repeat("k", 256) + `"`} {
		a := w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key: "+bad).is(400, "invalid-request")
		if a.faults() != "Idempotency-Key format" {
			t.Errorf("%s: %s", bad, a.faults())
		}
	}
}

func TestAllFaultsAreToldAtOnce(t *testing.T) {
	w := newWorld(t)
	a := w.call("POST", "/v1/offers/o/redemptions", `{"order_id":"","units":0,"metadata":[],"hold_seconds":0,"hold":60}`, "Idempotency-Key: a b").
		is(400, "invalid-request")
	const want = "Idempotency-Key format, user_id required, order_id length, units range, hold_seconds range, metadata type, hold unknown"
	if a.faults() != want {
		t.Errorf("faults %q, want %q", a.faults(), want)
	}
}

func TestALookUpThatFindsNothing(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := models.RedemptionIDOf("o", "never").String()
	w.call("GET", "/v1/redemptions/"+id, "").is(404, "redemption-not-found").has(map[string]any{"retryable": false, "offer_id": "o"})
	w.call("GET", "/v1/redemptions/"+id+"/refunds", "").is(404, "redemption-not-found")
	w.call("POST", "/v1/redemptions/"+id+"/refunds", "", aKey).is(404, "redemption-not-found")
	w.call("POST", "/v1/offers/none/redemptions", `{"user_id":"u"}`, aKey).is(404, "offer-not-found").has(map[string]any{"offer_id": "none"})
	for _, bad := range []string{"o", "o.", "o.short", strings.Repeat("x", 300), "o." + strings.Repeat("A", 26), "a b." + strings.Repeat("a", 26)} {
		w.call("GET", "/v1/redemptions/"+strings.ReplaceAll(bad, " ", "%20"), "").is(400, "invalid-request")
	}
}

func TestARedemptionSaysWhereItIsOnRecord(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.desk.journaled = true
	made := w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, aKey).is(201, "").has(map[string]any{"recorded": "journal", "state": "redeemed"})
	read := w.call("GET", made.Header().Get("Location"), "").is(200, "")
	if read.Body.String() != made.Body.String() {
		t.Errorf("read back differently:\n%s\n%s", made.Body, read.Body)
	}
	w.desk.journaled = false // settled
	w.call("GET", made.Header().Get("Location"), "").is(200, "").has(map[string]any{"recorded": "ledger"})
}

// Another node may have acknowledged it: then the client is to ask again.
func TestARedemptionThatMayBeOnItsWayIsRetryable(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "k", `{"user_id":"u"}`)
	w.desk.fail = models.ErrRedemptionUnsettled
	for _, target := range []string{"/v1/redemptions/" + id, "/v1/redemptions/" + id + "/refunds"} {
		w.call("GET", target, "").is(404, "redemption-not-found").has(map[string]any{"retryable": true, "retry_after_ms": 1000}).header("Retry-After", "1")
	}
	w.call("POST", "/v1/redemptions/"+id+"/refunds", "", aKey).is(404, "redemption-not-found").
		has(map[string]any{"retryable": true, "outcome": "(absent)"}).header("Retry-After", "1")
}

func TestRefundsWholePartialReplayedAndListed(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "k", `{"user_id":"alice","units":5}`)
	target := "/v1/redemptions/" + id + "/refunds"
	first := w.call("POST", target, `{"units":2,"reason":"one returned"}`, "Idempotency-Key: r1").is(201, "").header("Idempotent-Replayed", "").
		has(map[string]any{"redemption_id": id, "idempotency_key": "r1", "units": 2, "restored.budget": true, "restored.user_limit": true, "reason": "one returned"})
	again := w.call("POST", target, `{"units":2,"reason":"one returned"}`, "Idempotency-Key: r1").is(201, "").header("Idempotent-Replayed", "true")
	if again.Body.String() != first.Body.String() {
		t.Errorf("replayed differently: %s", again.Body)
	}
	w.call("POST", target, `{"units":3}`, "Idempotency-Key: r1").is(422, "idempotency-key-reused")
	w.call("POST", target, `{"units":4}`, "Idempotency-Key: r2").is(409, "refund-exceeds-redemption").
		has(map[string]any{"remaining_units": 3, "retryable": false, "offer_id": "o"})
	w.call("POST", target, "", "Idempotency-Key: r3").is(201, "").has(map[string]any{"units": 3, "reason": nil}) // all that is left
	w.call("GET", "/v1/redemptions/"+id, "").is(200, "").has(map[string]any{"refunded_units": 5, "units": 5, "state": "redeemed"})

	page := w.call("GET", target+"?limit=1", "").is(200, "")
	if items := page.items(); len(items) != 1 || items[0]["idempotency_key"] != "r3" {
		t.Fatalf("first page %v", items)
	}
	page = w.call("GET", target+"?limit=1&cursor="+page.json["next_cursor"].(string), "").is(200, "").has(map[string]any{"next_cursor": nil})
	if items := page.items(); len(items) != 1 || items[0]["idempotency_key"] != "r1" {
		t.Fatalf("second page %v", items)
	}
}

func TestUserLimitsAndUsage(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"user_limit_redemptions":2,"user_limit_units":10`)
	w.redeem("o", "k", `{"user_id":"alice","units":4}`)
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice","units":7}`, aKey).is(409, "user-limit-reached").has(map[string]any{
		"limit_redemptions": 2, "limit_units": 10, "remaining_redemptions": 1, "remaining_units": 6, "retryable": false, "offer_id": "o",
	})
	w.call("GET", "/v1/offers/o/users/alice", "").is(200, "").has(map[string]any{
		"offer_id": "o", "user_id": "alice", "redemptions": 1, "units": 4, "held_units": 0,
		"limit_redemptions": 2, "limit_units": 10, "remaining_redemptions": 1, "remaining_units": 6,
	})
	w.call("GET", "/v1/offers/none/users/alice", "").is(404, "offer-not-found")
	w.createOffer("free", "")
	w.call("GET", "/v1/offers/free/users/Alice", "").is(200, "").has(map[string]any{"units": 0, "limit_units": nil, "remaining_redemptions": nil})
}

func TestB6ARefusalByAUsersLimitSaysWhatIsWantedUsedAndLeft(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"user_limit_units":5`)
	refused := func(units int, members map[string]any, detail string) {
		t.Helper()
		body := fmt.Sprintf(`{"user_id":"alice","units":%d}`, units)
		a := w.call("POST", "/v1/offers/o/redemptions", body, aKey).is(409, "user-limit-reached").has(members)
		if a.json["detail"] != detail || strings.Contains(a.json["title"].(string), "reached") {
			t.Errorf("%s: %s", a.json["title"], a.json["detail"])
		}
	}
	refused(6, map[string]any{"wanted_units": 6, "used_units": 0, "used_redemptions": 0, "remaining_units": 5, "remaining_redemptions": nil},
		"the redemption would go over the user's limit; of 5 units 0 are used, and 6 are wanted")
	w.redeem("o", "k", `{"user_id":"alice","units":2}`)
	refused(4, map[string]any{"wanted_units": 4, "used_units": 2, "used_redemptions": 1, "remaining_units": 3},
		"the redemption would go over the user's limit; of 5 units 2 are used, and 4 are wanted")
}

func TestB4OtherMembersAreAnotherRequest(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "key-1", `{"user_id":"u","metadata":{"a":1,"b":2}}`)
	redeem := func(body string) *answer {
		t.Helper()
		return w.call("POST", "/v1/offers/o/redemptions", body, aKey)
	}
	redeem(`{"user_id":"u","metadata":{"b":2,"a":1}}`).is(201, "").header("Idempotent-Replayed", "true").has(map[string]any{"metadata.a": 1})
	redeem(`{"user_id":"u","metadata":{"a":1}}`).is(422, "idempotency-key-reused")
	redeem(`{"user_id":"u"}`).is(422, "idempotency-key-reused")
	refund := func(body string) *answer {
		t.Helper()
		return w.call("POST", "/v1/redemptions/"+id+"/refunds", body, aKey)
	}
	refund(`{"units":1,"reason":"late"}`).is(201, "")
	refund(`{"units":1,"reason":"late"}`).is(201, "").header("Idempotent-Replayed", "true")
	refund(`{"units":1,"reason":"broken"}`).is(422, "idempotency-key-reused")
	refund(`{"units":1}`).is(422, "idempotency-key-reused")
}

func TestUserIDsInPathsAreTakenByteByByte(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	for escaped, user := range map[string]string{
		"a%2Fb": "a/b", "a%2fb": "a/b", "alice%20": "alice ", "%20": " ", "a+b": "a+b", "a%2Bb": "a+b", "a%25b": "a%b", "a%252Fb": "a%2Fb",
		"%F0%9F%8E%81": "🎁", "J%C3%BCrgen": "Jürgen", "a%2F+b": "a/+b", "%2E%2E": "..", "x@y.z": "x@y.z", "a%3Fb%23c": "a?b#c",
	} {
		w.call("GET", "/v1/offers/o/users/"+escaped, "").is(200, "").has(map[string]any{"user_id": user})
	}
	for _, bad := range []string{"%00", "a%0Ab", "%C2%85", "%FF", "%ED%A0%80", strings.Repeat("u", 129), strings.Repeat("%F0%9F%8E%81", 33)} {
		w.call("GET", "/v1/offers/o/users/"+bad, "").is(400, "invalid-request")
	}
	w.call("GET", "/v1/offers/o/users/a/b", "").is(404, "route-not-found")
	w.call("GET", "/v1/offers/o/users/", "").is(404, "route-not-found")
	w.call("GET", "/v1/offers/"+strings.Repeat("o", 300), "").is(400, "invalid-request")
	w.call("GET", "/v1/offers/a%2Fb", "").is(400, "invalid-request")
}

func TestRedemptionsAreFound(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.redeem("o", "k1", `{"user_id":"alice","order_id":"1"}`)
	w.redeem("o", "k2", `{"user_id":"Alice","order_id":"2"}`)
	w.redeem("o", "k3", `{"user_id":"alice","order_id":"3"}`)
	keys := func(query string) string {
		t.Helper()
		var list []string
		for _, item := range w.call("GET", "/v1/redemptions?offer_id=o"+query, "").is(200, "").items() {
			list = append(list, item["idempotency_key"].(string))
		}
		return strings.Join(list, " ")
	}
	for query, want := range map[string]string{
		"": "k3 k2 k1", "&user_id=alice": "k3 k1", "&user_id=Alice": "k2", "&order_id=2": "k2", "&idempotency_key=k1": "k1",
		"&user_id=alice&order_id=2": "", "&limit=2": "k3 k2",
	} {
		if got := keys(query); got != want {
			t.Errorf("%q finds %q, want %q", query, got, want)
		}
	}
	next := w.call("GET", "/v1/redemptions?offer_id=o&limit=2", "").is(200, "").json["next_cursor"].(string)
	if got := keys("&limit=2&cursor=" + next); got != "k1" {
		t.Errorf("second page %q", got)
	}
	w.call("GET", "/v1/redemptions", "").is(400, "invalid-request")
	w.call("GET", "/v1/redemptions?offer_id=o&user_id=", "").is(400, "invalid-request") // forgotten, not everything
	w.call("GET", "/v1/redemptions?offer_id=none", "").is(404, "offer-not-found")
}
