package api

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"tranche/models"
)

// exchange is one request on its way to its reply. It belongs to one goroutine.
type exchange struct {
	ctx     context.Context // ends when the request must be decided
	http    *http.Request
	gin     *gin.Context
	route   *route
	arrived time.Time
	id      string // the request id
	known   bool   // the client has shown a key, or needs none
	read    bool   // the body was read to its end
	slow    bool   // the body was not there in time
	turn    bool   // it has one of the server's turns for pages
	fault   error  // of the time that the client says it waits

	offerID string // for problems that name the offer; empty when the path names none
	reason  string // an admin's, for the log
	problem string // the name of the problem answered, for the log
	cause   error  // of a 5xx, for the log
}

// reply is what a handler answers with. The zero status is 200.
type reply struct {
	status   int
	body     any    // encoded as JSON
	list     lister // encoded as JSON, NDJSON or CSV, whichever the client prefers; body is nil then
	encoded  []byte // what is sent; body and list are nil where a handler fills it
	stream   http.Handler
	location string
	etag     string
	next     string // link to the next page
	replayed bool
}

// header is that of the answer.
func (x *exchange) header() http.Header { return x.gin.Writer.Header() }

// segment gives a path segment, unescaped.
//
// The router matches the escaped path and leaves segments escaped, so that "a%2Fb" is one segment; url.PathUnescape
// then leaves "+" alone, where gin's own unescaping would make it a space.
func (x *exchange) segment(name string) string {
	raw := x.gin.Param(name)
	if value, err := url.PathUnescape(raw); err == nil {
		return value
	}
	return raw // net/http has parsed the path, so its escapes are well-formed
}

// offer gives the offer id of the path.
func (x *exchange) offer() (string, error) {
	id := x.segment("offer")
	var f faults
	f.offerID("offer", id)
	if err := f.err(); err != nil {
		return "", err
	}
	x.offerID = id
	return id, nil
}

// redemption gives the redemption id of the path.
func (x *exchange) redemption() (models.RedemptionID, error) {
	id, err := models.ParseRedemptionID(x.segment("redemption"))
	if err == nil && isOfferID(id.OfferID) {
		x.offerID = id.OfferID
		return id, nil
	}
	var f faults
	f.add("redemption", ruleFormat, "a redemption id is {offer_id}.{26 characters of a-z and 2-7}")
	return models.RedemptionID{}, f.err()
}

// cart gives the cart id of the path.
func (x *exchange) cart() (models.CartID, error) {
	id, err := models.ParseCartID(x.segment("cart"))
	if err == nil {
		return id, nil
	}
	var f faults
	f.add("cart", ruleFormat, "a cart id is 26 characters of a-z and 2-7")
	return models.CartID{}, f.err()
}

// user gives the user id of the path.
func (x *exchange) user() (string, error) {
	id := x.segment("user")
	var f faults
	f.subject("user", id)
	return id, f.err()
}

// gone reports whether the client has hung up. One that was too slow has not, though net/http ends its context, too.
func (x *exchange) gone() bool { return x.http.Context().Err() != nil && !x.slow }
