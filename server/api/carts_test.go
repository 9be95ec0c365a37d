package api

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tranche/models"
)

// inShop makes the offers a and b, 100 units each.
func inShop(t *testing.T) *world {
	w := newWorld(t)
	w.createOffer("a", "")
	w.createOffer("b", `,"user_limit_redemptions":1`)
	return w
}

const aCart = `{"user_id":"u","order_id":"1","items":[{"offer_id":"b"},{"offer_id":"a","units":3}],"metadata":{"from":"web"}}`

func TestACart(t *testing.T) {
	w := inShop(t)
	made := w.call("POST", "/v1/carts", aCart, aKey).is(201, "").header("Idempotent-Replayed", "")
	id := models.CartIDOf(strings.TrimPrefix(aKey, "Idempotency-Key: ")).String()
	made.header("Location", "/v1/carts/"+id).has(map[string]any{"id": id})
	items := made.items()
	for i, want := range []map[string]any{{"offer_id": "b", "units": 1}, {"offer_id": "a", "units": 3}} {
		for _, name := range []string{"offer_id", "units"} {
			if got := fmt.Sprint(items[i][name]); got != fmt.Sprint(want[name]) {
				t.Errorf("item %d: %s is %s, want %v", i, name, got, want[name])
			}
		}
		if items[i]["cart_id"] != id || items[i]["state"] != "redeemed" || items[i]["recorded"] != "ledger" || items[i]["order_id"] != "1" {
			t.Errorf("item %d: %v", i, items[i])
		}
	}
	w.call("GET", "/v1/redemptions/"+items[1]["id"].(string), "").is(200, "").has(map[string]any{"cart_id": id, "metadata.from": "web"})
	if read := w.call("GET", "/v1/carts/"+id, "").is(200, ""); read.Body.String() != made.Body.String() {
		t.Errorf("read back differently:\n%s\n%s", made.Body, read.Body)
	}

	w.call("POST", "/v1/carts", aCart, aKey).is(201, "").header("Idempotent-Replayed", "true").has(map[string]any{"id": id})
	w.call("POST", "/v1/carts", strings.Replace(aCart, `"units":3`, `"units":2`, 1), aKey).is(422, "idempotency-key-reused").has(map[string]any{"offer_id": "a"})
	w.call("POST", "/v1/carts", `{"user_id":"u","items":[{"offer_id":"a"}]}`, aKey).is(422, "idempotency-key-reused").has(map[string]any{"offer_id": "(absent)"})
	w.call("POST", "/v1/offers/a/redemptions", `{"user_id":"u","order_id":"1","units":3}`, aKey).is(422, "idempotency-key-reused")
}

func TestARefusedCartSaysWhichItem(t *testing.T) {
	w := inShop(t)
	w.redeem("b", "before", `{"user_id":"u"}`)
	w.call("POST", "/v1/carts", aCart, aKey).is(409, "user-limit-reached").has(map[string]any{"offer_id": "b", "limit_redemptions": 1, "retryable": false})
	w.call("GET", "/v1/offers/a/balance", "").is(200, "").has(map[string]any{"redeemed": 0})
	w.call("POST", "/v1/carts", `{"user_id":"u","items":[{"offer_id":"a"},{"offer_id":"none"}]}`, aKey).is(404, "offer-not-found").has(map[string]any{"offer_id": "none"})
	for _, c := range []struct {
		err     error
		status  int
		problem string
		members map[string]any
	}{
		{&models.ShortError{Wanted: 3, Balance: models.Balance{Budget: 9, Allocated: 9}}, 409, "budget-exhausted", map[string]any{"offer_id": "a", "available_units": 0}},
		{&models.NotActiveError{Status: models.StatusPaused}, 409, "offer-not-active", map[string]any{"offer_id": "a", "offer_status": "paused", "retryable": true}},
		{models.ErrLedgerUnavailable, 503, "ledger-unavailable", map[string]any{"outcome": "not_redeemed"}},
	} {
		w.desk.fail = &models.CartError{OfferID: "a", Err: c.err}
		w.call("POST", "/v1/carts", aCart, aKey).is(c.status, c.problem).has(c.members)
	}
	w.desk.fail = models.ErrOutcomeUnknown
	w.call("POST", "/v1/carts", aCart, aKey).is(503, "ledger-unavailable").has(map[string]any{"outcome": "unknown"})
}

