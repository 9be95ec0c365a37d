package node

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/datadir"
	"tranche/internal/run"
	"tranche/internal/settle"
	"tranche/internal/store"
	"tranche/lease"
	"tranche/models"
	"tranche/refund"
	"tranche/server/api"
)

// Node is one server process. New makes it, Run serves until its context ends.
type Node struct {
	config    Config
	log       zerolog.Logger
	dir       *datadir.Dir
	store     *store.Store
	catalogue *allocator.Catalogue
	keeper    *lease.Keeper
	settler   *settle.Settler
	reaper    *lease.Reaper
	http      *http.Server
	listener  net.Listener
	state     atomic.Int32
}

// The states of a node, in the order it goes through them.
const (
	starting int32 = iota
	serving
	draining
)

// Time-outs of the HTTP server: what a client may take to send a request and to read its answer.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	answerTimeout = 20 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// New locks the data directory, binds the address and puts the parts together. It doesn't touch the database, and starts nothing.
func New(config Config) (_ *Node, err error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	n := &Node{config: config}
	defer func() {
		if err != nil {
			n.close()
		}
	}()
	if n.dir, err = datadir.Open(config.DataDir); err != nil {
		return nil, err
	}
	n.log = config.Logger.With().Str("node", config.NodeName).Logger()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	n.store, err = store.Open(store.Config{
		DSN: config.DSN, Path: n.dir.Database(), Logger: n.log, Registerer: registry,
	})
	if err != nil {
		return nil, err
	}
	handler, err := n.assemble(registry)
	if err != nil {
		return nil, err
	}
	if n.listener, err = net.Listen("tcp", config.Listen); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	n.http = &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: answerTimeout,
		IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader, ErrorLog: log.New(n.log.With().Str("from", "http").Logger(), "", 0),
	}
	return n, nil
}

// assemble makes the parts between the database and the HTTP handler, from the bottom up.
func (n *Node) assemble(registry *prometheus.Registry) (http.Handler, error) {
	now := time.Now
	n.catalogue = allocator.NewCatalogue(n.store, now, n.log)
	n.keeper = lease.NewKeeper(lease.Config{
		NodeID: n.dir.NodeID, Lanes: n.store.Lanes(), Now: now, Logger: n.log, Metrics: registry, Learned: n.catalogue.Learn,
	}, n.store)
	n.reaper = lease.NewReaper(n.store, now, n.log, registry)
	n.settler = settle.New(n.store, now, n.log, registry)
	desk := refund.NewDesk(n.dir.NodeID, n.store, n.keeper, n.settler, now)
	alloc := allocator.New(n.dir.NodeID, n.catalogue, n.store, n.keeper, n.settler, desk, now)
	return api.New(api.Config{
		Keys:           api.Keys{Admin: n.config.AdminKey, Checkout: n.config.CheckoutKey},
		RequestTimeout: n.config.RequestTimeout, Now: now, Logger: n.log, Registerer: registry, Gatherer: registry,
	}, api.Services{Allocator: alloc, Books: n.store, Ready: n.Ready})
}

// Addr is where the node listens.
func (n *Node) Addr() net.Addr { return n.listener.Addr() }

// Ready says whether the node should get requests, and why, or why not.
func (n *Node) Ready() (ready bool, detail string) {
	switch n.state.Load() {
	case starting:
		return false, "starting: the database has not answered yet"
	case draining:
		return false, "draining"
	}
	if n.store.Available() {
		return true, "serving"
	}
	if n.keeper.Holds() {
		return true, "the ledger is away; leases are held"
	}
	return false, "the ledger is away, and no leases are held"
}

