package store_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tranche/internal/run"
	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// lossy is a store that loses replies to COMMIT, beside one on the same database that doesn't.
type lossy struct {
	*testing.T
	ctx       context.Context
	bad, good *store.Store
	losing    atomic.Bool
	offer     models.Offer
	node      models.ID
	epoch     int64
	lost      atomic.Int64
	loseOneOf int // COMMITs
}

func newLossy(t *testing.T, budget int64, loseOneOf int, fates ...fate) *lossy {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	var mu sync.Mutex
	rng := rand.New(rand.NewPCG(seed, 0))
	l := &lossy{T: t, ctx: context.Background(), loseOneOf: loseOneOf}
	dsn := storetest.MySQL(t)
	l.good = open(t, store.Config{DSN: dsn})
	dsn, _ = through(t, dsn, func() fate {
		mu.Lock()
		defer mu.Unlock()
		if !l.losing.Load() || rng.IntN(l.loseOneOf) != 0 {
			return pass
		}
		l.lost.Add(1)
		return fates[rng.IntN(len(fates))]
	})
	l.bad = prepare(t, store.Config{DSN: dsn})

	var err error
	l.node = models.NewID()
	l.epoch, err = l.good.RegisterNode(l.ctx, l.node, "lossy")
	l.ok(err)
	one := int64(1)
	l.offer, _, err = l.good.CreateOffer(l.ctx, models.Offer{
		ID: "lossy", Name: "lossy", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: budget, UserLimitRedemptions: &one,
		LeaseSize: 10, LeaseTTLSeconds: 60, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
	}, models.Audit{})
	l.ok(err)
	l.losing.Store(true)
	return l
}

func (l *lossy) ok(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

func (l *lossy) unknown(err error) {
	l.Helper()
	if !errors.Is(err, models.ErrOutcomeUnknown) {
		l.Fatalf("%v, want %v", err, models.ErrOutcomeUnknown)
	}
}

// answer has the database answer something, so that the losses before don't open the breaker.
func (l *lossy) answer() {
	l.Helper()
	l.ok(l.bad.Ping(l.ctx))
}

// until repeats a call until it is decided.
func until[T any](l *lossy, call func() (T, error)) T {
	l.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		result, err := call()
		if err == nil {
			return result
		}
		open := errors.Is(err, models.ErrOutcomeUnknown) || errors.Is(err, models.ErrBusy) || errors.Is(err, models.ErrLedgerUnavailable)
		if !open || time.Now().After(deadline) {
			l.Error(err)
			return result
		}
		run.Pause(l.ctx, 5*time.Millisecond) // the breaker may be open
	}
}

func (l *lossy) request(units int64) models.GrantRequest {
	return models.GrantRequest{
		OfferID: l.offer.ID, NodeID: l.node, Epoch: l.epoch, LeaseID: models.NewID(),
		Size: func(_ *models.Offer, unallocated, _ int64) int64 { return min(units, unallocated) },
	}
}

func (l *lossy) redeem(key string) models.Wanted {
	return models.Wanted{Entry: models.Entry{
		OfferID: l.offer.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(l.offer.ID, key).Hash,
		Kind: models.KindRedeem, UserID: key, IdempotencyKey: key, Units: 1, CreatedAt: 1,
	}}
}

// Replies to COMMIT are lost with the commit applied, not applied, and applied later. A settle that is repeated with its number until it
// is decided books each redemption once, on one lease, and the lease's rest comes back whole.
func TestLostRepliesToCommit(t *testing.T) {
	const lanes, rounds, perBatch, perLease = 4, 100, 5, 10
	l := newLossy(t, 2*lanes*rounds*perBatch, 3, cutBefore, cutAfter, deliverLate)
	var working sync.WaitGroup
	for lane := range lanes {
		working.Go(func() {
			var lease models.Lease
			number := int64(0)
			for round := range rounds {
				if round%perLease == 0 {
					if round > 0 {
						l.close(lease.ID)
					}
					req := l.request(perLease * perBatch)
					lease, number = *until(l, func() (models.Grant, error) { return l.bad.Grant(l.ctx, req) }).Lease, 0
				}
				number++
				l.settleOnce(lease.ID, number, fmt.Sprintf("lane-%d-round-%d", lane, round), perBatch)
			}
			l.close(lease.ID)
		})
	}
	working.Wait()
	if t.Failed() {
		return
	}
	b, err := l.good.Balance(l.ctx, l.offer.ID)
	l.ok(err)
	const all = lanes * rounds * perBatch
	if b.Redeemed != all || b.Allocated != all || b.Outstanding != 0 || b.LeasesActive != 0 {
		t.Fatalf("want %d redeemed and nothing out: %+v", all, b)
	}
	t.Logf("%d replies were lost", l.lost.Load())
	if l.lost.Load() < rounds {
		t.Fatalf("only %d replies were lost", l.lost.Load())
	}
}