func TestACartThatIsNotValid(t *testing.T) {
	w := inShop(t)
	w.call("POST", "/v1/carts", aCart).is(400, "idempotency-key-missing")
	var many []string
	for i := range models.MaxCartItems + 1 {
		many = append(many, fmt.Sprintf(`{"offer_id":"o%d"}`, i))
	}
	for body, want := range map[string]string{
		`{}`:                            "user_id required, items required",
		`{"user_id":"u","items":[]}`:    "items length",
		`{"user_id":"u","items":{}}`:    "items type",
		`{"user_id":"u","items":null}`:  "items type",
		`{"user_id":"u","items":["a"]}`: "items[0] type",
		`{"user_id":"u","items":[{"offer_id":"a"},{"offer_id":"a"}]}`:                                        "items[1].offer_id repeated",
		`{"user_id":"u","items":[{},{"offer_id":"a b","units":0},{"offer_id":"a","unit":1}]}`:                "items[0].offer_id required, items[1].offer_id format, items[1].units range, items[2].unit unknown",
		`{"user_id":"u","items":[{"offer_id":"a","units":1e2}],"units":1}`:                                   "items[0].units type, units unknown",
		`{"user_id":"u","items":[{"offer_id":"a"}],"hold_seconds":86401,"metadata":[]}`:                      "hold_seconds range, metadata type",
		`{"user_id":"u","items":[` + strings.Join(many, ",") + `]}`:                                          "items length",
		`{"user_id":"u","items":[{"offer_id":"a","offer_id":"b"}]}`:                                          "body json",
		`{"user_id":"u","items":[{"offer_id":"a\u0062"},{"offer_id":"ab","units":2},{"offer_id":"\u0061"}]}`: "items[1].offer_id repeated",
	} {
		if got := w.call("POST", "/v1/carts", body, aKey).is(400, "invalid-request").faults(); got != want {
			t.Errorf("%s: faults %q, want %q", body, got, want)
		}
	}
	if w.desk.calls != 0 {
		t.Error("the allocator was asked")
	}
}

func TestACartOfHolds(t *testing.T) {
	for verb, state := range map[string]string{"confirm": "redeemed", "cancel": "cancelled"} {
		w := inShop(t)
		held := w.call("POST", "/v1/carts", strings.Replace(aCart, `{`, `{"hold_seconds":60,`, 1), aKey).is(201, "")
		target := held.Header().Get("Location")
		w.clock = w.clock.Add(time.Second)
		for _, body := range []string{"", "{}"} {
			for _, item := range w.call("POST", target+"/"+verb, body).is(200, "").items() {
				if item["state"] != state || item["resolved_at"] == nil {
					t.Errorf("%s: %v", verb, item)
				}
			}
		}
		other := map[string]string{"confirm": "cancel", "cancel": "confirm"}[verb]
		w.call("POST", target+"/"+other, "").is(409, "hold-already-resolved").has(map[string]any{"offer_id": "b", "state": state, "units": 1})
		w.call("POST", target+"/"+verb, `{"units":1}`).is(400, "invalid-request")
	}
	w := inShop(t)
	final := w.call("POST", "/v1/carts", aCart, aKey).is(201, "").Header().Get("Location")
	w.call("POST", final+"/confirm", "").is(409, "not-a-hold").has(map[string]any{"offer_id": "b"})
}

func TestARefundOfACart(t *testing.T) {
	w := inShop(t)
	made := w.call("POST", "/v1/carts", aCart, aKey).is(201, "")
	target, second := made.Header().Get("Location")+"/refunds", made.items()[1]["id"].(string)
	w.call("POST", "/v1/redemptions/"+second+"/refunds", `{"units":1}`, "Idempotency-Key: part").is(201, "")
	w.call("POST", target, "").is(400, "idempotency-key-missing")
	w.call("POST", target, `{"units":1}`, "Idempotency-Key: r").is(400, "invalid-request")
	first := w.call("POST", target, `{"reason":"sent back"}`, "Idempotency-Key: r").is(201, "").header("Idempotent-Replayed", "")
	if items := first.items(); len(items) != 2 || items[1]["units"] != 2.0 || items[1]["redemption_id"] != second || items[0]["reason"] != "sent back" {
		t.Errorf("refunded %v", items)
	}
	again := w.call("POST", target, `{"reason":"sent back"}`, "Idempotency-Key: r").is(201, "").header("Idempotent-Replayed", "true")
	if again.Body.String() != first.Body.String() {
		t.Errorf("told differently:\n%s\n%s", first.Body, again.Body)
	}
	w.call("POST", target, "", "Idempotency-Key: r").is(422, "idempotency-key-reused")
	w.call("POST", target, "", "Idempotency-Key: more").is(409, "refund-exceeds-redemption").has(map[string]any{"offer_id": "b", "remaining_units": 0})
	w.call("GET", made.Header().Get("Location"), "").is(200, "")
}

func TestACartThatIsNotThere(t *testing.T) {
	w := inShop(t)
	target := "/v1/carts/" + models.CartIDOf("none").String()
	w.call("GET", target, "").is(404, "cart-not-found").has(map[string]any{"retryable": false})
	w.call("POST", target+"/confirm", "").is(404, "cart-not-found")
	w.call("POST", target+"/cancel", "").is(404, "cart-not-found")
	w.call("POST", target+"/refunds", "", aKey).is(404, "cart-not-found")
	for _, bad := range []string{"x", strings.Repeat("A", 26), strings.Repeat("a", 25) + "b", strings.Repeat("a", 27)} {
		w.call("GET", "/v1/carts/"+bad, "").is(400, "invalid-request")
	}
	w.desk.Fake.Fail = func(string) error { return models.ErrLedgerUnavailable }
	w.call("GET", target, "").is(503, "ledger-unavailable").has(map[string]any{"outcome": "(absent)"})
}
