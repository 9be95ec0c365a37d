package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestWhatAdminsDoIsAudited(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.createOffer("p", "")
	w.call("PATCH", "/v1/offers/o", `{"budget":50,"reason":"too many"}`, "X-Request-Id: r-1").is(200, "")
	w.call("PATCH", "/v1/offers/o", `{"budget":50}`).is(200, "") // changes nothing
	for _, verb := range []string{"pause", "resume", "recall", "end"} {
		w.call("POST", "/v1/offers/o/"+verb, fmt.Sprintf(`{"reason":"for %s"}`, verb)).is(200, "")
	}
	w.call("POST", "/v1/offers/o/resume", "").is(409, "offer-not-active")
	items := w.call("GET", "/v1/offers/o/history", "").is(200, "").items()
	var told []string
	for _, i := range items {
		if i["actor"] != "admin" || i["node_id"] != w.desk.node.String() || i["offer_id"] != "o" || i["at"] != "2026-11-27T08:00:00.123456Z" {
			t.Errorf("%v", i)
		}
		told = append(told, fmt.Sprint(i["action"], " ", i["reason"]))
	}
	want := "[end for end recall for recall resume for resume pause for pause change too many create <nil>]"
	if fmt.Sprint(told) != want {
		t.Errorf("history %v, want %v", told, want)
	}
	changed := items[4]
	before, after := changed["before"].(map[string]any), changed["after"].(map[string]any)
	if before["budget"] != 100.0 || after["budget"] != 50.0 || after["status"] != "active" || changed["request_id"] != "r-1" || items[5]["before"] != nil {
		t.Errorf("%v", changed)
	}
	if all := w.call("GET", "/v1/audit?limit=3", "").is(200, ""); len(all.items()) != 3 || all.json["next_cursor"] == nil {
		t.Errorf("%s", all.Body)
	}
	if one := w.call("GET", "/v1/audit?offer_id=p", "").is(200, "").items(); len(one) != 1 || one[0]["offer_id"] != "p" {
		t.Errorf("%v", one)
	}
	w.call("GET", "/v1/audit?offer_id=", "").is(400, "invalid-request")
	table := w.call("GET", "/v1/offers/o/history", "", "Accept: text/csv").is(200, "").Body.String()
	if lines := strings.Count(table, "\r\n"); lines != 7 || !strings.HasPrefix(table, "id,at,actor,node_id,action,offer_id,before,after,reason,request_id\r\n") {
		t.Errorf("%d lines: %s", lines, table)
	}
	for _, target := range []string{"/v1/audit", "/v1/offers/o/history"} {
		w.call("GET", target, "", "Authorization: Bearer "+checkoutKey).is(403, "forbidden")
	}
}

func TestWithoutKeysTheActorIsLocal(t *testing.T) {
	w := newWorld(t, noKeys)
	r := request("POST", "/v1/offers", `{"id":"o","name":"O","budget":1}`, "-Authorization")
	r.RemoteAddr = "127.0.0.1:5000"
	w.send(r, `{"id":"o","name":"O","budget":1}`).is(201, "")
	r = request("GET", "/v1/audit", "", "-Authorization")
	r.RemoteAddr = "127.0.0.1:5000"
	if items := w.send(r, "").is(200, "").items(); len(items) != 1 || items[0]["actor"] != "local" {
		t.Errorf("%v", items)
	}
}

func TestARecallChangesNothingOfTheOffer(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	w.redeem("o", "k", `{"user_id":"u"}`)
	w.call("POST", "/v1/offers/o/recall", `{}`, `If-Match: "1"`).is(200, "").
		header("ETag", `"1"`).has(map[string]any{"offer.version": 1, "offer.status": "active"})
	w.call("POST", "/v1/offers/o/recall", "", `If-Match: "7"`).is(412, "stale-version")
	w.call("POST", "/v1/offers/none/recall", "").is(404, "offer-not-found")
	w.call("POST", "/v1/offers/o/recall", "", "Authorization: Bearer "+checkoutKey).is(403, "forbidden")
}
