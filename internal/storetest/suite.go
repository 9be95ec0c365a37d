package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"tranche/internal/ledger"
	"tranche/models"
)

// Run puts a store, empty and migrated, through the conformance suite. open is called once; each subtest makes offers of its own.
func Run(t *testing.T, open func(t *testing.T) Store) {
	s := open(t)
	for _, group := range [][]test{nodeTests, offerTests, changeTests, leaseTests, settleTests, limitTests, laterLimitTests, refundTests, readTests, feedTests, crowdTests, modeTests, lateTests, lostTests, exposureTests, holdTests, holdRaceTests, recallTests, auditTests, cartTests, cartCrowdTests} {
		for _, test := range group {
			t.Run(test.name, func(t *testing.T) { test.run(newTrial(t, s)) })
		}
	}
}

type test struct {
	name string
	run  func(*trial)
}

// trial is what one subtest works on: the store, a node of its own, and names nobody else uses.
type trial struct {
	*testing.T
	Store
	ctx   context.Context
	node  models.ID
	epoch int64
	tag   string // part of the ids of this subtest's offers
}

func newTrial(t *testing.T, s Store) *trial {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	b := &trial{T: t, Store: s, ctx: ctx, node: models.NewID(), tag: randomHex(t)}
	var err error
	b.epoch, err = s.RegisterNode(ctx, b.node, "node-"+b.tag)
	b.ok(err)
	return b
}

// Four calls of the store, without what most tests don't look at.

func (b *trial) CreateOffer(ctx context.Context, offer models.Offer) (models.Offer, bool, error) {
	return b.Store.CreateOffer(ctx, offer, models.Audit{})
}

func (b *trial) ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error) (models.Offer, error) {
	return b.Store.ChangeOffer(ctx, id, ifVersion, change, models.Audit{})
}

func (b *trial) OpenPool(ctx context.Context, lease models.Lease) (models.Lease, error) {
	opened, _, err := b.Store.OpenPool(ctx, lease)
	return opened, err
}

func (b *trial) Renew(ctx context.Context, node models.ID, epoch int64, offerID string, ids []models.ID) ([]models.ID, error) {
	renewed, _, err := b.Store.Renew(ctx, node, epoch, offerID, ids)
	return renewed, err
}

func (b *trial) ok(err error) {
	b.Helper()
	if err != nil {
		b.Fatalf("unexpected error: %v", err)
	}
}

func (b *trial) fails(err, want error) {
	b.Helper()
	if !errors.Is(err, want) {
		b.Fatalf("error is %v, want %v", err, want)
	}
}

func equal[T comparable](b *trial, what string, got, want T) {
	b.Helper()
	if got != want {
		b.Fatalf("%s: %v, want %v", what, got, want)
	}
}

func pointer[T any](v T) *T { return &v }

// terms are those of an offer with the subtest's tag in its id.
func (b *trial) terms(name string, budget int64) models.Offer {
	return models.Offer{
		ID: name + "-" + b.tag, Name: "An offer", Unit: models.UnitRedemptions, Mode: models.ModeStrict,
		Budget: budget, LeaseSize: models.DefaultLeaseSize, LeaseTTLSeconds: 60,
		RefundRestoresBudget: true, RefundRestoresUserLimit: true,
	}
}

// offer creates one.
func (b *trial) offer(budget int64, change ...func(*models.Offer)) *models.Offer {
	b.Helper()
	o := b.terms(fmt.Sprintf("o%d", time.Now().UnixNano()), budget)
	for _, c := range change {
		c(&o)
	}
	created, isNew, err := b.CreateOffer(b.ctx, o)
	b.ok(err)
	equal(b, "new", isNew, true)
	return &created
}

func limitRedemptions(n int64) func(*models.Offer) {
	return func(o *models.Offer) { o.UserLimitRedemptions = &n }
}

func limitUnits(n int64) func(*models.Offer) { return func(o *models.Offer) { o.UserLimitUnits = &n } }

// request is a grant request of the subtest's node for a lease of so many units, or what is left.
func (b *trial) request(offerID string, units int64) models.GrantRequest {
	return models.GrantRequest{
		OfferID: offerID, NodeID: b.node, Epoch: b.epoch, LeaseID: models.NewID(),
		Size: func(_ *models.Offer, unallocated, _ int64) int64 { return max(0, min(units, unallocated)) },
	}
}

// granted is how many units a grant gave.
func granted(g models.Grant) int64 {
	if g.Lease == nil {
		return 0
	}
	return g.Lease.Granted
}

// A lane books batches on one lease.
type lane struct {
	*trial
	offer *models.Offer
	lease models.Lease
	batch int64
}

