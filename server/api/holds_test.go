package api

import (
	"testing"
	"time"

	"tranche/models"
)

func TestAHoldIsMadeReadAndConfirmed(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	const body = `{"user_id":"alice","units":3,"hold_seconds":600}`
	id := w.redeem("o", "key-1", body)
	hold := w.call("GET", "/v1/redemptions/"+id, "").is(200, "").has(map[string]any{
		"units": 3, "state": "held", "hold_expires_at": "2026-11-27T08:10:00.123456Z", "resolved_at": nil,
	})
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"held": 3, "redeemed": 0, "net_spent": 3, "allocated": 100})
	w.call("GET", "/v1/offers/o/users/alice", "").is(200, "").has(map[string]any{"redemptions": 1, "units": 3, "held_units": 3})
	w.call("POST", "/v1/redemptions/"+id+"/refunds", "", aKey).is(409, "not-confirmed")

	w.clock = w.clock.Add(20 * time.Minute) // it has run out, and nobody has expired it
	again := w.call("POST", "/v1/offers/o/redemptions", body, aKey).is(201, "").header("Idempotent-Replayed", "true")
	if again.Body.String() != hold.Body.String() {
		t.Errorf("replayed differently:\n%s\n%s", hold.Body, again.Body)
	}
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice","units":3,"hold_seconds":601}`, aKey).is(422, "idempotency-key-reused")
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"alice","units":3}`, aKey).is(422, "idempotency-key-reused")

	confirmed := map[string]any{
		"id": id, "units": 2, "state": "redeemed", "hold_expires_at": "2026-11-27T08:10:00.123456Z",
		"created_at": "2026-11-27T08:00:00.123456Z", "resolved_at": "2026-11-27T08:20:00.123456Z",
	}
	w.call("POST", "/v1/redemptions/"+id+"/confirm", `{"units":2}`).is(200, "").has(confirmed)
	w.clock = w.clock.Add(time.Minute)
	w.call("POST", "/v1/redemptions/"+id+"/confirm", `{"units":2}`).is(200, "").has(confirmed)
	w.call("POST", "/v1/offers/o/redemptions", body, aKey).is(201, "").has(confirmed).header("Idempotent-Replayed", "true")
	resolved := map[string]any{"state": "redeemed", "units": 2, "retryable": false, "offer_id": "o"}
	w.call("POST", "/v1/redemptions/"+id+"/confirm", "").is(409, "hold-already-resolved").has(resolved)
	w.call("POST", "/v1/redemptions/"+id+"/cancel", "").is(409, "hold-already-resolved").has(resolved)
	w.call("POST", "/v1/redemptions/"+id+"/refunds", `{"units":3}`, aKey).is(409, "refund-exceeds-redemption").has(map[string]any{"remaining_units": 2})
	w.call("POST", "/v1/redemptions/"+id+"/refunds", "", aKey).is(201, "").has(map[string]any{"units": 2})

	var kinds []any
	for _, e := range w.call("GET", "/v1/offers/o/ledger", "").is(200, "").items() {
		kinds = append(kinds, e["kind"], int64(e["units"].(float64)))
	}
	want := []any{"refund", int64(2), "confirm", int64(2), "hold", int64(3)}
	for i := range want {
		if kinds[i] != want[i] {
			t.Fatalf("the ledger has %v, want %v", kinds, want)
		}
	}
}

func TestAHoldIsCancelled(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", `,"user_limit_redemptions":1`)
	id := w.redeem("o", "key-1", `{"user_id":"alice","hold_seconds":86400}`)
	for range 2 {
		w.call("POST", "/v1/redemptions/"+id+"/cancel", "{}").is(200, "").has(map[string]any{"state": "cancelled", "units": 1, "refunded_units": 0})
	}
	w.call("POST", "/v1/redemptions/"+id+"/confirm", "").is(409, "hold-already-resolved").has(map[string]any{"state": "cancelled", "units": 1})
	w.call("POST", "/v1/redemptions/"+id+"/refunds", "", aKey).is(409, "not-confirmed")
	w.call("GET", "/v1/offers/o/users/alice", "").is(200, "").has(map[string]any{"redemptions": 0, "held_units": 0, "remaining_redemptions": 1})
	w.call("GET", "/v1/offers/o/balance", "").is(200, "").has(map[string]any{"held": 0, "net_spent": 0, "outstanding": 100})
}

func TestWhatCannotBeConfirmedOrCancelled(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	redeemed := w.redeem("o", "redeemed", `{"user_id":"u"}`)
	held := w.redeem("o", "held", `{"user_id":"u","units":3,"hold_seconds":1}`)
	none := models.RedemptionIDOf("o", "never").String()
	for _, call := range []string{"/confirm", "/cancel"} {
		w.call("POST", "/v1/redemptions/"+redeemed+call, "").is(409, "not-a-hold")
		w.call("POST", "/v1/redemptions/"+none+call, "").is(404, "redemption-not-found").has(map[string]any{"retryable": false})
		w.call("POST", "/v1/redemptions/short"+call, "").is(400, "invalid-request")
		w.call("POST", "/v1/redemptions/"+held+call, `{"reason":"x"}`).is(400, "invalid-request")
		w.desk.fail = models.ErrLedgerUnavailable
		w.call("POST", "/v1/redemptions/"+held+call, "").is(503, "ledger-unavailable").has(map[string]any{"outcome": "not_redeemed"})
		w.desk.fail = nil
	}
	for _, units := range []string{"0", "-1", "1.5", "null", `"1"`, "4"} {
		a := w.call("POST", "/v1/redemptions/"+held+"/confirm", `{"units":`+units+`}`).is(400, "invalid-request")
		if got := a.faults(); got != "units range" && got != "units type" {
			t.Errorf("%s units: %s", units, a.Body)
		}
	}
	w.call("POST", "/v1/redemptions/"+held+"/cancel", `{"units":1}`).is(400, "invalid-request")
	for _, seconds := range []string{"0", "86401", "1.5", "null", `"60"`} {
		a := w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u","hold_seconds":`+seconds+`}`, aKey).is(400, "invalid-request")
		if got := a.faults(); got != "hold_seconds range" && got != "hold_seconds type" {
			t.Errorf("for %s s: %s", seconds, a.Body)
		}
	}
	w.call("GET", "/v1/redemptions/"+held, "").is(200, "").has(map[string]any{"state": "held"})
}
