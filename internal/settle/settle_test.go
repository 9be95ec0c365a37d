package settle

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/internal/storetest"
	"tranche/lease"
	"tranche/models"
)

// settlerOnFake is a settler on the fake store, with one offer and one lease of it.
type settlerOnFake struct {
	t       *testing.T
	fake    *storetest.Fake
	ledger  *faulty
	settler *Settler
	offer   *models.Offer
	block   *lease.Block
	node    models.ID
}

// faulty is a ledger whose settle transactions go wrong as the test says.
type faulty struct {
	*storetest.Fake
	sizes      []int // of the batches that were sent
	mu         sync.Mutex
	now        int                      // how many are under way,
	most       int                      // and were at most
	before     func(models.Batch) error // an error instead of the transaction
	after      func(models.Batch) error // an error instead of its answer
	judge      func([]models.Verdict)   // changes its answer
	slow       time.Duration
	locks      func(models.Wanted) bool // says which entries are locked; nil: the ledger can't tell
	beforeCart func([]models.Batch) error
}

func (f *faulty) SettleCart(ctx context.Context, c models.Cart, items []models.Batch) ([]models.Verdict, error) {
	if f.beforeCart != nil {
		if err := f.beforeCart(items); err != nil {
			return nil, err
		}
	}
	return f.Fake.SettleCart(ctx, c, items)
}

func (f *faulty) Locked(_ context.Context, b models.Batch) (locked []bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.locks == nil {
		return nil, errors.ErrUnsupported
	}
	for _, w := range b.Wanted {
		locked = append(locked, f.locks(w))
	}
	return locked, nil
}

func (f *faulty) Settle(ctx context.Context, b models.Batch) ([]models.Verdict, error) {
	f.mu.Lock()
	f.sizes = append(f.sizes, len(b.Wanted))
	f.now++
	f.most = max(f.most, f.now)
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.now--
	}()
	before, after, judge, slow := f.before, f.after, f.judge, f.slow
	f.mu.Unlock()
	time.Sleep(slow)
	if before != nil {
		if err := before(b); err != nil {
			return nil, err
		}
	}
	verdicts, err := f.Fake.Settle(ctx, b)
	if err == nil && after != nil {
		if err := after(b); err != nil {
			return nil, err
		}
	}
	if judge != nil {
		judge(verdicts)
	}
	return verdicts, err
}

// atOnce is how many transactions ran at once, at most.
func (f *faulty) atOnce() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.most
}

// takes changes how long transactions take, from the next one on.
func (f *faulty) takes(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = d
}

func inBubble(t *testing.T, budget int64, test func(t *testing.T, b *settlerOnFake)) {
	synctest.Test(t, func(t *testing.T) {
		fake := storetest.NewFake(time.Now)
		b := &settlerOnFake{t: t, fake: fake, ledger: &faulty{Fake: fake}, node: models.NewID()}
		b.settler = New(Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, b.ledger)
		created, _, err := fake.CreateOffer(t.Context(), models.Offer{
			ID: "o", Name: "O", Unit: models.UnitRedemptions, Mode: models.ModeFast, Budget: budget, BudgetTarget: budget,
			Status: models.StatusActive, LeaseSize: budget, LeaseTTLSeconds: 3600, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
		}, models.Audit{})
		if err != nil {
			t.Fatal(err)
		}
		b.offer = &created
		b.block = b.grant(budget)
		test(t, b)
		b.settler.Stop(t.Context())
	})
}

func (b *settlerOnFake) grant(n int64) *lease.Block {
	b.t.Helper()
	epoch, err := b.fake.RegisterNode(b.t.Context(), b.node, "n")
	if err != nil {
		b.t.Fatal(err)
	}
	grant, err := b.fake.Grant(b.t.Context(), models.GrantRequest{
		OfferID: "o", NodeID: b.node, Epoch: epoch, LeaseID: models.NewID(),
		Size: func(*models.Offer, int64, int64) int64 { return n },
	})
	if err != nil || grant.Lease == nil {
		b.t.Fatal(err, grant)
	}
	return lease.NewBlock(grant.Lease, time.Now().Add(time.Hour))
}

func redeem(key string) models.Entry {
	return models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", key).Hash, Kind: models.KindRedeem,
		UserID: "u", IdempotencyKey: key, Units: 1,
	}
}

// hearing is a requester that does what the test says.
type hearing func(models.Verdict)

func (h hearing) Decided(v models.Verdict) { h(v) }

// redeem spends a unit and settles it, within a request's time.
func (b *settlerOnFake) redeem(key string, timeout time.Duration) (models.Verdict, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), timeout)
	defer cancel()
	if !b.block.Spend(1, time.Now()) {
		b.t.Error("the block is empty")
		return models.Verdict{}, lease.ErrShort
	}
	return b.settler.Settle(ctx, lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem(key)}, nil)
}