func (b *trial) lane(o *models.Offer, units int64) *lane {
	b.Helper()
	g, err := b.Grant(b.ctx, b.request(o.ID, units))
	b.ok(err)
	equal(b, "units granted", granted(g), units)
	return &lane{trial: b, offer: o, lease: *g.Lease}
}

// pool opens a refund pool.
func (b *trial) pool(o *models.Offer) *lane {
	b.Helper()
	l, err := b.OpenPool(b.ctx, b.poolTerms(o))
	b.ok(err)
	return &lane{trial: b, offer: o, lease: l}
}

func (b *trial) poolTerms(o *models.Offer) models.Lease {
	return models.Lease{
		OfferID: o.ID, ID: models.NewID(), NodeID: b.node, Epoch: b.epoch,
		Mode: o.Mode, TTLSeconds: o.LeaseTTLSeconds,
	}
}

func (l *lane) next(wanted ...models.Wanted) models.Batch {
	return models.Batch{Offer: l.offer, LeaseID: l.lease.ID, Number: l.batch + 1, Wanted: wanted}
}

// settle books the lane's next batch.
func (l *lane) settle(wanted ...models.Wanted) []models.Verdict {
	l.Helper()
	verdicts, err := l.Settle(l.ctx, l.next(wanted...))
	l.ok(err)
	l.batch++
	equal(l.trial, "verdicts", len(verdicts), len(wanted))
	return verdicts
}

// booked settles and wants every entry to be in the ledger.
func (l *lane) booked(wanted ...models.Wanted) []models.Verdict {
	l.Helper()
	verdicts := l.settle(wanted...)
	for i := range verdicts {
		l.ok(verdicts[i].Err)
		equal(l.trial, "replayed", verdicts[i].Replayed, false)
		equal(l.trial, "entry id", verdicts[i].Entry.ID, wanted[i].ID)
	}
	return verdicts
}

func (l *lane) close() models.Lease {
	l.Helper()
	closed, did, err := l.CloseLease(l.ctx, l.offer.ID, l.lease.ID, models.LeaseReturned, nil)
	l.ok(err)
	equal(l.trial, "closed by this call", did, true)
	return closed
}

func redeem(o *models.Offer, key, user string, units int64) models.Wanted {
	return models.Wanted{Entry: models.Entry{
		OfferID: o.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(o.ID, key).Hash, Kind: models.KindRedeem,
		UserID: user, IdempotencyKey: key, Units: units, CreatedAt: 1_700_000_000_000_000,
	}}
}

func refund(o *models.Offer, redemptionKey, key string, units int64) models.Wanted {
	w := redeem(o, redemptionKey, "", units)
	w.Kind, w.IdempotencyKey = models.KindRefund, key
	return w
}

func checkOnly(w models.Wanted) models.Wanted {
	w.CheckOnly = true
	return w
}

// balance reads the books and holds them against their identities.
func (b *trial) balance(o *models.Offer) models.Balance {
	b.Helper()
	balance, err := b.Balance(b.ctx, o.ID)
	b.ok(err)
	if err := sound(&balance); err != nil {
		b.Fatal(err)
	}
	return balance
}

func sound(b *models.Balance) error {
	adds := b.Allocated == b.NetSpent()+b.Outstanding && b.Outstanding >= 0 && b.Redeemed >= 0 && b.Refunded >= 0
	// Only late units go over the budget, and the bound says so beforehand.
	if !adds || b.Allocated > b.Budget+b.LateUnits || b.Overspend() > b.LateUnits || b.OverspendBound < b.Overspend() {
		return fmt.Errorf("the books do not add up: %+v", *b)
	}
	return nil
}

// audit proves the offer's books from its entries, one by one, and gives the balance.
func (b *trial) audit(o *models.Offer) models.Balance {
	b.Helper()
	balance := b.balance(o)
	entries := b.allEntries(o.ID)
	deltas, histories, late := map[models.ID]ledger.Delta{}, map[models.ID][]models.Entry{}, int64(0)
	firsts := map[models.ID]*models.Entry{}
	for i, e := range entries {
		if e.Seq == 0 {
			firsts[e.Redemption] = &entries[i]
		}
		if e.Late {
			late += e.Units
		}
		histories[e.Redemption] = append(histories[e.Redemption], e)
	}
	for _, e := range entries {
		deltas[e.LeaseID] = deltas[e.LeaseID].Add(moved(&e, firsts[e.Redemption]))
	}
	var sum models.Totals
	bound := balance.Overspend()
	for _, l := range b.allLeases(o.ID) {
		bound += l.Exposed
		if l.Mode.Outlives() {
			bound += l.Outstanding()
		}
		d := deltas[l.ID]
		equal(b, "totals of lease "+l.ID.String(), l.Totals, d.Totals)
		equal(b, "spent of lease "+l.ID.String(), l.Spent, d.Spent)
		if l.Kind == models.KindRefundPool {
			equal(b, "granted to pool "+l.ID.String(), l.Granted, d.Granted)
		}
		sum = sum.Add(l.Totals)
	}
	equal(b, "totals of all leases", balance.Totals, sum)
	equal(b, "late units", balance.LateUnits, late)
	equal(b, "overspend bound", balance.OverspendBound, bound)
	b.auditFeed(o, entries)
	b.auditUsers(o, histories)
	b.auditHolds(o, histories)
	return balance
}