func (l *lossy) settleOnce(lease models.ID, number int64, name string, n int) {
	batch := models.Batch{Offer: &l.offer, LeaseID: lease, Number: number}
	for i := range n {
		batch.Wanted = append(batch.Wanted, l.redeem(fmt.Sprintf("%s-%d", name, i)))
	}
	for i, v := range until(l, func() ([]models.Verdict, error) { return l.bad.Settle(l.ctx, batch) }) {
		if v.Err != nil || v.Replayed || v.Entry.ID != batch.Wanted[i].ID || v.Entry.LeaseID != lease {
			l.Errorf("%s, entry %d: %+v", name, i, v)
		}
	}
}

func (l *lossy) close(lease models.ID) {
	until(l, func() (models.Lease, error) {
		closed, _, err := l.bad.CloseLease(l.ctx, l.offer.ID, lease, models.LeaseReturned, nil)
		return closed, err
	})
}

// each runs a test once for each way to lose a reply.
func each(t *testing.T, test func(l *lossy)) {
	for name, f := range map[string]fate{"not applied": cutBefore, "applied": cutAfter, "applied later": deliverLate} {
		t.Run(name, func(t *testing.T) { test(newLossy(t, 1000, 1, f)) })
	}
}

// A lost reply is not called "nothing happened", whatever happened. The same batch says it, from another connection.
func TestSettleDoesNotGuessTheOutcome(t *testing.T) {
	each(t, func(l *lossy) {
		g, err := l.good.Grant(l.ctx, l.request(100))
		l.ok(err)
		for number := int64(1); number <= 3; number++ {
			batch := models.Batch{Offer: &l.offer, LeaseID: g.Lease.ID, Number: number, Wanted: []models.Wanted{l.redeem(fmt.Sprint(number))}}
			_, err := l.bad.Settle(l.ctx, batch)
			l.unknown(err)
			verdicts, err := l.good.Settle(l.ctx, batch)
			l.ok(err)
			l.ok(verdicts[0].Err)
			l.answer()
		}
		b, err := l.good.Balance(l.ctx, l.offer.ID)
		l.ok(err)
		if b.Redeemed != 3 {
			l.Fatalf("redeemed %d, want 3", b.Redeemed)
		}
	})
}

// A commit that is on its way while its lease is closed by another counts, or never will; who closes the lease waits to see.
func TestCommitOnItsWayAgainstReclaim(t *testing.T) {
	each(t, func(l *lossy) {
		for i := range 4 {
			g, err := l.good.Grant(l.ctx, l.request(10))
			l.ok(err)
			lease := g.Lease.ID
			batch := models.Batch{Offer: &l.offer, LeaseID: lease, Number: 1, Wanted: []models.Wanted{l.redeem(fmt.Sprint("k", i))}}
			_, err = l.bad.Settle(l.ctx, batch)
			l.unknown(err)
			closed, did, err := l.good.CloseLease(l.ctx, l.offer.ID, lease, models.LeaseReclaimed, nil)
			l.ok(err)
			if !did {
				l.Fatal("not closed")
			}
			verdicts, err := l.good.Settle(l.ctx, batch)
			switch {
			case err == nil && closed.Spent == 1 && verdicts[0].Err == nil:
			case errors.Is(err, models.ErrLeaseClosed) && closed.Spent == 0:
			default:
				l.Fatalf("closed with %d spent, then settle says %v %v", closed.Spent, verdicts, err)
			}
			l.answer()
		}
		b, err := l.good.Balance(l.ctx, l.offer.ID)
		l.ok(err)
		entries, err := l.good.Entries(l.ctx, l.offer.ID, 100, models.ID{})
		l.ok(err)
		if b.Redeemed != int64(len(entries)) || b.Allocated != b.Redeemed {
			l.Fatalf("%d entries, %+v", len(entries), b)
		}
	})
}

// Grants and closings find their own work again by themselves.
func TestGrantsAndClosingsOutliveALostReply(t *testing.T) {
	l := newLossy(t, 100000, 2, cutBefore, cutAfter, deliverLate)
	var out int64
	for i := range 40 {
		req := l.request(10)
		lease := until(l, func() (models.Grant, error) { return l.bad.Grant(l.ctx, req) }).Lease
		if lease.ID != req.LeaseID || lease.Granted != 10 {
			t.Fatalf("granted %+v", lease)
		}
		if i%2 == 0 {
			l.close(lease.ID)
		} else {
			out += 10
		}
		b, err := l.good.Balance(l.ctx, l.offer.ID)
		l.ok(err)
		if b.Outstanding != out || b.Allocated != out {
			t.Fatalf("want %d out: %+v", out, b)
		}
	}
}

