package api

import (
	"net/http"
	"strings"
	"testing"
)

func TestScopes(t *testing.T) {
	w := newWorld(t)
	w.createOffer("o", "")
	id := w.redeem("o", "k", `{"user_id":"alice"}`)
	for _, r := range routes() {
		target := strings.NewReplacer("{offer}", "o", "{redemption}", id, "{user}", "alice").Replace(r.path)
		if r.path == "/v1/redemptions" {
			target += "?offer_id=o"
		}
		method := r.method
		call := func(headers ...string) *answer {
			t.Helper()
			return w.call(method, target, "", append(headers, "X-Forwarded-For: 203.0.113.9")...)
		}
		refused := func(a *answer) bool { return a.Code == http.StatusUnauthorized || a.Code == http.StatusForbidden }
		if a := call("-Authorization"); refused(a) != (r.scope != scopeOpen) {
			t.Errorf("%s %s without a key: %d", method, r.path, a.Code)
		} else if refused(a) {
			a.is(401, "unauthenticated").header("WWW-Authenticate", `Bearer realm="tranche"`)
		}
		if a := call("Authorization: Bearer " + checkoutKey); refused(a) != (r.scope == scopeAdmin) {
			t.Errorf("%s %s with the checkout key: %d", method, r.path, a.Code)
		} else if refused(a) {
			a.is(403, "forbidden")
		}
		if a := call("Authorization: Bearer " + adminKey); refused(a) {
			t.Errorf("%s %s with the admin key: %d", method, r.path, a.Code)
		}
	}
}

func TestBadCredentials(t *testing.T) {
	w := newWorld(t)
	for _, value := range []string{
		"", "Bearer", "Bearer ", "Basic " + adminKey, adminKey, "Bearer " + adminKey + "x", "Bearer " + adminKey[1:],
		"Bearer " + strings.ToUpper(adminKey), "Bearer " + adminKey + ", Bearer " + adminKey, "Bearer\t" + adminKey, "Bearer " + strings.Repeat("k", 10_000),
	} {
		w.call("GET", "/v1/nodes", "", "Authorization: "+value).is(401, "unauthenticated")
	}
	twice := request("GET", "/v1/nodes", "")
	twice.Header["Authorization"] = []string{"Bearer " + adminKey, "Bearer " + adminKey}
	w.send(twice, "").is(401, "unauthenticated")
	w.call("GET", "/v1/nodes", "", "Authorization: bearer "+adminKey).is(200, "") // the scheme's case does not matter
}

func TestC7AWrongKeyIsToldFromNone(t *testing.T) {
	w := newWorld(t)
	for header, c := range map[string]struct{ challenge, detail string }{
		"-Authorization":                       {`Bearer realm="tranche"`, "a key is needed"},
		"Authorization: Basic " + adminKey:     {`Bearer realm="tranche"`, "a key is needed"},
		"Authorization: Bearer x" + adminKey:   {`Bearer realm="tranche", error="invalid_token"`, "none of this node's keys"},
		"Authorization: Bearer " + "any other": {`Bearer realm="tranche", error="invalid_token"`, "none of this node's keys"},
	} {
		a := w.call("GET", "/v1/nodes", "", header).is(401, "unauthenticated").header("WWW-Authenticate", c.challenge)
		if !strings.Contains(a.json["detail"].(string), c.detail) {
			t.Errorf("%s: %s", header, a.Body)
		}
	}
}

func TestAnUnsetKeyOpensNothing(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.Keys.Admin = "" })
	w.call("GET", "/v1/nodes", "", "-Authorization").is(401, "unauthenticated")
	w.call("GET", "/v1/nodes", "", "Authorization: Bearer ").is(401, "unauthenticated")
	w.call("GET", "/v1/nodes", "", "Authorization: Bearer "+checkoutKey).is(403, "forbidden")
	w.call("GET", "/v1/offers", "", "Authorization: Bearer "+checkoutKey).is(200, "")
}

func TestKeysAreNotLogged(t *testing.T) {
	w := newWorld(t)
	w.call("GET", "/v1/nodes", "", "Authorization: Bearer "+checkoutKey).is(403, "forbidden")
	w.call("GET", "/v1/nodes", "", "Authorization: Bearer almost-"+adminKey).is(401, "unauthenticated")
	w.call("POST", "/v1/offers/o/redemptions", `{"user_id":"someone-private"}`, aKey).is(404, "offer-not-found")
	w.call("GET", "/v1/offers/o/users/someone-private", "").is(404, "offer-not-found")
	for _, secret := range []string{adminKey, checkoutKey, "someone-private"} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("%q is in the log: %s", secret, w.log)
		}
	}
}

