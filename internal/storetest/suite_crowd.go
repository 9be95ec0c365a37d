package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tranche/models"
)

var crowdTests = []test{
	{"of 3000 users who want one of 1000 units over several leases, exactly 1000 get one", func(b *trial) {
		const budget, users, lanes, block, batch = 1000, 3000, 6, 60, 100
		o := b.offer(budget, limitRedemptions(1))
		requests := make(chan models.Wanted, users)
		for i := range users {
			name := fmt.Sprintf("user-%d", i)
			requests <- redeem(o, name, name, 1)
		}
		close(requests)
		var redeemed atomic.Int64
		var wait sync.WaitGroup
		for range lanes {
			wait.Go(func() { redeemed.Add(sellAll(b, o, requests, block, batch)) })
		}
		wait.Wait()
		balance := b.audit(o)
		equal(b, "acknowledged", redeemed.Load(), budget)
		equal(b, "redeemed", balance.Redeemed, budget)
		equal(b, "allocated", balance.Allocated, budget)
	}},
	{"of the same keys on two leases at once, in opposite orders, each is redeemed once", func(b *trial) {
		const rounds, keys = 10, 100
		o := b.offer(2 * rounds * keys)
		lanes := [2]*lane{b.lane(o, rounds*keys), b.lane(o, rounds*keys)}
		var isNew, replayed atomic.Int64
		for round := range rounds {
			var wait sync.WaitGroup
			for i, l := range lanes {
				wanted := make([]models.Wanted, keys)
				for k := range wanted {
					place := k // ids rise with time: those of the second lease rise against the keys
					if i == 1 {
						place = keys - 1 - k
					}
					name := fmt.Sprintf("key-%d-%d", round, place)
					wanted[place] = redeem(o, name, name, 1)
				}
				wait.Go(func() {
					verdicts, err := again(func() ([]models.Verdict, error) { return b.Settle(b.ctx, l.next(wanted...)) })
					if err != nil {
						b.Errorf("settle: %v", err)
						return
					}
					l.batch++
					for _, v := range verdicts {
						switch {
						case v.Err != nil:
							b.Errorf("verdict: %+v", v)
						case v.Replayed:
							replayed.Add(1)
						default:
							isNew.Add(1)
						}
					}
				})
			}
			wait.Wait()
		}
		equal(b, "new", isNew.Load(), rounds*keys)
		equal(b, "replayed", replayed.Load(), rounds*keys)
		equal(b, "redeemed", b.audit(o).Redeemed, rounds*keys)
	}},
	{"whatever happens at once, the books are exact and add up at every look", func(b *trial) {
		seed := uint64(time.Now().UnixNano())
		b.Logf("seed %d", seed)
		crowd(b, seed)
	}},
}

// sellAll takes requests as long as there are any, batch by batch, from one block after another, and gives how many it sold.
func sellAll(b *trial, o *models.Offer, requests <-chan models.Wanted, block int64, batch int) (sold int64) {
	for {
		grant, err := again(func() (models.Grant, error) { return b.Grant(b.ctx, b.request(o.ID, block)) })
		if err != nil {
			b.Errorf("grant: %v", err)
			return sold
		}
		if grant.Lease == nil {
			return sold // sold out here; who is left is served from blocks that others still have
		}
		l := &lane{trial: b, offer: o, lease: *grant.Lease}
		for left := l.lease.Granted; left > 0; {
			wanted := take(requests, min(batch, int(left)))
			if len(wanted) == 0 {
				return sold
			}
			verdicts, err := again(func() ([]models.Verdict, error) { return b.Settle(b.ctx, l.next(wanted...)) })
			if err != nil {
				b.Errorf("settle: %v", err)
				return sold
			}
			l.batch++
			for _, v := range verdicts {
				if v.Err != nil || v.Replayed {
					b.Errorf("verdict: %+v", v)
					return sold
				}
				sold++
				left--
			}
		}
	}
}

func take(requests <-chan models.Wanted, most int) (wanted []models.Wanted) {
	for w := range requests {
		if wanted = append(wanted, w); len(wanted) == most {
			break
		}
	}
	return wanted
}

// again asks a busy store a few times more.
func again[T any](call func() (T, error)) (result T, err error) {
	for range 20 {
		if result, err = call(); !errors.Is(err, models.ErrBusy) {
			return result, err
		}
	}
	return result, err
}

// crowd lets workers with leases and pools of one offer do random things, seeded, while a reader looks at the books.
func crowd(b *trial, seed uint64) {
	const workers, rounds, keys = 5, 30, 60
	o := b.offer(400, limitRedemptions(12), limitUnits(40))
	ctx, stop := context.WithCancel(b.ctx)
	var reading, working sync.WaitGroup
	reading.Go(func() {
		for ctx.Err() == nil {
			balance, err := b.Balance(b.ctx, o.ID)
			if err == nil {
				err = sound(&balance)
			}
			if err != nil {
				b.Errorf("balance: %v", err)
				return
			}
		}
	})
	for i := range workers {
		w := &worker{trial: b, offer: o, rng: rand.New(rand.NewPCG(seed, uint64(i))), keys: keys}
		working.Go(func() {
			for range rounds {
				if err := w.step(); err != nil {
					b.Errorf("worker %d: %v", i, err)
					return
				}
			}
			if err := w.closeAll(); err != nil {
				b.Errorf("worker %d: %v", i, err)
			}
		})
	}
	working.Wait()
	stop()
	reading.Wait()
	if b.Failed() {
		b.FailNow()
	}
	balance := b.audit(o)
	equal(b, "allocated is what was spent", balance.Allocated, balance.NetSpent())
	equal(b, "active leases", balance.LeasesActive, 0)
}

