package api

import (
	"net/http"
	"strings"
)

// scope is what a caller must be allowed to.
type scope int

const (
	scopeOpen     scope = iota // anybody
	scopeLocal                 // a peer on this machine, or any key
	scopeCheckout              // the checkout key or the admin key
	scopeAdmin                 // the admin key
)

// route is one line of the route table.
type route struct {
	method string // empty for what the table does not have
	path   string
	scope  scope
	handle func(*server, *exchange) (reply, error)
	traits trait
}

// trait is what the endpoint must know about a route beside its handler.
type trait uint8

const (
	writes  trait = 1 << iota // an unfinished call leaves an outcome to tell about
	queries                   // takes query parameters; the handler checks them
	sampled                   // only some of its successes are logged
	lists                     // answers with a page, which may be large: only some at once
)

func (r *route) is(t trait) bool { return r.traits&t != 0 }

// routes is the whole contract; openapi.yaml documents the same ones, and a test compares the two. HEAD goes wherever GET does.
func routes() []route {
	const get, post, patch = http.MethodGet, http.MethodPost, http.MethodPatch
	return []route{
		{post, "/v1/offers", scopeAdmin, (*server).createOffer, writes},
		{get, "/v1/offers", scopeCheckout, (*server).listOffers, queries | lists},
		{get, "/v1/offers/{offer}", scopeCheckout, (*server).getOffer, 0},
		{patch, "/v1/offers/{offer}", scopeAdmin, (*server).patchOffer, writes},
		{post, "/v1/offers/{offer}/pause", scopeAdmin, (*server).pauseOffer, writes},
		{post, "/v1/offers/{offer}/resume", scopeAdmin, (*server).resumeOffer, writes},
		{post, "/v1/offers/{offer}/end", scopeAdmin, (*server).endOffer, writes},
		{post, "/v1/offers/{offer}/recall", scopeAdmin, (*server).recallOffer, writes},

		{post, "/v1/offers/{offer}/redemptions", scopeCheckout, (*server).redeem, writes | sampled},
		{get, "/v1/redemptions", scopeCheckout, (*server).listRedemptions, queries | lists},
		{get, "/v1/redemptions/{redemption}", scopeCheckout, (*server).getRedemption, 0},
		{post, "/v1/redemptions/{redemption}/confirm", scopeCheckout, (*server).confirmHold, writes},
		{post, "/v1/redemptions/{redemption}/cancel", scopeCheckout, (*server).cancelHold, writes},
		{post, "/v1/redemptions/{redemption}/refunds", scopeCheckout, (*server).refund, writes},
		{get, "/v1/redemptions/{redemption}/refunds", scopeCheckout, (*server).listRefunds, queries | lists},
		{post, "/v1/carts", scopeCheckout, (*server).redeemCart, writes | sampled},
		{get, "/v1/carts/{cart}", scopeCheckout, (*server).getCart, 0},
		{post, "/v1/carts/{cart}/confirm", scopeCheckout, (*server).confirmCart, writes},
		{post, "/v1/carts/{cart}/cancel", scopeCheckout, (*server).cancelCart, writes},
		{post, "/v1/carts/{cart}/refunds", scopeCheckout, (*server).refundCart, writes},
		{get, "/v1/offers/{offer}/users/{user}", scopeCheckout, (*server).getUsage, 0},

		{get, "/v1/offers/{offer}/balance", scopeCheckout, (*server).getBalance, 0},
		{get, "/v1/offers/{offer}/leases", scopeAdmin, (*server).listLeases, queries | lists},
		{get, "/v1/offers/{offer}/ledger", scopeAdmin, (*server).listEntries, queries | lists},
		{get, "/v1/offers/{offer}/overspend", scopeAdmin, (*server).listExceptions, queries | lists},
		{get, "/v1/offers/{offer}/history", scopeAdmin, (*server).listHistory, queries | lists},
		{get, "/v1/nodes", scopeAdmin, (*server).listNodes, queries | lists},
		{get, "/v1/events", scopeAdmin, (*server).listEvents, queries | lists},
		{get, "/v1/audit", scopeAdmin, (*server).listAudits, queries | lists},

		{get, "/healthz", scopeOpen, (*server).health, queries | sampled},
		{get, "/readyz", scopeOpen, (*server).readiness, queries | sampled},
		{get, "/metrics", scopeLocal, (*server).showMetrics, queries | sampled},
		{get, "/openapi.json", scopeOpen, (*server).document, queries},
	}
}

func (s *server) noRoute(*exchange) (reply, error)  { return reply{}, errRouteNotFound }
func (s *server) noMethod(*exchange) (reply, error) { return reply{}, errMethodNotAllowed }

// ginPath writes "{name}" segments as gin wants them, ":name".
func ginPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}
