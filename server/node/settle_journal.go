package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/datadir"
	"tranche/internal/run"
	"tranche/internal/store"
	"tranche/models"
)

// SettleConfig says whose journal is settled into which database.
type SettleConfig struct {
	DataDir string // of a node that doesn't run
	Database
	Logger zerolog.Logger
}

// Settled is how much was settled and returned.
type Settled struct {
	Records int // of the journal, those too that were in the database already
	Leases  int
}

// SettleJournal does for a node that is not going to start again what its start would do: it books what the journal holds, and
// closes the leases. It takes the node's next epoch, so should the node be alive after all, on another copy of its folder, it
// stops. The overspend bound has what such a node can still spend until those leases end; then any node takes it out.
//
// It waits for a database that is away until ctx ends, not for one that denies it. The figures that it gives with an error were done; to repeat all is harmless.
func SettleJournal(ctx context.Context, config SettleConfig) (settled Settled, err error) {
	if err := config.validate(); err != nil {
		return Settled{}, err
	}
	dir, err := datadir.OpenExisting(config.DataDir)
	if err != nil {
		return Settled{}, err
	}
	if err := hasDatabase(dir, config.DSN); err != nil {
		return Settled{}, errors.Join(err, dir.Close())
	}
	var recording sync.WaitGroup
	defer recording.Wait()
	b := &settlingParts{}
	defer b.close()
	if err := b.open(dir, config.Database, config.Logger, time.Now, prometheus.NewRegistry()); err != nil {
		return Settled{}, err
	}
	recording.Go(func() { b.journal.Run(context.WithoutCancel(ctx)) })
	found, _ := b.journal.Backlog()
	err = persist(ctx, b.log, func() error { return b.settleAll(ctx, &settled) }, awaits(b.store))
	b.stopSettler()
	left, _ := b.journal.Backlog()
	settled.Records = int(found - left)
	switch {
	case err != nil && ctx.Err() != nil:
		return settled, fmt.Errorf("interrupted with %d records left: %w", left, err)
	case err != nil:
		return settled, err
	}
	if left > 0 {
		return settled, fmt.Errorf("%d records stay in the journal: %w", left, models.ErrOfferNotFound)
	}
	b.awaitRemoval(ctx)
	return settled, nil
}

// hasDatabase gives an error where nothing says which database the node belonged to: a new embedded one would know none of its leases.
func hasDatabase(dir *datadir.Dir, dsn string) error {
	if dsn != "" {
		return nil
	}
	if _, err := os.Stat(dir.Database()); err != nil {
		return fmt.Errorf("no --dsn, and the data directory has no embedded database: name the one that the node belonged to: %w", err)
	}
	return nil
}

// isAway reports whether the database could not be asked: the one thing that is worth waiting for.
func isAway(err error) bool {
	return errors.Is(err, models.ErrLedgerUnavailable) || errors.Is(err, models.ErrOutcomeUnknown) ||
		errors.Is(err, models.ErrBusy) || errors.Is(err, models.ErrOverloaded)
}

// awaits gives whether an error of a command is one to wait for: the database is away, and nobody has to mend a file or to give a right
// first.
func awaits(s *store.Store) func(error) bool {
	return func(err error) bool { return isAway(err) && mayPass(err) && s.Denied() == "" }
}

// settleAll may be repeated from its beginning at any point.
func (b *settlingParts) settleAll(ctx context.Context, settled *Settled) (err error) {
	changesNothing := func(models.ID) error { return nil } // in the folder
	if _, err = b.settle(ctx, changesNothing); err != nil {
		return err
	}
	name, known, err := b.knownAs(ctx)
	if err != nil || !known {
		return err // it never had a lease
	}
	epoch, err := b.store.RegisterNode(ctx, b.dir.NodeID, name)
	if err != nil {
		return err
	}
	closed, err := b.takeOver(ctx, epoch)
	settled.Leases += closed
	return err
}

// nodesAtOnce bounds one read of the list of nodes.
const nodesAtOnce = 500

// knownAs gives the name that the node had.
func (b *settlingParts) knownAs(ctx context.Context) (name string, known bool, err error) {
	for before := (models.ID{}); ; {
		nodes, err := b.store.Nodes(ctx, nodesAtOnce, before)
		if err != nil || len(nodes) == 0 {
			return "", false, err
		}
		for _, n := range nodes {
			if n.ID == b.dir.NodeID {
				return n.Name, true, nil
			}
			before = n.ID
		}
	}
}

// stopSettler gives up what the database has not answered yet.
func (b *settlingParts) stopSettler() {
	ctx, cancel := context.WithTimeout(context.Background(), drainWithin)
	defer cancel()
	b.settler.Stop(ctx)
}

// awaitRemoval waits until the journal has removed the segments that are settled, so that who looks finds none. It is no harm if it hasn't.
func (b *settlingParts) awaitRemoval(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, drainWithin)
	defer cancel()
	for {
		if _, bytes := b.journal.Backlog(); bytes == 0 || !run.Pause(ctx, 10*time.Millisecond) {
			return
		}
	}
}
