// Command floor is what any service in Go with Gin costs: it parses a redemption's request and writes a redemption's reply, and
// does nothing in between. Tranche's throughput is told as a share of it.
package main

import (
	"crypto/sha256"
	"encoding/base32"
	"flag"
	"log"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
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

func main() {
	listen := flag.String("listen", "127.0.0.1:8090", "address")
	flag.Parse()
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.POST("/v1/offers/:offer/redemptions", redeem)
	engine.GET("/readyz", func(c *gin.Context) { c.Status(http.StatusOK) })
	log.Fatal(http.ListenAndServe(*listen, engine))
}

func redeem(c *gin.Context) {
	var r request
	if err := json.UnmarshalRead(c.Request.Body, &r, json.RejectUnknownMembers(true)); err != nil {
		c.Status(http.StatusBadRequest)
		return
	}
	offer, key := c.Param("offer"), c.GetHeader("Idempotency-Key")
	sum := sha256.Sum256([]byte(offer + "\x00" + key))
	now := time.Now().UTC()
	out, err := json.Marshal(reply{
		ID:      offer + "." + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:16])),
		OfferID: offer, UserID: r.UserID, OrderID: r.OrderID, IdempotencyKey: key, Units: max(1, r.Units), State: "redeemed",
		Recorded: "journal", NodeID: "00000000-0000-0000-0000-000000000000", LeaseID: "00000000-0000-0000-0000-000000000000",
		CreatedAt: now, ResolvedAt: now,
	})
	if err != nil {
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Data(http.StatusCreated, "application/json", out)
}
