package contract

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
)

// requestTimeout is how long a request may take until its context ends, as in Tranche.
const requestTimeout = 5 * time.Second

const maxBodyBytes = 64 << 10

var (
	errInvalid    = errors.New("the request is not valid")
	errKeyMissing = errors.New("the header Idempotency-Key is needed")
)

// Handler serves books over HTTP.
func Handler(books Books) http.Handler {
	s := &server{books}
	engine := gin.New()
	engine.POST("/v1/offers", s.serve(s.createOffer))
	engine.POST("/v1/offers/:offer/redemptions", s.serve(s.redeem))
	engine.POST("/v1/redemptions/:id/refunds", s.serve(s.refund))
	engine.GET("/v1/offers/:offer/balance", s.serve(s.balance))
	engine.GET("/v1/offers/:offer/users/:user", s.serve(s.usage))
	engine.GET("/readyz", func(c *gin.Context) {
		if s.books.Ready(c.Request.Context()) != nil {
			c.Status(http.StatusServiceUnavailable)
		}
	})
	return engine
}

type server struct{ books Books }

// reply is what a handler answers with; a status of zero is 200.
type reply struct {
	status   int
	body     any
	replayed bool
}

// serve wraps a handler with its deadline and writes its answer.
func (s *server) serve(handle func(context.Context, *gin.Context) (reply, error)) gin.HandlerFunc {
	return func(c *gin.Context) {
		ctx, cancel := context.WithTimeout(c.Request.Context(), requestTimeout)
		defer cancel()
		r, err := handle(ctx, c)
		if err != nil {
			writeProblem(c, err)
			return
		}
		if r.replayed {
			c.Header("Idempotent-Replayed", "true")
		}
		if r.status == 0 {
			r.status = http.StatusOK
		}
		writeJSON(c, r.status, "application/json", r.body)
	}
}

func writeJSON(c *gin.Context, status int, contentType string, body any) {
	out, err := json.Marshal(body)
	if err != nil { // the bodies are ours: numbers, times and texts
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Data(status, contentType, out)
}

func (s *server) createOffer(ctx context.Context, c *gin.Context) (reply, error) {
	var in struct {
		ID        string `json:"id"`
		Name      string `json:"name"`
		Budget    int64  `json:"budget"`
		UserLimit *int64 `json:"user_limit_redemptions"`
	}
	if err := readJSON(c, &in); err != nil {
		return reply{}, err
	}
	o := Offer{ID: in.ID, Name: in.Name, Budget: in.Budget}
	if in.UserLimit != nil {
		o.UserLimit = *in.UserLimit
	}
	if !fits(o.ID, 64) || strings.Contains(o.ID, ".") || o.Budget < 0 || in.UserLimit != nil && o.UserLimit < 1 {
		return reply{}, errInvalid
	}
	isNew, err := s.books.CreateOffer(ctx, o)
	if err != nil {
		return reply{}, err
	}
	status := http.StatusOK
	if isNew {
		status = http.StatusCreated
	}
	return reply{status: status, body: in}, nil
}

func (s *server) redeem(ctx context.Context, c *gin.Context) (reply, error) {
	var in struct {
		UserID  string  `json:"user_id"`
		OrderID *string `json:"order_id"`
		Units   int64   `json:"units"`
	}
	if err := readJSON(c, &in); err != nil {
		return reply{}, err
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return reply{}, err
	}
	o := Order{OfferID: c.Param("offer"), Key: key, UserID: in.UserID, OrderID: in.OrderID, Units: max(1, in.Units)}
	if !fits(o.OfferID, 64) || !fits(o.UserID, 128) || o.OrderID != nil && !fits(*o.OrderID, 128) || in.Units < 0 {
		return reply{}, errInvalid
	}
	r, replayed, err := s.books.Redeem(ctx, o)
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusCreated, toRedemption(&r), replayed}, nil
}

func (s *server) refund(ctx context.Context, c *gin.Context) (reply, error) {
	var in struct {
		Units  int64   `json:"units"`
		Reason *string `json:"reason"`
	}
	if c.Request.ContentLength != 0 {
		if err := readJSON(c, &in); err != nil {
			return reply{}, err
		}
	}
	key, err := idempotencyKey(c)
	if err != nil {
		return reply{}, err
	}
	offerID, hash, ok := ParseRedemptionID(c.Param("id"))
	if !ok {
		return reply{}, ErrRedemptionNotFound
	}
	if in.Units < 0 {
		return reply{}, errInvalid
	}
	r, replayed, err := s.books.Refund(ctx, RefundWish{OfferID: offerID, Hash: hash, Key: key, Units: in.Units})
	if err != nil {
		return reply{}, err
	}
	return reply{http.StatusCreated, toRefund(&r), replayed}, nil
}

func (s *server) balance(ctx context.Context, c *gin.Context) (reply, error) {
	b, err := s.books.Balance(ctx, c.Param("offer"))
	if err != nil {
		return reply{}, err
	}
	return reply{body: toBalance(&b)}, nil
}

func (s *server) usage(ctx context.Context, c *gin.Context) (reply, error) {
	u, err := s.books.Usage(ctx, c.Param("offer"), c.Param("user"))
	if err != nil {
		return reply{}, err
	}
	return reply{body: toUsage(c.Param("offer"), c.Param("user"), &u)}, nil
}

func readJSON(c *gin.Context, into any) error {
	body := http.MaxBytesReader(nil, c.Request.Body, maxBodyBytes)
	if err := json.UnmarshalRead(body, into, json.RejectUnknownMembers(true)); err != nil {
		return errInvalid
	}
	return nil
}

func idempotencyKey(c *gin.Context) (string, error) {
	key := c.GetHeader("Idempotency-Key")
	if key == "" {
		return "", errKeyMissing
	}
	if !fits(key, 255) {
		return "", errInvalid
	}
	return key, nil
}

func fits(s string, maxBytes int) bool { return s != "" && len(s) <= maxBytes }
