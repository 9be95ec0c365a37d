package main

import (
	"strings"
	"testing"
)

// Every printed call shows a key that is set and that may make it.
func TestTheGreetingsCallsShowAKeyThatExists(t *testing.T) {
	const admin, checkout = `"Authorization: Bearer $TRANCHE_ADMIN_KEY"`, `"Authorization: Bearer $TRANCHE_CHECKOUT_KEY"`
	for _, c := range []struct {
		s                        settings
		calls, admins, checkouts int
	}{
		{settings{}, 3, 0, 0},
		{settings{AdminKey: "a", CheckoutKey: "c"}, 3, 1, 2},
		{settings{AdminKey: "a"}, 3, 3, 0},
		{settings{CheckoutKey: "c"}, 0, 0, 0},
	} {
		text := greeting("http://127.0.0.1:8080", &c.s)
		if !strings.HasPrefix(text, "Tranche listens on http://127.0.0.1:8080\n") || strings.ContainsAny(text, "{}") && c.calls == 0 {
			t.Errorf("%+v: %s", c.s, text)
		}
		calls, admins, checkouts := strings.Count(text, "curl -s http://127.0.0.1:8080/v1/"), strings.Count(text, admin), strings.Count(text, checkout)
		if calls != c.calls || admins != c.admins || checkouts != c.checkouts {
			t.Errorf("%+v: %d calls, %d with the admin key, %d with the checkout key:\n%s", c.s, calls, admins, checkouts, text)
		}
	}
	if text := greeting("http://127.0.0.1:8080", &settings{CheckoutKey: "c"}); !strings.Contains(text, "TRANCHE_ADMIN_KEY is not set") {
		t.Errorf("it doesn't say what is missing: %s", text)
	}
}
