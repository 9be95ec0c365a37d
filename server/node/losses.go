package node

import (
	"context"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// losses has something when the ledger was found to have lost commits, since it was last looked at.
type losses chan struct{}

func (l losses) notice() {
	select {
	case l <- struct{}{}:
	default:
	}
}

// bookAgainEvery bounds how often the journal is read for what the ledger has lost.
const bookAgainEvery = 10 * time.Second

// bookAgain books what the journal still has and the ledger does not, each time that the ledger was found to have lost commits, until ctx
// ends.
func (n *Node) bookAgain(ctx context.Context) {
	for {
		select {
		case <-n.losses:
		case <-ctx.Done():
			return
		}
		recovery := n.newRecovery()
		err := persist(ctx, n.log, func() error {
			_, err := recovery.Run(ctx)
			return err
		}, isAway)
		if err == nil {
			err = n.disown(ctx)
		}
		if err == nil {
			n.reportKept(recovery)
			n.log.Warn().Int("records", recovery.Booked()).Msg("the ledger has lost commits: it was given what the journal had of them")
		} else if ctx.Err() == nil {
			n.log.Error().Err(err).Msg("the ledger has lost commits, and was not given what the journal has of them")
		}
		if !run.Pause(ctx, bookAgainEvery) {
			return
		}
	}
}

// disownAtOnce bounds the leases that are looked at. A node that has more finds the rest at its next start.
const disownAtOnce = 10_000

// disown closes the leases that the ledger has for this node and that the node does not hold: it had returned them, and the ledger has lost
// that.
func (n *Node) disown(ctx context.Context) error {
	leases, err := n.store.LeasesOfNode(ctx, n.dir.NodeID, n.keeper.Epoch()+1, disownAtOnce)
	if err != nil {
		return err
	}
	leases = slices.DeleteFunc(leases, func(l models.Lease) bool { return n.keeper.Holds(l.OfferID, l.ID) })
	_, err = n.takeOverThese(ctx, leases)
	return err
}
