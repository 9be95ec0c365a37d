package node

import (
	"context"
	"time"

	"tranche/internal/run"
)

// A drain lasts while the database takes what the node owes, at most drainAtMost. After an outage that may be some hundred thousand
// entries, and a node that does not start again leaves them in its journal. A database that takes nothing ends the drain within drainWithin
// and one call of 4.5 s: together less than 10 s. Requests get the first part of it.
const (
	drainAtMost   = time.Minute
	drainWithin   = 5 * time.Second
	drainRequests = 3500 * time.Millisecond
)

// drain stops serving in the reverse order of the start. Work that is not done in time stays in the journal and with the reapers: then the
// node owes something. begun is closed when the start, which ctx's end has broken off, has ended.
func (n *Node) drain(begun <-chan struct{}) (owes bool) {
	started := n.state.Swap(draining) != starting
	n.log.Info().Msg("draining")
	if started && !n.folderLost.Load() {
		run.Pause(context.Background(), n.config.DrainWait)
	}
	ctx, cancel := whileLess(func() int64 {
		records, _ := n.journal.Backlog()
		return records
	})
	defer cancel()
	<-begun
	n.sweeping.Wait()
	n.stopServing(ctx)
	left := n.keeper.Drain(ctx)
	if left > 0 {
		n.log.Warn().Int("leases", left).Msg("leases left for the reapers")
	}
	n.settler.Stop(ctx)
	records, _ := n.journal.Backlog()
	if records > 0 {
		n.log.Warn().Int64("records", records).Msg("left in the journal, for the next start to settle")
	}
	n.log.Info().Msg("drained")
	return left > 0 || records > 0
}

// signOffWithin is how long the database may take to note that the node has gone. If it does not, silence will tell.
const signOffWithin = time.Second

// signOff says in the node's row that it is gone and owes nothing, if it ever started.
func (n *Node) signOff() {
	ctx, cancel := context.WithTimeout(context.Background(), signOffWithin)
	defer cancel()
	if epoch := n.keeper.Epoch(); epoch > 0 {
		if err := n.store.SignOff(ctx, n.dir.NodeID, epoch); err != nil {
			n.log.Warn().Err(err).Msg("not signed off")
		}
	}
}

// whileLess gives a context that ends when what is owed has not become less for drainWithin, or after drainAtMost.
func whileLess(owed func() int64) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), drainAtMost)
	go func() {
		defer cancel()
		const often = 50 * time.Millisecond
		latest := owed()
		for stuck := time.Duration(0); stuck < drainWithin && run.Pause(ctx, often); stuck += often {
			now := owed()
			if now < latest {
				stuck = 0
			}
			latest = now
		}
	}()
	return ctx, cancel
}

// stopServing ends when no request is being handled any more, or with ctx.
func (n *Node) stopServing(ctx context.Context) {
	requests, cancel := context.WithTimeout(ctx, drainRequests)
	defer cancel()
	if err := n.http.Shutdown(requests); err != nil {
		_ = n.http.Close() // which ends the contexts of those that are left
	}
	select {
	case <-n.inFlight.shut():
	case <-ctx.Done():
		n.log.Warn().Msg("requests are still being handled")
	}
}
