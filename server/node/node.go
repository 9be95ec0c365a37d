package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/catalogue"
	"tranche/internal/datadir"
	"tranche/internal/feed"
	"tranche/internal/run"
	"tranche/internal/version"
	"tranche/lease"
	"tranche/models"
	"tranche/refund"
	"tranche/server/api"
)

// Node is one server process. New makes it, Run serves until its context ends.
type Node struct {
	settlingParts
	config      Config
	catalogue   *catalogue.Catalogue
	keeper      *lease.Keeper
	reaper      *lease.Reaper
	sweeper     *refund.Sweeper
	sweeping    sync.WaitGroup // the sweeper's run
	inFlight    requestsInFlight
	certificate *certificate // nil: no TLS
	http        *http.Server
	listener    net.Listener
	state       atomic.Int32
	folderLost  atomic.Bool
	degraded    *degraded
	waitsFor    atomic.Pointer[string] // as long as the node starts, after an attempt that failed
}

// The states of a node, in the order it goes through them.
const (
	starting int32 = iota
	serving
	draining
)

// Time-outs of the HTTP server: what a client may take to send a request, and to read its answer once there is one.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 10 * time.Second
	answerTimeout = 5 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10
)

// New locks the data directory, reads the journal, binds the address and puts the parts together. It doesn't touch the database,
// and starts nothing.
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
	dir, err := datadir.Open(config.DataDir)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(buildInfo(), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	log := config.Logger.With().Str("node", config.NodeName).Logger()
	if err := n.settlingParts.open(dir, config.Database, log, time.Now, registry); err != nil {
		return nil, err
	}
	n.degraded = newDegraded(time.Now, log, registry)
	handler, err := n.assemble(time.Now, registry)
	if err != nil {
		return nil, err
	}
	if config.TLSCert != "" {
		if n.certificate, err = loadCertificate(config.TLSCert, config.TLSKey, time.Now, log); err != nil {
			return nil, err
		}
	}
	if n.listener, err = listen(config.Listen, cmp.Or(config.DBConns, DefaultDBConns)); err != nil {
		return nil, err
	}
	n.http = n.server(handler)
	log.Info().Str("version", version.Version).Stringer("address", n.Addr()).Msg("listening")
	for _, k := range config.keys() {
		if len(k.key) < shortKey {
			log.Warn().Str("key", k.name).Msgf("this key has fewer than %d characters, so it is easier to guess than it need be", shortKey)
		}
	}
	return n, nil
}

// buildInfo is 1, with what one wants to know of a program that misbehaves.
func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "tranche_build_info",
		Help:        "1; the labels say which version of Tranche runs, and which of Go made it.",
		ConstLabels: prometheus.Labels{"version": version.Version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}

// assemble makes all other parts, from the ledger up to the HTTP handler.
func (n *Node) assemble(now func() time.Time, registry *prometheus.Registry) (http.Handler, error) {
	n.catalogue = catalogue.New(n.store, now)
	n.catalogue.Subscribe(func(_ *models.Offer, back bool) {
		if back {
			n.losses.notice()
		}
	})
	leases := lease.Config{NodeID: n.dir.NodeID, Now: now, Logger: n.log, Metrics: registry}
	n.keeper = lease.NewKeeper(leases, n.store, n.catalogue)
	n.reaper = lease.NewReaper(leases, n.store, n.health)
	desk := refund.NewDesk(refund.DeskConfig{NodeID: n.dir.NodeID, Ledger: n.store, Keeper: n.keeper, Settler: n.settler, Offers: n.catalogue, Now: now, Logger: n.log})
	n.sweeper = refund.NewSweeper(refund.SweeperConfig{NodeID: n.dir.NodeID, Now: now, Logger: n.log, Metrics: registry},
		n.store, n.health, n.catalogue, desk)
	alloc := allocator.New(allocator.Config{
		NodeID: n.dir.NodeID, NodeName: n.config.NodeName, Offers: n.catalogue, Ledger: n.store, Blocks: n.keeper, Settler: n.settler, Desk: desk,
		Journal: acknowledgements{n.journal}, Health: n.health, Now: now,
	})
	return api.New(api.Config{
		Keys:           api.Keys{Admin: n.config.AdminKey, Checkout: n.config.CheckoutKey},
		RequestTimeout: n.config.RequestTimeout, Now: now, Logger: n.log, Registerer: registry, Gatherer: registry,
	}, api.Services{Allocator: alloc, Books: n.store, Ready: n.Ready, Started: n.started})
}