// check holds the ledger against what was acknowledged and against the block.
func (b *settlerOnFake) check(redeemed int64) {
	b.t.Helper()
	balance, err := b.fake.Balance(b.t.Context(), "o")
	if err != nil {
		b.t.Fatal(err)
	}
	if balance.Redeemed != redeemed || balance.Allocated != balance.NetSpent()+balance.Outstanding {
		b.t.Errorf("want %d redeemed: %+v", redeemed, balance)
	}
	if pending := b.block.Pending(); pending != 0 {
		b.t.Errorf("%d units are pending, and nothing is under way", pending)
	}
	if !b.block.Sealed() && b.block.Left() != balance.Outstanding {
		b.t.Errorf("the block has %d left, the ledger %d", b.block.Left(), balance.Outstanding)
	}
}

func TestWhatWaitsMakesUpTheNextBatch(t *testing.T) {
	inBubble(t, 5000, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = 10 * time.Millisecond
		var wg sync.WaitGroup
		for i := range 1301 {
			wg.Go(func() {
				if _, err := b.redeem(fmt.Sprint(i), time.Second); err != nil {
					t.Error(err)
				}
			})
			if i == 0 {
				synctest.Wait() // the first is under way alone
			}
		}
		wg.Wait()
		if got := fmt.Sprint(b.ledger.sizes); got != "[1 500 500 300]" {
			t.Errorf("batches of %s", got)
		}
		b.check(1301)
	})
}

func TestABatchIsCappedInBytes(t *testing.T) {
	inBubble(t, 1000, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = 10 * time.Millisecond
		text := `{"x":"` + strings.Repeat("x", models.MaxMetadataBytes-20) + `"}`
		var wg sync.WaitGroup
		for i := range 400 {
			wg.Go(func() {
				b.block.Spend(1, time.Now())
				e := redeem(fmt.Sprint(i))
				e.Metadata = &text
				if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.block, Offer: b.offer, Entry: e}, nil); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, n := range b.ledger.sizes {
			if n*len(text) > maxBatchBytes {
				t.Errorf("a batch of %d entries of 4 KiB", n)
			}
		}
		b.check(400)
	})
}

func TestAFailedBatchGivesItsUnitsBack(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.before = func(models.Batch) error { return models.ErrLedgerUnavailable }
		if _, err := b.redeem("a", time.Second); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		b.check(0)
		b.ledger.before = nil
		if _, err := b.redeem("a", time.Second); err != nil {
			t.Error(err)
		}
		b.check(1)
	})
}

func TestACommitWithoutReplyRunsAgain(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		unknown := 3
		lose := func(models.Batch) error {
			if unknown--; unknown >= 0 {
				return models.ErrOutcomeUnknown
			}
			return nil
		}
		b.ledger.before = lose // not applied
		if _, err := b.redeem("a", 5*time.Second); err != nil {
			t.Error("not applied:", err)
		}
		b.check(1)
		unknown, b.ledger.before, b.ledger.after = 3, nil, lose // applied
		if v, err := b.redeem("b", 5*time.Second); err != nil || v.Replayed {
			t.Error("applied:", v, err)
		}
		b.check(2)
	})
}

// A first attempt that ends in the dark, and then a database that is away: the requester has to hear "unknown", never "no".
func TestWhatMayHaveCommittedIsNeverCalledNotRedeemed(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		attempts := 0
		b.ledger.after = func(models.Batch) error { return models.ErrOutcomeUnknown }
		b.ledger.before = func(models.Batch) error {
			if attempts++; attempts > 1 && attempts < 8 {
				return models.ErrLedgerUnavailable
			}
			return nil
		}
		if _, err := b.redeem("a", time.Second); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Error(err)
		}
		b.ledger.mu.Lock()
		b.ledger.after = nil
		b.ledger.mu.Unlock()
		b.settler.running.Wait()
		b.check(1)
	})
}

func TestARequestThatStopsWaitingInTheQueueIsNotBooked(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = time.Second
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = b.redeem("first", 5*time.Second) })
		synctest.Wait()
		if _, err := b.redeem("second", 100*time.Millisecond); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Error(err)
		}
		wg.Wait()
		b.settler.running.Wait()
		b.check(1)
	})
}

func TestAnEntryPastItsTimeIsNotWrittenByALaterAttempt(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		attempts := 0
		b.ledger.before = func(models.Batch) error {
			if attempts++; attempts < 10 {
				return models.ErrOutcomeUnknown
			}
			return nil
		}
		if _, err := b.redeem("a", 100*time.Millisecond); !errors.Is(err, models.ErrOutcomeUnknown) {
			t.Error(err)
		}
		b.settler.running.Wait()
		b.check(0)
		if _, err := b.redeem("a", time.Second); err != nil { // the retry finds out: it had not been redeemed
			t.Error(err)
		}
		b.check(1)
	})
}

func TestAClosedLeaseBooksNothing(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		if _, did, err := b.fake.CloseLease(t.Context(), "o", b.block.LeaseID, models.LeaseReclaimed, nil); err != nil || !did {
			t.Fatal(did, err)
		}
		if _, err := b.redeem("a", time.Second); !errors.Is(err, models.ErrLeaseClosed) {
			t.Error(err)
		}
		if !b.block.Sealed() {
			t.Error("the block is still open")
		}
		b.check(0)
	})
}