// worker owns one block lease and one pool at a time.
type worker struct {
	*trial
	offer *models.Offer
	rng   *rand.Rand
	keys  int
	block *stock
	pool  *stock
}

// stock is a lane and what its owner knows to be left in it.
type stock struct {
	lane
	left int64
}

func (w *worker) step() error {
	if w.block == nil {
		if err := w.open(); err != nil {
			return err
		}
	}
	switch n := w.rng.IntN(10); {
	case n == 0:
		return w.closeAll()
	case n == 1:
		return w.renew()
	case n < 5 && w.pool != nil:
		return w.settle(w.pool)
	case w.block != nil:
		return w.settle(w.block)
	default:
		return nil
	}
}

func (w *worker) open() error {
	g, err := again(func() (models.Grant, error) { return w.Grant(w.ctx, w.request(w.offer.ID, 5+w.rng.Int64N(40))) })
	if err != nil {
		return fmt.Errorf("grant: %w", err)
	}
	if g.Lease != nil {
		w.block = &stock{lane{trial: w.trial, offer: w.offer, lease: *g.Lease}, g.Lease.Granted}
	}
	if w.pool == nil {
		terms := w.poolTerms(w.offer)
		l, err := again(func() (models.Lease, error) { return w.OpenPool(w.ctx, terms) })
		if err != nil {
			return fmt.Errorf("pool: %w", err)
		}
		w.pool = &stock{lane: lane{trial: w.trial, offer: w.offer, lease: l}}
	}
	return nil
}

// settle books a few random redemptions and holds, as far as the stock goes, and what gives units back if it is the pool.
func (w *worker) settle(from *stock) error {
	var wanted []models.Wanted
	left := from.left
	for range 1 + w.rng.IntN(12) {
		key := fmt.Sprintf("key-%d", w.rng.IntN(w.keys))
		if from == w.pool && w.rng.IntN(2) == 0 {
			wanted = append(wanted, w.giveBack(key))
			continue
		}
		units := 1 + w.rng.Int64N(8)
		if left -= units; left < 0 {
			break
		}
		take := []func(*models.Offer, string, string, int64) models.Wanted{redeem, hold}[w.rng.IntN(2)]
		wanted = append(wanted, take(w.offer, key, fmt.Sprintf("user-%d", w.rng.IntN(6)), units))
	}
	verdicts, err := again(func() ([]models.Verdict, error) { return w.Settle(w.ctx, from.next(wanted...)) })
	if err != nil {
		return fmt.Errorf("settle: %w", err)
	}
	from.batch++
	for i, v := range verdicts {
		switch {
		case v.Err == nil && v.Entry.ID == wanted[i].ID && v.Entry.Kind.Spends():
			from.left -= v.Entry.Units
		case v.Err == nil && v.Entry.ID == wanted[i].ID:
			from.left += v.Redemption.Returned(&v.Entry)
		case v.Err != nil && !expected(v.Err):
			return fmt.Errorf("verdict: %w", v.Err)
		}
	}
	return nil
}

// giveBack is something random that ends a hold or refunds a redemption.
func (w *worker) giveBack(key string) models.Wanted {
	switch w.rng.IntN(5) {
	case 0:
		return confirm(w.offer, key, w.rng.Int64N(4))
	case 1:
		return cancel(w.offer, key)
	case 2:
		return expire(w.offer, key)
	default:
		return refund(w.offer, key, fmt.Sprint(w.rng.IntN(3)), w.rng.Int64N(3))
	}
}

func expected(err error) bool {
	for _, e := range []error{
		models.ErrUserLimitReached, models.ErrKeyReused, models.ErrRedemptionNotFound, models.ErrRefundExceeds, models.ErrNotSettled,
		models.ErrNotAHold, models.ErrHoldResolved, models.ErrConfirmExceeds, models.ErrNotConfirmed, models.ErrCartNotFound,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (w *worker) renew() error {
	if w.block == nil {
		return nil
	}
	ids := []models.ID{w.block.lease.ID, w.pool.lease.ID}
	renewed, err := again(func() ([]models.ID, error) { return w.Renew(w.ctx, w.node, w.epoch, w.offer.ID, ids) })
	if err == nil && len(renewed) != len(ids) {
		err = fmt.Errorf("renewed %v of %v", renewed, ids)
	}
	return err
}

// closeAll returns both leases; what comes back must be what the worker thinks is left.
func (w *worker) closeAll() error {
	for _, s := range []*stock{w.block, w.pool} {
		if s == nil {
			continue
		}
		l, err := again(func() (models.Lease, error) {
			l, did, err := w.CloseLease(w.ctx, w.offer.ID, s.lease.ID, models.LeaseReturned, nil)
			if err == nil && !did {
				err = fmt.Errorf("%w: closed by somebody else", models.ErrLeaseClosed)
			}
			return l, err
		})
		if err != nil {
			return fmt.Errorf("close: %w", err)
		}
		if l.Granted-l.Spent != s.left {
			return fmt.Errorf("lease %s: %d of %d spent, its owner has %d left", l.ID, l.Spent, l.Granted, s.left)
		}
	}
	w.block, w.pool = nil, nil
	return nil
}