func TestWithoutKeysOnlyThisMachineIsServed(t *testing.T) {
	w := newWorld(t, noKeys)
	try := func(host, origin string) int {
		r := request("GET", "/v1/offers", "", "-Authorization")
		r.Host = host
		if origin != "" {
			r.Header.Set("Origin", origin)
		}
		return w.send(r, "").Code
	}
	for _, c := range []struct {
		host, origin string
		want         int
	}{
		{"127.0.0.1:8080", "", 200},
		{"127.0.0.1", "", 200},
		{"127.9.9.9:1", "", 200},
		{"localhost:8080", "", 200},
		{"LocalHost", "", 200},
		{"[::1]:8080", "", 200},
		{"[::1]", "", 200},
		{"[::ffff:127.0.0.1]:8080", "", 200},
		{"localhost:8080", "http://localhost:8080", 200},
		{"[::1]:8080", "http://[::1]:8080", 200},

		{"", "", 403},
		{"shop.example", "", 403},
		{"localhost.shop.example:8080", "", 403},
		{"127.0.0.1.shop.example", "", 403},
		{"192.168.1.5:8080", "", 403},
		{"0.0.0.0:8080", "", 403},
		{"127.0.0.1:8080", "http://shop.example", 403},
		{"127.0.0.1:8080", "http://localhost:8080", 403},
		{"127.0.0.1:8080", "http://127.0.0.1:9090", 403},
		{"127.0.0.1:8080", "null", 403},
		{"127.0.0.1:8080", "http://127.0.0.1:8080.shop.example", 403},
		{"127.0.0.1:8080", "://", 403},
	} {
		if got := try(c.host, c.origin); got != c.want {
			t.Errorf("Host %q, Origin %q: %d, want %d", c.host, c.origin, got, c.want)
		}
	}
	for _, target := range []string{"/healthz", "/readyz", "/metrics", "/openapi.json"} {
		r := request("GET", target, "", "-Authorization")
		r.Host = "shop.example"
		w.send(r, "").is(403, "forbidden")
		w.call("GET", target, "", "-Authorization").is(200, "")
	}
	w.createOffer("o", "") // no key, no scope
}

func TestC5WithoutKeysAForwardedRequestIsNotServed(t *testing.T) {
	w := newWorld(t, noKeys)
	for _, header := range []string{
		"Forwarded: for=203.0.113.9", "X-Forwarded-For: 127.0.0.1", "X-Forwarded-Proto: https", "X-Forwarded-Host: shop.example", "X-Forwarded-For: ",
		"X-Real-IP: 203.0.113.9", "Via: 1.1 proxy",
	} {
		for _, target := range []string{"/v1/offers", "/metrics", "/healthz"} {
			w.call("GET", target, "", "-Authorization", header).is(403, "forbidden")
		}
	}
	old := request("GET", "/v1/offers", "", "-Authorization") // as nginx forwards, with no header of its own
	old.Proto, old.ProtoMajor, old.ProtoMinor = "HTTP/1.0", 1, 0
	w.send(old, "").is(403, "forbidden")
	other := request("GET", "/v1/offers", "", "-Authorization")
	other.RemoteAddr = "203.0.113.9:1"
	w.send(other, "").is(403, "forbidden")
	w.call("GET", "/v1/offers", "", "-Authorization", "User-Agent: curl").is(200, "")
}

func TestMetricsAreOpenOnThisMachineOnly(t *testing.T) {
	w := newWorld(t)
	named := request("GET", "/metrics", "", "-Authorization")
	named.Host = "metrics.shop.example:8080" // that a page made resolve to this machine, or that a proxy kept
	w.send(named, "").is(401, "unauthenticated")
	try := func(peer string, headers ...string) int {
		r := request("GET", "/metrics", "", append([]string{"-Authorization"}, headers...)...)
		r.RemoteAddr = peer
		return w.send(r, "").Code
	}
	for _, c := range []struct {
		peer, header string
		want         int
	}{
		{"127.0.0.1:1", "-None", 200},
		{"[::1]:1", "-None", 200},
		{"[::ffff:127.0.0.1]:1", "-None", 200},
		{"203.0.113.9:1", "-None", 401},
		{"@", "-None", 401},
		{"127.0.0.1:1", "X-Forwarded-For: 203.0.113.9", 401}, // a proxy on this machine
		{"127.0.0.1:1", "Forwarded: for=203.0.113.9", 401},
		{"127.0.0.1:1", "X-Real-IP: 203.0.113.9", 401},
		{"127.0.0.1:1", "Via: 1.1 proxy", 401},
		{"127.0.0.1:1", "X-Forwarded-Proto: https", 401},
		{"127.0.0.1:1", "Origin: http://shop.example", 401},
		{"203.0.113.9:1", "X-Forwarded-For: 127.0.0.1", 401},
		{"203.0.113.9:1", "Authorization: Bearer " + checkoutKey, 200},
		{"203.0.113.9:1", "Authorization: Bearer " + adminKey, 200},
	} {
		if got := try(c.peer, c.header); got != c.want {
			t.Errorf("from %s with %s: %d, want %d", c.peer, c.header, got, c.want)
		}
	}
}
