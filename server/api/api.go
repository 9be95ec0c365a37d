package api

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/run"
	"tranche/models"
)

// Config is what the composition root decides.
type Config struct {
	Keys           Keys
	RequestTimeout time.Duration // from a request's arrival until it must be decided
	Now            func() time.Time
	Logger         zerolog.Logger
	Registerer     prometheus.Registerer // for this package's metrics
	Gatherer       prometheus.Gatherer   // what /metrics shows
}

// Keys are the bearer keys. With both empty, the API is open to this machine only.
type Keys struct {
	Admin    string // may do everything
	Checkout string // may redeem, hold, refund, and read offers, balances and users
}

// Services are what the handlers call. All of it is safe for concurrent use.
type Services struct {
	Allocator Allocator
	Books     Books
	// Ready says whether this node should get requests.
	Ready func() Readiness
	// Started says whether the others may be called: before, the ledger may not even have its tables.
	Started func() bool
}

// Readiness is whether a node should get requests, and what it can't do as usual.
type Readiness struct {
	Ready    bool
	Detail   string // why, or why not, in words that tell no secrets
	Degraded []Degraded
}

// Degraded is a part of a node that does not serve as usual.
type Degraded struct {
	Part   string
	Since  models.Micros // by the node's clock
	Detail string
}

// Allocator does what changes the books. Its errors are those of package models; the context carries the request's deadline.
type Allocator interface {
	Redeem(ctx context.Context, offerID string, req allocator.RedeemRequest) (allocator.Redeemed, error)
	Refund(ctx context.Context, id models.RedemptionID, req allocator.RefundRequest) (allocator.Refunded, error)
	// Confirm makes a hold final, for so many units; 0: all. Cancel gives it back.
	Confirm(ctx context.Context, id models.RedemptionID, units int64) (models.Redemption, error)
	Cancel(ctx context.Context, id models.RedemptionID) (models.Redemption, error)
	// Redemption finds one in the ledger or in this node's journal.
	Redemption(ctx context.Context, id models.RedemptionID) (models.Redemption, error)
	// Complete waits for a moment until this node owes the ledger nothing of an offer. It reports whether a reading of the ledger then has
	// all that was acknowledged before, on other nodes, too.
	Complete(ctx context.Context, offerID string) (bool, error)
	Carts
	// CreateOffer gives isNew=false when the same offer was there already.
	CreateOffer(ctx context.Context, offer models.Offer, by models.Audit) (created models.Offer, isNew bool, err error)
	// ChangeOffer may run change more than once; an error of change comes back wrapped.
	ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (allocator.Applied, error)
	// LedgerNow is the database's clock, estimated.
	LedgerNow() models.Micros
}

// Carts is what the Allocator does for several offers at once: for all of them or for none.
type Carts interface {
	RedeemCart(ctx context.Context, req allocator.CartRequest) (allocator.Carted, error)
	Cart(ctx context.Context, id models.CartID) (allocator.Carted, error)
	ConfirmCart(ctx context.Context, id models.CartID) (allocator.Carted, error)
	CancelCart(ctx context.Context, id models.CartID) (allocator.Carted, error)
	RefundCart(ctx context.Context, id models.CartID, key string, reason *string) (allocator.CartRefunded, error)
}

// Books reads the ledger. Limits are at most maxLimit + 1: a page asks for one row more than it shows.
type Books interface {
	Offer(ctx context.Context, id string) (models.Offer, error)
	Offers(ctx context.Context, filter models.OfferFilter) ([]models.Offer, models.Micros, error)
	Balance(ctx context.Context, offerID string) (models.Balance, error)
	Leases(ctx context.Context, offerID string, limit int, before models.ID) ([]models.ListedLease, error)
	Entries(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Entry, error)
	// Feed is of one offer, or with an empty id of all.
	Feed(ctx context.Context, offerID string, after int64, limit int) ([]models.Fed, error)
	// Refunds are of one redemption, those with a seq below one.
	Refunds(ctx context.Context, id models.RedemptionID, limit int, below int64) ([]models.Entry, error)
	Redemptions(ctx context.Context, filter models.RedemptionFilter) ([]models.ListedRedemption, error)
	Exceptions(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Exception, error)
	Usage(ctx context.Context, offerID, userID string) (models.Usage, error)
	// Audits are of one offer, or with an empty id of all.
	Audits(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Audit, error)
	Nodes(ctx context.Context, limit int, before models.ID) ([]models.NodeActivity, error)
}

// server is the state behind the handlers.
type server struct {
	Services
	config  Config
	keys    keyring
	metrics *metrics
	scrape  http.Handler // answers /metrics
	sampled zerolog.Logger
	pages   run.Turns // of lists, from before they are read until they are written

	strangers     strangers
	requestPrefix string // of the request ids made here
	requests      atomic.Uint64
}

// New builds the handler of the whole API.
func New(config Config, services Services) (http.Handler, error) {
	if config.RequestTimeout <= 0 || config.Now == nil || services.Ready == nil || services.Started == nil {
		return nil, errors.New("api: a request timeout, a clock, a readiness and a start are needed")
	}
	m, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, err
	}
	s := &server{
		Services:      services,
		config:        config,
		keys:          newKeyring(config.Keys),
		metrics:       m,
		scrape:        scrapeHandler(config.Gatherer),
		sampled:       config.Logger.Sample(&zerolog.BasicSampler{N: successesPerLogLine}),
		pages:         run.NewTurns(maxPages),
		requestPrefix: models.NewID().String()[24:] + "-",
	}
	return s.router(), nil
}

// router registers the route table. gin's own redirects, logger and recovery stay off.
func (s *server) router() *gin.Engine {
	gin.SetMode(gin.ReleaseMode) // process-wide; it only silences gin's prints
	engine := gin.New()
	engine.UseEscapedPath = true
	engine.UnescapePathValues = false // see exchange.segment
	engine.RedirectTrailingSlash = false
	engine.RedirectFixedPath = false
	engine.HandleMethodNotAllowed = true
	engine.ForwardedByClientIP = false
	for _, r := range routes() {
		engine.Handle(r.method, ginPath(r.path), s.endpoint(r))
		if r.method == http.MethodGet {
			r.method = http.MethodHead // send leaves the body out
			engine.Handle(r.method, ginPath(r.path), s.endpoint(r))
		}
	}
	engine.NoRoute(s.endpoint(route{handle: (*server).noRoute}))
	engine.NoMethod(s.endpoint(route{handle: (*server).noMethod}))
	return engine
}
