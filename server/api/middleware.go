package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/rs/zerolog"

	"tranche/models"
)

const (
	maxRequestIDBytes   = 128
	statusClientGone    = 499 // in the log only: nobody is there to read a status
	successesPerLogLine = 100 // on routes whose successes are too many to log
)

// endpoint makes the gin handler of a route: everything that happens to a request, in order.
func (s *server) endpoint(r route) gin.HandlerFunc {
	seen := s.metrics.of(&r)
	return func(c *gin.Context) {
		x := &exchange{http: c.Request, gin: c, route: &r, arrived: s.config.Now()}
		within, fault := s.patience(c.Request.Header)
		decided, cancel := context.WithTimeout(c.Request.Context(), within)
		defer cancel()
		x.ctx, x.fault = decided, fault

		s.metrics.inFlight.Inc()
		defer s.metrics.inFlight.Dec()

		s.identify(x)
		defer s.endTurn(x)
		answer, err := s.answer(x)
		status := s.write(x, answer, err)

		took := s.config.Now().Sub(x.arrived)
		seen.observe(status, took)
		s.log(x, status, took)
	}
}

// identify takes the client's request id, or makes one, and sets the headers that every answer has.
func (s *server) identify(x *exchange) {
	x.id = x.http.Header.Get("X-Request-Id")
	if !isVisibleASCII(x.id, maxRequestIDBytes) {
		x.id = s.requestPrefix + strconv.FormatUint(s.requests.Add(1), 36)
	}
	h := x.header()
	h.Set("X-Request-Id", x.id)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
}

// answer decides on a request and encodes the reply. It changes nothing about the response yet, so whatever goes wrong can
// still become a problem.
func (s *server) answer(x *exchange) (answer reply, err error) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // net/http compares this very value
				panic(p)
			}
			answer, err = reply{}, &panicError{p, debug.Stack()}
		}
	}()
	if err := s.admit(x); err != nil {
		return reply{}, err
	}
	if x.fault != nil {
		return reply{}, x.fault
	}
	if x.route.scope >= scopeCheckout && !s.Started() {
		return reply{}, models.ErrLedgerUnavailable
	}
	if x.http.URL.RawQuery != "" && !x.route.is(queries) {
		if err := x.query().close(); err != nil {
			return reply{}, err
		}
	}
	if x.route.is(lists) {
		if x.turn = s.pages.Take(x.ctx); !x.turn {
			return reply{}, models.ErrOverloaded
		}
	}
	answer, err = x.route.handle(s, x)
	if err == nil {
		answer.encoded, err = x.encode(&answer)
	}
	return answer, err
}

// endTurn lets the next page in, once this one is written.
func (s *server) endTurn(x *exchange) {
	if x.turn {
		s.pages.End()
	}
}

// panicError is a bug in this program, caught at the edge.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v", e.value) }

// encode gives the bytes of an answer and says in the header what they are, and where a list goes on. Streams and prepared documents pass
// it by.
func (x *exchange) encode(r *reply) ([]byte, error) {
	h := x.header()
	h.Set("Content-Type", typeJSON)
	switch {
	case r.stream != nil, r.encoded != nil:
		return r.encoded, nil
	case r.list == nil:
		return encodeJSON(r.body)
	}
	h.Add("Vary", "Accept")
	form := preferred(x.http.Header.Get("Accept"))
	h.Set("Content-Type", form)
	if form == typeCSV {
		h.Set("Content-Type", typeCSV+"; charset=utf-8; header=present")
	}
	text, next, err := r.list.encode(form)
	if next != nil {
		r.next = x.nextPage(*next)
	}
	r.list = nil // the rows need not stay in memory while a slow client reads
	return text, err
}

// bodyGrace is how long an answer waits for a body that the handler has not read. If it is there by then, the connection can be used again.
const bodyGrace = 250 * time.Millisecond