// acknowledged is a batch of redemptions that are to be booked whatever became of their lease.
func (l *lossy) acknowledged(lease models.ID, number int64, n int) models.Batch {
	batch := models.Batch{Offer: &l.offer, LeaseID: lease, Number: number}
	for i := range n {
		w := l.redeem(fmt.Sprintf("%s-%d-%d", lease, number, i))
		w.Acknowledged = true
		batch.Wanted = append(batch.Wanted, w)
	}
	return batch
}

// available lets the offer's leases outlive their reclaim from now on.
func (l *lossy) available() {
	changed, err := l.good.ChangeOffer(l.ctx, l.offer.ID, nil, func(o *models.Offer) error { o.Mode = models.ModeAvailable; return nil }, models.Audit{})
	l.ok(err)
	l.offer = changed
}

// What was acknowledged is booked once and counted once, in time or late, whichever replies are lost while its lease is taken away.
func TestLostRepliesToLateBatches(t *testing.T) {
	const lanes, rounds, batches, perBatch = 4, 12, 4, 5
	l := newLossy(t, lanes*rounds*batches*perBatch, 3, cutBefore, cutAfter, deliverLate)
	l.available()
	var working sync.WaitGroup
	for range lanes {
		working.Go(func() {
			for round := range rounds {
				req := l.request(batches * perBatch)
				lease := until(l, func() (models.Grant, error) { return l.bad.Grant(l.ctx, req) }).Lease.ID
				for number := range int64(batches) {
					if number == int64(round%batches) {
						until(l, func() (bool, error) {
							_, did, err := l.bad.CloseLease(l.ctx, l.offer.ID, lease, models.LeaseReclaimed, nil)
							return did, err
						})
					}
					batch := l.acknowledged(lease, number+1, perBatch)
					for _, v := range until(l, func() ([]models.Verdict, error) { return l.bad.Settle(l.ctx, batch) }) {
						if late := number >= int64(round%batches); v.Err != nil || v.Replayed || v.Entry.Late != late {
							l.Errorf("late %t: %+v", late, v)
						}
					}
				}
			}
		})
	}
	working.Wait()
	if t.Failed() {
		return
	}
	const all, late = lanes * rounds * batches * perBatch, lanes * rounds * perBatch * (batches + 1) / 2
	b, err := l.good.Balance(l.ctx, l.offer.ID)
	l.ok(err)
	if b.Redeemed != all || b.Allocated != all || b.LateUnits != late || b.OverspendBound != 0 {
		t.Fatalf("want %d redeemed, %d of them late, and nothing exposed: %+v", all, late, b)
	}
	exceptions, err := l.good.Exceptions(l.ctx, l.offer.ID, 2*all, models.ID{})
	l.ok(err)
	if len(exceptions) != late {
		t.Fatalf("%d are listed, want %d", len(exceptions), late)
	}
	t.Logf("%d replies were lost", l.lost.Load())
}

// A lost reply to a late batch is not called "nothing happened". The same batch says it, from another connection.
func TestALateBatchDoesNotGuessTheOutcome(t *testing.T) {
	each(t, func(l *lossy) {
		l.available()
		g, err := l.good.Grant(l.ctx, l.request(10))
		l.ok(err)
		lease := g.Lease.ID
		_, _, err = l.good.CloseLease(l.ctx, l.offer.ID, lease, models.LeaseReclaimed, nil)
		l.ok(err)
		for number := int64(1); number <= 3; number++ {
			batch := l.acknowledged(lease, number, 2)
			_, err := l.bad.Settle(l.ctx, batch)
			l.unknown(err)
			verdicts, err := l.good.Settle(l.ctx, batch)
			l.ok(err)
			if v := verdicts[1]; v.Err != nil || v.Replayed || !v.Entry.Late {
				l.Fatalf("verdict: %+v", v)
			}
			l.answer()
		}
		b, err := l.good.Balance(l.ctx, l.offer.ID)
		l.ok(err)
		if b.Redeemed != 6 || b.LateUnits != 6 || b.Allocated != 6 || b.OverspendBound != 4 {
			l.Fatalf("%+v", b)
		}
		l.unknown(l.bad.Acquit(l.ctx, l.offer.ID, []models.ID{lease}))
		l.ok(l.good.Acquit(l.ctx, l.offer.ID, []models.ID{lease}))
		if b, err = l.good.Balance(l.ctx, l.offer.ID); err != nil || b.OverspendBound != 0 {
			l.Fatalf("%+v, %v", b, err)
		}
	})
}
