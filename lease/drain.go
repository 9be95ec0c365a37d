package lease

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// giveUpAfter is how long a drain tries to reach a database that is away, when nothing is pending: nobody waits for it, and the
// reapers, or the next start, will find the leases.
const giveUpAfter = time.Second

// Drain refuses all further spending, waits until what was spent is settled, and returns every lease. It gives the number of
// leases that it had to leave to the reapers because ctx ended first, or the database was away.
func (k *Keeper) Drain(ctx context.Context) (left int) {
	k.mu.Lock()
	k.draining.Store(true)
	k.mu.Unlock()
	k.cancel()
	k.running.Wait()
	k.each(func(ol *offerLeases) { ol.sealAll() })

	backoff := run.Backoff{Min: 10 * time.Millisecond, Max: 200 * time.Millisecond}
	answered := k.cfg.Now()
	for {
		away := k.giveBack(ctx)
		left, pending := k.remaining()
		if !away {
			answered = k.cfg.Now()
		}
		hopeless := away && !pending && k.cfg.Now().Sub(answered) >= giveUpAfter
		if left == 0 || hopeless || !backoff.Wait(ctx) {
			return left
		}
	}
}

// giveBack tries once to return all leases that are quiet, of several offers side by side. It reports whether the database was away.
func (k *Keeper) giveBack(ctx context.Context) bool {
	var away atomic.Bool
	var group sync.WaitGroup
	k.each(func(ol *offerLeases) {
		group.Go(func() {
			if !k.closings.Take(ctx) {
				return
			}
			defer k.closings.End()
			if err := ol.giveBack(ctx); errors.Is(err, models.ErrLedgerUnavailable) { // others it has reported
				away.Store(true)
			}
		})
	})
	group.Wait()
	return away.Load()
}

// giveBack returns what is quiet. First it finds out what the node has: a grant whose reply is missing may have brought a lease, and
// a refund under way may have opened a pool.
func (ol *offerLeases) giveBack(ctx context.Context) error {
	if ol.isUnsure() {
		if _, err := ol.grantOnce(ctx); err != nil {
			return err
		}
	}
	ol.sealAll()
	return ol.closeQuiet(ctx)
}

func (ol *offerLeases) isUnsure() bool {
	ol.mu.Lock()
	defer ol.mu.Unlock()
	return ol.unsure != nil
}

// remaining counts the leases that are not returned yet, and those that may have been granted, and reports whether any unit is
// pending.
func (k *Keeper) remaining() (leases int, pending bool) {
	k.each(func(ol *offerLeases) {
		ol.mu.Lock()
		defer ol.mu.Unlock()
		leases += len(ol.leases)
		if ol.unsure != nil {
			leases++
		}
		for _, l := range ol.leases {
			pending = pending || l.Pending() > 0
		}
	})
	return leases, pending
}
