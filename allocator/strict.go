package allocator

import (
	"context"

	"tranche/lease"
)

// settle has a redemption settled, and waits until it is committed in the ledger. The settler keeps the flight up for as long as the
// entry is on its way, also after an unknown outcome.
//
// After an error the units are back in the block, unless the outcome is unknown: then the settler gives them back when it finds out.
func (a *Allocator) settle(ctx context.Context, f *flight, p lease.Posting) (Redeemed, error) {
	f.join()
	verdict, err := a.cfg.Settler.Settle(ctx, p, f.leave)
	if err != nil {
		return Redeemed{}, err
	}
	if !verdict.Replayed && p.Offer.Mode.Outlives() {
		a.memory.settle(p.Entry, p.Offer.LimitsUsers()) // for an outage
	}
	return Redeemed{Redemption: verdict.Redemption, Replayed: verdict.Replayed}, nil
}