// Run serves until ctx ends, then drains. The error says why the node could not serve, or had to stop.
func (n *Node) Run(ctx context.Context) error {
	defer n.close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()

	var running sync.WaitGroup
	running.Go(func() {
		if err := n.http.Serve(n.listener); !errors.Is(err, http.ErrServerClosed) {
			stop(fmt.Errorf("serve: %w", err))
		}
	})
	running.Go(func() {
		epoch, ok := n.begin(ctx)
		if !ok {
			return
		}
		running.Go(func() { n.keeper.Run(loops) })
		running.Go(func() { n.reaper.Run(loops) })
		running.Go(func() { n.catalogue.Run(loops) })
		running.Go(func() { n.heartbeat(loops, epoch, stop) })
	})

	<-ctx.Done()
	n.drain()
	stopLoops()
	running.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// begin tries until the database lets the node in, or ctx ends.
func (n *Node) begin(ctx context.Context) (epoch int64, ok bool) {
	backoff := run.Backoff{Min: 100 * time.Millisecond, Max: 2 * time.Second}
	var reported string
	for {
		epoch, err := n.enter(ctx)
		if err == nil {
			n.state.CompareAndSwap(starting, serving)
			n.log.Info().Stringer("node_id", n.dir.NodeID).Int64("epoch", epoch).Msg("serving")
			return epoch, true
		}
		if ctx.Err() == nil && err.Error() != reported {
			reported = err.Error()
			n.log.Warn().Err(err).Msg("not started yet, trying on")
		}
		if !backoff.Wait(ctx) {
			return 0, false
		}
	}
}

// enter makes the node part of the fleet. It may be repeated from its beginning at any point.
func (n *Node) enter(ctx context.Context) (int64, error) {
	if err := n.store.Migrate(ctx); err != nil {
		return 0, err
	}
	epoch, err := n.store.RegisterNode(ctx, n.dir.NodeID, n.config.NodeName)
	if err != nil {
		return 0, err
	}
	if err := n.returnEarlier(ctx, epoch); err != nil {
		return 0, err
	}
	if err := n.catalogue.Sync(ctx); err != nil {
		return 0, err
	}
	n.keeper.Begin(epoch)
	return epoch, nil
}

// leasesAtOnce bounds one read of earlier leases.
const leasesAtOnce = 200

// returnEarlier gives back what earlier processes on this data directory held: they are gone, for this one has the lock.
func (n *Node) returnEarlier(ctx context.Context, epoch int64) error {
	for {
		leases, err := n.store.LeasesOfNode(ctx, n.dir.NodeID, epoch, leasesAtOnce)
		if err != nil || len(leases) == 0 {
			return err
		}
		for _, l := range leases {
			if _, _, err := n.store.CloseLease(ctx, l.OfferID, l.ID, models.LeaseReturned, nil); err != nil {
				return err
			}
		}
		n.log.Info().Int("leases", len(leases)).Msg("returned leases of an earlier run")
	}
}

// heartbeatEvery lets a node miss one and still count as active.
const heartbeatEvery = models.NodeSilence / 3

// heartbeat says that the node is alive, and stops it when another process has its identity.
func (n *Node) heartbeat(ctx context.Context, epoch int64, stop context.CancelCauseFunc) {
	run.Every(ctx, heartbeatEvery, func(ctx context.Context) {
		if err := n.store.Heartbeat(ctx, n.dir.NodeID, epoch); errors.Is(err, models.ErrEpochSuperseded) {
			stop(fmt.Errorf("%w: is the data directory %s a copy?", err, n.config.DataDir))
		}
	})
}

// Bounds of a drain, after which the rest is left to others.
const (
	drainRequests = 6 * time.Second
	drainLeases   = 10 * time.Second
)

// drain stops serving in the reverse order of the start.
func (n *Node) drain() {
	started := n.state.Swap(draining) != starting
	n.log.Info().Msg("draining")
	if started {
		run.Pause(context.Background(), n.config.DrainWait)
	}
	requests, cancel := context.WithTimeout(context.Background(), drainRequests)
	defer cancel()
	if err := n.http.Shutdown(requests); err != nil {
		_ = n.http.Close()
	}
	leases, cancel := context.WithTimeout(context.Background(), drainLeases)
	defer cancel()
	if left := n.keeper.Drain(leases); left > 0 {
		n.log.Warn().Int("leases", left).Msg("leases left for the reapers")
	}
	n.settler.Stop(leases)
	n.log.Info().Msg("drained")
}

func (n *Node) close() {
	if n.listener != nil {
		_ = n.listener.Close()
	}
	if n.store != nil {
		_ = n.store.Close()
	}
	if n.dir != nil {
		_ = n.dir.Close()
	}
}