// server gives a request the time to arrive, to be decided, and to be answered, one after the other.
func (n *Node) server(handler http.Handler) *http.Server {
	server := &http.Server{
		Handler: n.inFlight.counted(handler), ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout,
		WriteTimeout: bodyTimeout + n.config.RequestTimeout + answerTimeout,
		IdleTimeout:  idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: log.New(few(n.log.With().Str("from", "http").Logger()), "", 0),
	}
	if n.certificate != nil {
		server.TLSConfig = &tls.Config{GetCertificate: n.certificate.get, MinVersion: tls.VersionTLS12}
		// The time-outs above are those of a connection with one request at a time.
		server.Protocols = new(http.Protocols)
		server.Protocols.SetHTTP1(true)
	}
	return server
}

// serve answers connections until the server is shut.
func (n *Node) serve() error {
	var err error
	if n.certificate != nil {
		err = n.http.ServeTLS(n.listener, "", "")
	} else {
		err = n.http.Serve(n.listener)
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve: %w", err)
}

// few lets through as many lines as a fault needs to be seen. Strangers can cause a line with each connection, by a TLS handshake that fails.
func few(logger zerolog.Logger) zerolog.Logger {
	return logger.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Minute})
}

// Addr is where the node listens.
func (n *Node) Addr() net.Addr { return n.listener.Addr() }

// started reports whether the start has come to its end, ever.
func (n *Node) started() bool { return n.keeper.Epoch() != 0 }

// Run serves until ctx ends, then drains. The error says why the node could not serve, or had to stop.
func (n *Node) Run(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var failure error
	var once sync.Once
	fail := func(err error) { once.Do(func() { failure = err; stop() }) }
	loops, stopLoops := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLoops()

	var recording, running sync.WaitGroup
	recording.Go(func() { n.journal.Run(context.WithoutCancel(ctx)) }) // until it is closed
	running.Go(func() {
		if err := n.serve(); err != nil {
			fail(err)
		}
	})
	begun := make(chan struct{})
	running.Go(func() {
		defer close(begun)
		if epoch, ok := n.begin(ctx, fail); ok {
			running.Go(func() { n.keeper.Run(loops) })
			running.Go(func() { n.reaper.Run(loops) })
			running.Go(func() { feed.NewPlacer(n.store, n.health.Serves, n.log).Run(loops) })
			n.sweeping.Go(func() { n.sweeper.Run(ctx) }) // it books as requests do, and ends with them
			running.Go(func() { n.catalogue.Run(loops, n.keeper.InTail) })
			running.Go(func() { n.heartbeat(loops, epoch, fail) })
			running.Go(func() { n.bookAgain(loops) })
		}
	})
	running.Go(func() { n.watchFolder(loops, fail) })
	running.Go(func() { run.Every(loops, reviewEvery, func(context.Context) { n.Ready() }) })

	<-ctx.Done()
	owes := n.drain(begun)
	stopLoops()
	running.Wait()
	if !owes {
		n.signOff() // after the last heartbeat
	}
	n.close()
	recording.Wait()
	return failure
}

// folderEvery is how often a node looks whether its data directory, with the embedded database, is still there.
const folderEvery = time.Second

// watchFolder stops the node when its data directory was deleted or replaced: nothing that it writes there would be found again.
func (n *Node) watchFolder(ctx context.Context, fail func(error)) {
	run.Every(ctx, folderEvery, func(context.Context) {
		if err := n.dir.Check(); err != nil {
			n.folderLost.Store(true)
			fail(err)
		}
	})
}

func (n *Node) close() {
	if n.listener != nil {
		_ = n.listener.Close()
	}
	n.settlingParts.close()
}
