// Command floor shows what any service in Go with Gin costs. It reads a redemption's request and writes a redemption's reply,
// headers included, and does nothing in between. The benchmarks give Tranche's throughput as a share of the floor's.
//
// With --journal it appends a record to Tranche's journal before it replies, and waits for the fsync.
// A service that answers only for durable records can hardly be faster.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"flag"
	"log"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/rs/zerolog"

	"tranche/internal/journal"
)

type request struct {
	UserID  string  `json:"user_id"`
	OrderID *string `json:"order_id"`
	Units   int64   `json:"units"`
}

type reply struct {
	ID             string    `json:"id"`
	OfferID        string    `json:"offer_id"`
	UserID         string    `json:"user_id"`
	OrderID        *string   `json:"order_id"`
	IdempotencyKey string    `json:"idempotency_key"`
	Units          int64     `json:"units"`
	RefundedUnits  int64     `json:"refunded_units"`
	State          string    `json:"state"`
	HoldExpiresAt  *string   `json:"hold_expires_at"`
	Recorded       string    `json:"recorded"`
	Late           bool      `json:"late"`
	CartID         *string   `json:"cart_id"`
	NodeID         string    `json:"node_id"`
	LeaseID        string    `json:"lease_id"`
	CreatedAt      time.Time `json:"created_at"`
	ResolvedAt     time.Time `json:"resolved_at"`
	Metadata       *string   `json:"metadata"`
}

// floor answers requests. Without --journal its journal is nil.
type floor struct {
	journal *journal.Journal
	count   atomic.Uint64
}

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address")
	dir := flag.String("journal", "", "an empty folder to keep a journal in")
	flag.Parse()
	var f floor
	if *dir != "" {
		var err error
		f.journal, err = journal.Open(journal.Config{Dir: *dir, Now: time.Now, Logger: zerolog.Nop()})
		if err != nil {
			log.Fatal(err)
		}
		go f.journal.Run(context.Background())
	}
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST("/v1/offers/:offer/redemptions", f.redeem)
	engine.GET("/readyz", func(c *gin.Context) { c.Status(http.StatusOK) })
	log.Fatal(http.ListenAndServe(*listen, engine))
}

func (f *floor) redeem(c *gin.Context) {
	var r request
	if err := json.UnmarshalRead(c.Request.Body, &r, json.RejectUnknownMembers(true)); err != nil {
		c.Status(http.StatusBadRequest)
		return
	}
	offer, key := c.Param("offer"), c.GetHeader("Idempotency-Key")
	sum := sha256.Sum256([]byte(offer + "\x00" + key))
	id := offer + "." + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16]))
	now := time.Now().UTC()
	out, err := json.Marshal(reply{
		ID: id, OfferID: offer, UserID: r.UserID, OrderID: r.OrderID, IdempotencyKey: key, Units: max(1, r.Units), State: "redeemed",
		Recorded: "journal", NodeID: "00000000-0000-0000-0000-000000000000", LeaseID: "00000000-0000-0000-0000-000000000000",
		CreatedAt: now, ResolvedAt: now,
	})
	if err == nil && f.journal != nil {
		_, err = f.journal.Append(c.Request.Context(), 1, out)
	}
	if err != nil {
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Header("Cache-Control", "no-store")
	c.Header("Location", "/v1/redemptions/"+id)
	c.Header("X-Content-Type-Options", "nosniff")
	c.Header("X-Request-Id", "floor-"+strconv.FormatUint(f.count.Add(1), 36))
	c.Data(http.StatusCreated, "application/json", out)
}
