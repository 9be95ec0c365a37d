package storetest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"tranche/models"
)

// Fake is a ledger store in memory. Safe for concurrent use; its fields are set before it is used.
type Fake struct {
	// Fail is asked before each call, by the method's name: an error ends the call before it did anything.
	Fail func(call string) error
	// After is asked after each call that succeeded: an error takes the place of its answer, and what it did stays done.
	After func(call string) error

	now  func() time.Time
	away atomic.Bool

	ledgerID models.ID

	mu     sync.Mutex // guards all below
	nodes  map[models.ID]*models.Node
	offers map[string]*shelf
	carts  map[models.CartID]models.Cart

	feed     []models.Entry // its first entry is at position 1
	placedAt models.Micros  // when it last grew
}

// shelf is one offer and all that hangs on it.
type shelf struct {
	offer     models.Offer
	leases    map[models.ID]*models.Lease
	active    map[models.ID]*models.Lease  // those of leases that are active: tests run for hours of their time and close thousands
	histories map[models.ID][]models.Entry // by redemption, ordered by seq
	entries   []models.Entry               // in the order of their commits
	placed    int                          // how many of the entries are in the feed
	usages    map[string]models.Usage      // by user, while the offer limits users

	exceptions []models.Exception // in the order of their commits
	holds      map[models.Hold]bool
	audits     []models.Audit // so, too
	writes     int
}

// NewFake makes an empty store whose database clock is now.
func NewFake(now func() time.Time) *Fake {
	return &Fake{now: now, ledgerID: models.NewID(), nodes: map[models.ID]*models.Node{}, offers: map[string]*shelf{}, carts: map[models.CartID]models.Cart{}}
}

// SetAvailable says what Available answers from now on. It changes nothing else: use Fail to make calls fail.
func (f *Fake) SetAvailable(available bool) { f.away.Store(!available) }

// Available reports whether the breaker lets calls through.
func (f *Fake) Available() bool { return !f.away.Load() }

// Ping asks the database for a sign of life.
func (f *Fake) Ping(ctx context.Context) error {
	_, err := do(ctx, f, "Ping", func(models.Micros) (struct{}, error) { return struct{}{}, nil })
	return err
}

// do runs one call under the mutex, between the two fault hooks.
func do[T any](ctx context.Context, f *Fake, call string, work func(now models.Micros) (T, error)) (T, error) {
	var none T
	if ctx.Err() != nil {
		return none, fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, context.Cause(ctx))
	}
	if f.Fail != nil {
		if err := f.Fail(call); err != nil {
			return none, err
		}
	}
	result, err := locked(f, work)
	if err != nil {
		return none, err
	}
	if f.After != nil {
		if err := f.After(call); err != nil {
			return none, err
		}
	}
	return result, nil
}

func locked[T any](f *Fake, work func(now models.Micros) (T, error)) (T, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return work(models.MicrosOf(f.now()))
}

func (f *Fake) shelf(offerID string) (*shelf, error) {
	s, ok := f.offers[offerID]
	if !ok {
		return nil, fmt.Errorf("%w: %q", models.ErrOfferNotFound, offerID)
	}
	return s, nil
}

// notSuperseded fails if the node has a higher epoch.
func (f *Fake) notSuperseded(id models.ID, epoch int64) error {
	if n, ok := f.nodes[id]; ok && n.Epoch > epoch {
		return fmt.Errorf("%w: node %s, epoch %d", models.ErrEpochSuperseded, id, epoch)
	}
	return nil
}

// check panics unless the identities of the books hold for the offer. Called after each write. Books of very many leases are only added up
// at each 16th one: else a long test does little more.
func (s *shelf) check() {
	if s.writes++; len(s.leases) > 100 && s.writes%16 != 0 {
		return
	}
	o, b := &s.offer, s.balance(0)
	var sum models.Totals
	var exposed int64
	for id, l := range s.leases {
		if (l.State == models.LeaseActive) != (s.active[id] == l) {
			panic(fmt.Sprintf("offer %q: lease %s, %s, is listed as active: %t", o.ID, id, l.State, s.active[id] == l))
		}
		exposed += l.Exposed
		if l.Exposed < 0 || l.Exposed > l.Granted-l.Spent || l.Exposed > 0 && l.State != models.LeaseReclaimed {
			panic(fmt.Sprintf("offer %q: lease %s, %s with %d of %d spent, exposes %d", o.ID, id, l.State, l.Spent, l.Granted, l.Exposed))
		}
		if l.Spent < 0 || l.Spent > l.Granted {
			panic(fmt.Sprintf("offer %q: lease %s spent %d of %d", o.ID, id, l.Spent, l.Granted))
		}
		sum = sum.Add(l.Totals)
	}
	if b.Totals != sum {
		panic(fmt.Sprintf("offer %q: folded and active leases say %+v, all leases %+v", o.ID, b.Totals, sum))
	}
	if b.Allocated != b.NetSpent()+b.Outstanding {
		panic(fmt.Sprintf("offer %q: allocated %d, net spent %d, outstanding %d", o.ID, b.Allocated, b.NetSpent(), b.Outstanding))
	}
	if o.Budget < o.BudgetTarget || o.Budget < o.Allocated-o.LateUnits {
		panic(fmt.Sprintf("offer %q: budget %d, target %d, allocated %d, late %d", o.ID, o.Budget, o.BudgetTarget, o.Allocated, o.LateUnits))
	}
	if o.Exposed != exposed || b.OverspendBound < b.Overspend() {
		panic(fmt.Sprintf("offer %q: exposed %d, by its leases %d, bound %d of %d", o.ID, o.Exposed, exposed, b.OverspendBound, b.Overspend()))
	}
}

// balance adds up the books.
func (s *shelf) balance(now models.Micros) models.Balance {
	o := &s.offer
	b := models.Balance{
		Budget: o.Budget, Allocated: o.Allocated, Totals: o.Folded, LateUnits: o.LateUnits, OverspendBound: o.Exposed,
		Recall: o.Recall, ChangedAt: o.UpdatedAt, AsOf: now,
	}
	for _, l := range s.active {
		b.Outstanding += l.Outstanding()
		b.Totals = b.Totals.Add(l.Totals)
		if l.Recall < o.Recall {
			b.Recalled += l.Outstanding()
		}
		if l.Mode.Outlives() {
			b.OverspendBound += l.Outstanding()
		}
		b.LeasesActive++
	}
	for h := range s.holds {
		if b.NextHoldEnds == nil || h.ExpiresAt < *b.NextHoldEnds {
			b.NextHoldEnds = &h.ExpiresAt
		}
	}
	b.OverspendBound += b.Overspend()
	return b
}

// newestFirst orders ids, and before says whether id belongs to the page that starts before mark.
func newestFirst(a, b models.ID) int { return bytes.Compare(b[:], a[:]) }

func before(id, mark models.ID) bool { return mark.IsZero() || bytes.Compare(id[:], mark[:]) < 0 }

func head[T any](items []T, limit int) []T { return items[:min(limit, len(items))] }
