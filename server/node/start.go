package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"tranche/internal/run"
	"tranche/internal/store"
	"tranche/models"
)

// begin tries until the database lets the node in, or ctx ends. It fails where no attempt can succeed.
func (n *Node) begin(ctx context.Context, fail func(error)) (epoch int64, ok bool) {
	err := persist(ctx, n.log, func() (err error) {
		epoch, err = n.enter(ctx)
		n.waitsFor.Store(new(waitsFor(err)))
		return err
	}, mayPass)
	if file, broken := errors.AsType[*store.FileError](err); broken {
		err = file // which says all, without how it was met
	}
	if err != nil && ctx.Err() == nil {
		fail(err)
	}
	if err != nil {
		return 0, false
	}
	if n.state.CompareAndSwap(starting, serving) {
		n.log.Info().Stringer("node_id", n.dir.NodeID).Int64("epoch", epoch).Msg("serving")
	}
	return epoch, true
}

// mayPass reports whether a later attempt may succeed without anybody touching the data directory or the program, or naming another
// database.
func mayPass(err error) bool {
	_, broken := errors.AsType[*store.FileError](err)
	tables, others := errors.AsType[*store.TablesError](err)
	return !broken && !errors.Is(err, fs.ErrPermission) && !errors.Is(err, errOtherLedger) && !(others && tables.Newer())
}

// waitsFor says in words for everybody what an attempt to start has failed for.
func waitsFor(err error) string {
	tables, lacking := errors.AsType[*store.TablesError](err)
	switch {
	case lacking:
		return tables.Error()
	case isAway(err):
		return "the database has not answered yet"
	default:
		return "an attempt failed and is repeated; the log says why"
	}
}

// enter makes the node part of the fleet. It may be repeated from its beginning at any point.
func (n *Node) enter(ctx context.Context) (int64, error) {
	records, err := n.settle(ctx, n.dir.KeepLedgerID)
	if err != nil {
		return 0, err
	}
	if n.config.DSN == "" {
		if err := n.dir.HoldDatabase(); err != nil {
			return 0, err
		}
	}
	var epoch int64
	err = n.health.Heartbeat(func() (err error) {
		epoch, err = n.store.RegisterNode(ctx, n.dir.NodeID, n.config.NodeName)
		return err
	})
	if err != nil {
		return 0, err
	}
	leases, err := n.takeOver(ctx, epoch)
	if err != nil {
		return 0, err
	}
	if err := n.catalogue.Sync(ctx); err != nil {
		return 0, err
	}
	if records+leases > 0 {
		n.log.Info().Int("records", records).Int("leases", leases).Msg("settled the journal and closed the leases of an earlier run")
	}
	n.keeper.Begin(epoch)
	return epoch, nil
}

const (
	// heartbeatEvery lets a node miss some and still count as active. Two missed in a row say that the database takes no writes.
	heartbeatEvery = 2 * time.Second
	// heartbeatWithin is how long a commit of one row may take.
	heartbeatWithin = 2 * time.Second
	// heartbeatRetry is how soon a node that missed one finds out that the database takes writes again.
	heartbeatRetry = 500 * time.Millisecond
)

// heartbeat says that the node is alive, and stops it when another process has its identity.
func (n *Node) heartbeat(ctx context.Context, epoch int64, fail func(error)) {
	missed := false
	pace := func() time.Duration {
		if missed || !n.health.Serves() {
			return heartbeatRetry
		}
		return heartbeatEvery
	}
	run.Paced(ctx, pace, func(ctx context.Context) {
		err := n.health.Heartbeat(func() error {
			ctx, cancel := context.WithTimeout(ctx, heartbeatWithin)
			defer cancel()
			return n.store.Heartbeat(ctx, n.dir.NodeID, n.config.NodeName, epoch)
		})
		switch {
		case errors.Is(err, models.ErrEpochSuperseded):
			fail(fmt.Errorf("%w: is the data directory %s a copy?", err, n.config.DataDir))
		case err != nil && !missed && ctx.Err() == nil:
			n.log.Warn().Err(err).Msg("heartbeat missed; nothing is reclaimed without")
		case err == nil && missed:
			n.log.Info().Msg("heartbeats are taken again")
		}
		missed = err != nil
	})
}
