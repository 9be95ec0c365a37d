package allocator

import (
	"context"
	"sync"
	"time"
)

// unsettled counts the redemptions that this node has acknowledged and not settled yet, offer by offer, in generations. A reader ends the
// current generation, and waits until it and those before it are settled. Redemptions that are acknowledged later keep no reader waiting.
type unsettled struct {
	mu     sync.Mutex
	offers map[string]*generations // of offers that have any
}

// generations are an offer's: the one that counts new redemptions, and the latest before it that is not settled, if there is one.
type generations struct{ current, ended *generation }

type generation struct {
	offerID string
	left    int           // unsettled redemptions, and 1 for the generation before as long as that is not settled
	next    *generation   // once it has ended
	settled chan struct{} // closed when it has ended and nothing is left
}

func newGeneration(offerID string) *generation {
	return &generation{offerID: offerID, settled: make(chan struct{})}
}

// add counts one more redemption of an offer, which settle takes off again.
func (u *unsettled) add(offerID string) *generation {
	u.mu.Lock()
	defer u.mu.Unlock()
	of, ok := u.offers[offerID]
	if !ok {
		if u.offers == nil {
			u.offers = map[string]*generations{}
		}
		of = &generations{current: newGeneration(offerID)}
		u.offers[offerID] = of
	}
	of.current.left++
	return of.current
}

// settle says that a redemption that belongs to a generation is settled.
func (u *unsettled) settle(g *generation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	of := u.offers[g.offerID]
	g.left--
	for ; g.left == 0 && g.next != nil; g = g.next {
		close(g.settled)
		if of.ended == g {
			of.ended = nil
		}
		g.next.left--
	}
	if of.current.left == 0 {
		delete(u.offers, g.offerID)
	}
}

// end ends the current generation of an offer. The channel is closed when all is settled that was counted by now. It is nil if all is.
func (u *unsettled) end(offerID string) <-chan struct{} {
	u.mu.Lock()
	defer u.mu.Unlock()
	of, ok := u.offers[offerID]
	switch {
	case !ok:
		return nil
	case of.ended != nil && of.current.left == 1: // nothing was counted since
		return of.ended.settled
	}
	ended := of.current
	of.ended, of.current = ended, newGeneration(offerID)
	ended.next = of.current
	of.current.left = 1
	return ended.settled
}

// wait waits until all is settled that was counted by now, for so long at most. It reports whether it is.
func (u *unsettled) wait(ctx context.Context, offerID string, atMost time.Duration) bool {
	settled := u.end(offerID)
	if settled == nil {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	select {
	case <-settled:
		return true
	case <-ctx.Done():
		return false
	}
}

// Complete waits until all redemptions of an offer are settled that this node has acknowledged by now, for a moment. It reports whether a
// reading of the ledger that begins afterwards has all that were acknowledged when Complete was called: not if that took too long, nor if
// another node may have some in its journal.
func (a *Allocator) Complete(ctx context.Context, offerID string) (bool, error) {
	own := a.unsettled.wait(ctx, offerID, settleWithin)
	others, err := a.cfg.Ledger.MayOwe(ctx, offerID, a.cfg.NodeID)
	return own && !others, err
}
