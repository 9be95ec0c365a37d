package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/models"
)

// trivial answers each redemption at once, from nothing.
type trivial struct {
	Allocator
	now models.Micros
}

func (a trivial) LedgerNow() models.Micros { return a.now }

func (a trivial) Redeem(_ context.Context, offerID string, req allocator.RedeemRequest) (allocator.Redeemed, error) {
	return allocator.Redeemed{Redemption: models.Redemption{
		RedemptionID: models.RedemptionIDOf(offerID, req.Key), IdempotencyKey: req.Key, UserID: req.UserID, OrderID: req.OrderID,
		Units: req.Units, State: models.StateRedeemed, CreatedAt: a.now, ResolvedAt: &a.now,
	}}, nil
}

const benchBody = `{"user_id":"user-123456","order_id":"order-987654","units":1}`

// BenchmarkRedeem is the whole edge around an allocator that does nothing.
func BenchmarkRedeem(b *testing.B) {
	registry := prometheus.NewRegistry()
	handler, err := New(Config{
		Keys: Keys{Admin: adminKey, Checkout: checkoutKey}, RequestTimeout: 5 * time.Second, Now: time.Now,
		Logger: zerolog.New(io.Discard), Registerer: registry, Gatherer: registry,
	}, Services{Allocator: trivial{now: models.MicrosOf(time.Now())}, Ready: func() Readiness { return Readiness{Ready: true} }, Started: func() bool { return true }})
	if err != nil {
		b.Fatal(err)
	}
	serveAll(b, handler)
}

// BenchmarkFloor is a bare gin handler that parses the same request and writes the same reply.
func BenchmarkFloor(b *testing.B) {
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	now := models.MicrosOf(time.Now())
	engine.POST("/v1/offers/:offer/redemptions", func(c *gin.Context) {
		var body struct {
			UserID  string  `json:"user_id"`
			OrderID *string `json:"order_id"`
			Units   int64   `json:"units"`
		}
		if err := json.UnmarshalRead(c.Request.Body, &body); err != nil {
			c.Status(http.StatusBadRequest)
			return
		}
		done, _ := trivial{now: now}.Redeem(c.Request.Context(), c.Param("offer"), allocator.RedeemRequest{
			Key: c.GetHeader("Idempotency-Key"), UserID: body.UserID, OrderID: body.OrderID, Units: body.Units,
		})
		text, _ := json.Marshal(toRedemption(&done.Redemption))
		c.Data(http.StatusCreated, "application/json", text)
	})
	serveAll(b, engine)
}

// discard is a response writer that costs nothing.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(status int)      { d.status = status }

func serveAll(b *testing.B, handler http.Handler) {
	b.Helper()
	r := httptest.NewRequest("POST", "/v1/offers/spring-2026/redemptions", nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+checkoutKey)
	r.Header.Set("Idempotency-Key", "order-987654-1")
	r.ContentLength = int64(len(benchBody))
	body := strings.NewReader("")
	r.Body = io.NopCloser(body)
	w := &discard{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		body.Reset(benchBody)
		clear(w.header)
		handler.ServeHTTP(w, r)
		if w.status != http.StatusCreated {
			b.Fatalf("status %d", w.status)
		}
	}
}