func TestAFullQueueTurnsAway(t *testing.T) {
	inBubble(t, 2*maxQueued, func(t *testing.T, b *settlerOnFake) {
		b.ledger.slow = time.Second
		var overloaded atomic.Int64
		var wg sync.WaitGroup
		for i := range 1 + maxQueued + 200 {
			wg.Go(func() {
				if _, err := b.redeem(fmt.Sprint(i), 500*time.Millisecond); errors.Is(err, models.ErrOverloaded) {
					overloaded.Add(1)
				}
			})
			if i == 0 {
				synctest.Wait() // the first is under way, not in the queue
			}
		}
		wg.Wait()
		b.settler.running.Wait()
		if n := overloaded.Load(); n != 200 {
			t.Errorf("%d turned away", n)
		}
		if b.block.Pending() != 0 {
			t.Errorf("%d pending", b.block.Pending())
		}
	})
}

func TestARefundFillsItsPoolOnce(t *testing.T) {
	inBubble(t, 10, func(t *testing.T, b *settlerOnFake) {
		if _, err := b.redeem("a", time.Second); err != nil {
			t.Fatal(err)
		}
		opened, _, err := b.fake.OpenPool(t.Context(), models.Lease{
			OfferID: "o", ID: models.NewID(), NodeID: b.node, Epoch: 1, Mode: models.ModeStrict, TTLSeconds: 60,
		})
		if err != nil {
			t.Fatal(err)
		}
		pool := lease.NewBlock(&opened, time.Now().Add(time.Minute))
		refund := models.Entry{
			OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", "a").Hash, Kind: models.KindRefund, IdempotencyKey: "r",
		}
		for range 2 {
			v, err := b.settler.Settle(t.Context(), lease.Posting{Block: pool, Offer: b.offer, Entry: refund}, nil)
			if err != nil || v.Entry.Units != 1 {
				t.Error(v, err)
			}
			refund.ID = models.NewID() // the same request once more
		}
		if pool.Left() != 1 {
			t.Errorf("the pool has %d", pool.Left())
		}
		pool.Seal()
		if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: pool, Offer: b.offer, Entry: refund}, nil); !errors.Is(err, models.ErrLeaseClosed) {
			t.Errorf("into a sealed pool: %v", err)
		}
	})
}

// COMMIT goes wrong in every way, thousands of times: not applied, applied without a reply, and applied while the next attempts
// are under way. Whatever was acknowledged is there, whatever is there is there once, and the block agrees with the ledger.
func TestTheBooksAreExactWhateverBecomesOfCommit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	inBubble(t, 20_000, func(t *testing.T, b *settlerOnFake) {
		random := rand.New(rand.NewPCG(seed, 0))
		var mu sync.Mutex
		var later sync.WaitGroup
		b.ledger.slow = time.Millisecond
		b.ledger.before = func(batch models.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			switch random.IntN(6) {
			case 0:
				return models.ErrOutcomeUnknown
			case 1:
				delay := time.Duration(random.IntN(int(3 * time.Second)))
				later.Go(func() {
					time.Sleep(delay)
					_, _ = b.fake.Settle(context.Background(), batch)
				})
				return models.ErrOutcomeUnknown
			case 2:
				return models.ErrLedgerUnavailable
			}
			return nil
		}
		b.ledger.after = func(models.Batch) error {
			mu.Lock()
			defer mu.Unlock()
			if random.IntN(6) == 0 {
				return models.ErrOutcomeUnknown
			}
			return nil
		}
		var keys atomic.Int64
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				for range 150 {
					key := fmt.Sprint(keys.Add(1))
					for { // as a checkout does: until it knows
						if _, err := b.redeem(key, 5*time.Second); err == nil {
							break
						}
					}
				}
			})
		}
		wg.Wait()
		later.Wait()
		b.settler.running.Wait()
		b.check(keys.Load())
	})
}

// Two queues have acknowledged entries of one lease: that of its requests, and one that reads the journal after the ledger has lost commits.
// The second is far behind with its numbers, and soon catches up.
func TestA3ABatchWhoseNumberIsTakenGoesOnWithTheNext(t *testing.T) {
	inBubble(t, 100, func(t *testing.T, b *settlerOnFake) {
		states, err := b.fake.LeaseStates(t.Context(), "o", []models.ID{b.block.LeaseID})
		if err != nil {
			t.Fatal(err)
		}
		behind := lease.NewBlock(&states[0], time.Now().Add(time.Hour))
		for i := range 60 {
			b.block.Spend(1, time.Now())
			if _, err := b.settler.Settle(t.Context(), lease.Posting{Block: b.block, Offer: b.offer, Entry: redeem(fmt.Sprint(i))}, nil); err != nil {
				t.Fatal(err)
			}
		}
		began, booked := time.Now(), make(chan time.Duration, 1)
		behind.Spend(1, time.Now())
		b.settler.Book(&lease.Posting{Block: behind, Offer: b.offer, Entry: redeem("lost")}, hearing(func(v models.Verdict) {
			booked <- time.Since(began)
			if v.Err != nil {
				t.Error(v.Err)
			}
		}))
		if took := <-booked; took > 60*2*gatherFor {
			t.Errorf("booked after %s", took)
		}
	})
}
