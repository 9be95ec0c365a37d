package node

import (
	"context"
	"time"

	"tranche/internal/run"
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
			n.reportKept(recovery)
			n.log.Warn().Int("records", recovery.Booked()).Msg("the ledger has lost commits: it was given what the journal had of them")
		} else if ctx.Err() == nil {
			n.log.Error().Err(err).Msg("the ledger has lost commits, and the journal could not be read for them")
		}
		if !run.Pause(ctx, bookAgainEvery) {
			return
		}
	}
}