// moved is what an entry moves on its lease; first is the one that its redemption began with.
func moved(e, first *models.Entry) (d ledger.Delta) {
	switch {
	case e.Kind == models.KindRedeem:
		d.Spent, d.Redeemed = e.Units, e.Units
	case e.Kind == models.KindHold:
		d.Spent, d.Held = e.Units, e.Units
	case e.Kind == models.KindConfirm:
		d.Held, d.Redeemed, d.Granted = -first.Units, e.Units, first.Units-e.Units
	case e.Kind == models.KindCancel, e.Kind == models.KindExpire:
		d.Held, d.Granted = -e.Units, e.Units
	case e.RestoresBudget:
		d.Granted, d.Refunded = e.Units, e.Units
	default:
		d.Forfeited = e.Units
	}
	return d
}

// auditUsers holds the counters of all users against the entries.
func (b *trial) auditUsers(o *models.Offer, histories map[models.ID][]models.Entry) {
	b.Helper()
	over := map[string]bool{} // who is listed
	for _, e := range b.exceptions(o) {
		over[e.UserID] = over[e.UserID] || e.Reason == models.ReasonUserLimit
	}
	users := map[string]map[models.ID][]models.Entry{}
	for r, history := range histories {
		slices.SortFunc(history, func(a, b models.Entry) int { return int(a.Seq - b.Seq) })
		user := history[0].UserID
		if users[user] == nil {
			users[user] = map[models.ID][]models.Entry{}
		}
		users[user][r] = history
	}
	for _, user := range slices.Sorted(maps.Keys(users)) {
		want, err := ledger.UsageOf(users[user])
		b.ok(err)
		got, err := b.Usage(b.ctx, o.ID, user)
		b.ok(err)
		equal(b, fmt.Sprintf("usage of %q", user), ledger.UserDelta{Redemptions: got.Redemptions, Units: got.Units, HeldUnits: got.HeldUnits}, want)
		if over[user] {
			continue
		}
		if limit := o.UserLimitRedemptions; limit != nil && got.Redemptions > *limit {
			b.Fatalf("user %q has %d redemptions, limit %d", user, got.Redemptions, *limit)
		}
		if limit := o.UserLimitUnits; limit != nil && got.Units > *limit {
			b.Fatalf("user %q has %d units, limit %d", user, got.Units, *limit)
		}
	}
}

func (b *trial) allEntries(offerID string) []models.Entry {
	b.Helper()
	return pages(b, func(limit int, before models.ID) ([]models.Entry, error) {
		return b.Entries(b.ctx, offerID, limit, before)
	}, func(e models.Entry) models.ID { return e.ID })
}

func (b *trial) allLeases(offerID string) []models.ListedLease {
	b.Helper()
	return pages(b, func(limit int, before models.ID) ([]models.ListedLease, error) {
		return b.Leases(b.ctx, offerID, limit, before)
	}, func(l models.ListedLease) models.ID { return l.ID })
}

// exceptions are those of an offer, oldest first.
func (b *trial) exceptions(o *models.Offer) []models.Exception {
	b.Helper()
	all := pages(b, func(limit int, before models.ID) ([]models.Exception, error) {
		return b.Exceptions(b.ctx, o.ID, limit, before)
	}, func(e models.Exception) models.ID { return e.ID })
	slices.Reverse(all)
	return all
}

// pages reads a whole list page by page and wants it newest first without repetition.
func pages[T any](b *trial, read func(limit int, before models.ID) ([]T, error), id func(T) models.ID) (all []T) {
	b.Helper()
	const limit = 700
	var mark models.ID
	for {
		page, err := read(limit, mark)
		b.ok(err)
		for _, item := range page {
			if !before(id(item), mark) {
				b.Fatalf("%s is listed after %s", id(item), mark)
			}
			mark = id(item)
		}
		all = append(all, page...)
		if len(page) < limit {
			return all
		}
	}
}