// write sends the reply, or the problem that err is, and gives the status for log and metrics.
func (s *server) write(x *exchange, r reply, err error) int {
	if x.http.ContentLength != 0 && !x.read {
		// net/http reads what is left of the body before it sends an answer. Where there is no connection to do that on, there is no wait.
		_ = http.NewResponseController(x.gin.Writer).SetReadDeadline(s.config.Now().Add(bodyGrace))
	}
	if err != nil {
		return s.writeProblem(x, err)
	}
	if r.stream != nil {
		r.stream.ServeHTTP(x.gin.Writer, x.http)
		return x.gin.Writer.Status()
	}
	h := x.header()
	if r.location != "" {
		h.Set("Location", r.location)
	}
	if r.etag != "" {
		h.Set("Etag", r.etag)
	}
	if r.next != "" {
		h.Set("Link", "<"+r.next+`>; rel="next"`)
	}
	if r.replayed {
		h.Set("Idempotent-Replayed", "true")
	}
	if r.status == 0 {
		r.status = http.StatusOK
	}
	x.send(r.status, r.encoded)
	return r.status
}

func (s *server) writeProblem(x *exchange, err error) int {
	p := x.problemOf(err, s.Allocator.LedgerNow())
	x.problem = p.Type
	if p.Status >= 500 {
		x.cause = err
	}
	if x.gone() {
		x.gin.Writer.WriteHeader(statusClientGone)
		return statusClientGone
	}
	h := x.header()
	h.Set("Content-Type", typeProblem)
	switch {
	case p.retryAfter > 0:
		h.Set("Retry-After", strconv.FormatInt(int64((p.retryAfter+time.Second-1)/time.Second), 10))
	case errors.Is(err, errUnauthenticated):
		h.Set("WWW-Authenticate", challenge)
	case errors.Is(err, errWrongKey):
		h.Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
	case errors.Is(err, errForbidden):
		h.Set("WWW-Authenticate", challenge+`, error="insufficient_scope"`)
	}
	if errors.Is(err, errSlowBody) || errors.Is(err, errBodyTooLarge) {
		h.Set("Connection", "close") // what is left of the body is not worth reading
	}
	body, err := encodeJSON(p)
	if err != nil {
		x.cause = err // of our own making, and there is nothing better to say
	}
	x.send(p.Status, body)
	return p.Status
}

// send writes status and body, to HEAD only the length of the body. An error means that the client has gone, which its retry will find out
// about.
func (x *exchange) send(status int, body []byte) {
	x.header().Set("Content-Length", strconv.Itoa(len(body)))
	x.gin.Writer.WriteHeader(status)
	if x.http.Method == http.MethodHead {
		body = nil
	}
	_, _ = x.gin.Writer.Write(body)
}

// log writes the access line. Paths stay out of it: they hold user ids. So do headers: they hold keys. Of requests without a key, only one in
// a while has a line, unless something went wrong here: they may be anybody's.
func (s *server) log(x *exchange, status int, took time.Duration) {
	var leftOut int64
	if !x.known && x.cause == nil {
		var yes bool
		if leftOut, yes = s.strangers.logs(strangerKind{status, x.problem}, s.config.Now()); !yes {
			return
		}
	}
	logger, level := &s.config.Logger, zerolog.InfoLevel
	switch {
	case status >= 500:
		level = zerolog.ErrorLevel
	case status < 400 && x.known && x.route.is(sampled):
		logger = &s.sampled
	}
	event := logger.WithLevel(level)
	if event == nil {
		return
	}
	event.Str("request_id", x.id).Str("method", x.http.Method).Str("route", x.route.pattern()).
		Int("status", status).Dur("duration_ms", took).Int("bytes", max(0, x.gin.Writer.Size()))
	if x.problem != "" {
		event.Str("problem", x.problem)
	}
	if leftOut > 0 {
		event.Int64("left_out", leftOut)
	}
	if x.offerID != "" {
		event.Str("offer_id", x.offerID)
	}
	if x.reason != "" {
		event.Str("reason", x.reason)
	}
	if x.cause != nil {
		event.Err(x.cause)
		if p, ok := errors.AsType[*panicError](x.cause); ok {
			event.Bytes("stack", p.stack)
		}
	}
	event.Msg("request")
}
