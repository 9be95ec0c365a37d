package ledger_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"tranche/internal/ledger"
	"tranche/models"
)

// book is what a store keeps of one offer, for one transaction at a time.
type book struct {
	offer     *models.Offer
	histories map[models.ID][]models.Entry
	usages    map[string]models.Usage
	lease     ledger.Delta // sums over all batches
	late      bool         // the lease of the batches to come is closed
	holds     map[models.Hold]bool
	over      map[string]bool // users who are listed for having gone over a limit
}

func newBook(offer *models.Offer) *book {
	return &book{offer: offer, histories: map[models.ID][]models.Entry{}, usages: map[string]models.Usage{}, holds: map[models.Hold]bool{}, over: map[string]bool{}}
}

type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

// settle runs a batch the way a store does and checks what Decide and Limit promise.
func (b *book) settle(t fataler, wanted ...models.Wanted) []models.Verdict {
	t.Helper()
	batch := &models.Batch{Offer: b.offer, LeaseID: models.NewID(), Number: 1, Wanted: wanted}
	untouched := clone(b.histories)
	decide := ledger.Decide
	if b.late {
		decide = ledger.DecideLate
	}
	decision, err := decide(batch, b.histories)
	if err != nil {
		t.Fatalf("decision: %v", err)
	}
	first := maps.Clone(decision.Users)
	after := map[string]models.Usage{}
	for user, d := range first {
		after[user] = d.ApplyTo(b.usages[user])
	}
	corrections, err := decision.Limit(after)
	if err != nil {
		t.Fatalf("limit: %v", err)
	}
	for user := range decision.Users {
		if _, counted := first[user]; !counted {
			t.Fatalf("user %q was counted only in the second look", user)
		}
	}
	for user, u := range after {
		b.usages[user] = corrections[user].Negated().ApplyTo(u)
	}
	if !maps.EqualFunc(untouched, b.histories, func(x, y []models.Entry) bool { return slices.Equal(x, y) }) {
		t.Fatalf("the decision changed the histories that it was given")
	}
	b.write(t, decision)
	b.listed(t, batch, decision)
	for i, v := range decision.Verdicts {
		b.told(t, &wanted[i], &v)
	}
	b.judged(t, batch, decision)
	return decision.Verdicts
}

func clone(histories map[models.ID][]models.Entry) map[models.ID][]models.Entry {
	c := make(map[models.ID][]models.Entry, len(histories))
	for id, h := range histories {
		c[id] = slices.Clone(h)
	}
	return c
}

// write appends the decision's entries, as a unique key on (redemption, seq) allows, and checks that the sums and the list of holds are theirs.
func (b *book) write(t fataler, decision *ledger.Decision) {
	t.Helper()
	var sum ledger.Delta
	for _, e := range decision.Appends {
		if e.Seq != int64(len(b.histories[e.Redemption])) {
			t.Fatalf("entry with seq %d behind %d others", e.Seq, len(b.histories[e.Redemption]))
		}
		b.histories[e.Redemption] = append(b.histories[e.Redemption], e)
		sum = sum.Add(moved(&e, &b.histories[e.Redemption][0]))
	}
	if decision.Lease != sum {
		t.Fatalf("the lease changes by %+v, its entries by %+v", decision.Lease, sum)
	}
	b.lease = b.lease.Add(sum)
	for _, h := range decision.Held {
		if b.holds[h] {
			t.Fatalf("%+v is listed twice", h)
		}
		b.holds[h] = true
	}
	for _, h := range decision.Ended {
		if !b.holds[h] {
			t.Fatalf("%+v ends and is not listed", h)
		}
		delete(b.holds, h)
	}
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

// told checks a verdict against what is in the book: a success is there, a refusal is not.
func (b *book) told(t fataler, w *models.Wanted, v *models.Verdict) {
	t.Helper()
	written := slices.ContainsFunc(b.histories[w.Redemption], func(e models.Entry) bool { return e.ID == w.ID })
	if (v.Err == nil && !v.Replayed) != written {
		t.Fatalf("entry %+v is written: %t, its verdict is %+v", *w, written, *v)
	}
	if w.CheckOnly && !w.Acknowledged && written {
		t.Fatalf("a check was written: %+v", *w)
	}
	if w.Acknowledged && v.Err != nil && !errors.Is(v.Err, models.ErrKeyReused) {
		t.Fatalf("an acknowledged entry is refused: %+v", *v)
	}
	if b.late && !w.Acknowledged && !errors.Is(v.Err, models.ErrLeaseClosed) {
		t.Fatalf("on a closed lease, the verdict is %+v", *v)
	}
	if v.Err == nil && !v.Replayed && v.Entry.Late != b.late {
		t.Fatalf("late: %t, want %t", v.Entry.Late, b.late)
	}
	if v.Err == nil && !slices.Contains(b.histories[w.Redemption], v.Entry) {
		t.Fatalf("the verdict names %+v, which is not in the ledger", v.Entry)
	}
}

// listed checks that an exception stands for each acknowledged entry that was late or had its key taken, and for no other.
func (b *book) listed(t fataler, batch *models.Batch, decision *ledger.Decision) {
	t.Helper()
	type line struct {
		entry  models.ID
		reason models.ExceptionReason
	}
	got := map[line]int{}
	for _, e := range decision.Exceptions {
		got[line{e.EntryID, e.Reason}]++
		b.over[e.UserID] = b.over[e.UserID] || e.Reason == models.ReasonUserLimit
	}
	for i, w := range batch.Wanted {
		v, want := decision.Verdicts[i], map[models.ExceptionReason]bool{}
		booked := v.Err == nil && !v.Replayed
		want[models.ReasonLate] = booked && b.late
		want[models.ReasonKeyReused] = w.Acknowledged && errors.Is(v.Err, models.ErrKeyReused)
		for reason, listed := range want {
			if n := got[line{w.ID, reason}]; n != map[bool]int{true: 1}[listed] {
				t.Fatalf("%+v is listed %d times as %s, its verdict is %+v", w, n, reason, v)
			}
		}
		if n := got[line{w.ID, models.ReasonUserLimit}]; n > 1 || n == 1 && !(w.Acknowledged && booked) {
			t.Fatalf("%+v is listed %d times for its user's limit, its verdict is %+v", w, n, v)
		}
	}
}

// judged checks that looking a batch up afterwards says of each entry whether it was booked.
func (b *book) judged(t fataler, batch *models.Batch, decision *ledger.Decision) {
	t.Helper()
	verdicts, err := ledger.LookUp(batch, b.histories)
	if err != nil {
		t.Fatalf("judge: %v", err)
	}
	for i, v := range verdicts {
		mine := v.Err == nil && !v.Replayed
		if booked := decision.Verdicts[i].Err == nil && !decision.Verdicts[i].Replayed; mine != booked {
			t.Fatalf("entry %d was booked: %t, and looked up as %+v", i, booked, v)
		}
	}
}

// check holds the book against itself.
func (b *book) check(t fataler) {
	t.Helper()
	users := map[string]map[models.ID][]models.Entry{}
	held := 0
	for id, history := range b.histories {
		r, err := ledger.Fold(history)
		if err != nil {
			t.Fatalf("fold: %v", err)
		}
		if r.Remaining() < 0 {
			t.Fatalf("over-refunded: %+v", r)
		}
		if r.State == models.StateHeld {
			held++
			if h := (models.Hold{OfferID: "o", Redemption: id, ExpiresAt: *r.HoldExpiresAt}); !b.holds[h] {
				t.Fatalf("not listed: %+v", h)
			}
		}
		if users[r.UserID] == nil {
			users[r.UserID] = map[models.ID][]models.Entry{}
		}
		users[r.UserID][id] = history
	}
	if held != len(b.holds) {
		t.Fatalf("%d are held, and listed are %d", held, len(b.holds))
	}
	if !b.offer.LimitsUsers() {
		return
	}
	for user, own := range users {
		want, err := ledger.UsageOf(own)
		if err != nil {
			t.Fatalf("usage: %v", err)
		}
		got := b.usages[user]
		if got.Redemptions != want.Redemptions || got.Units != want.Units || got.HeldUnits != want.HeldUnits {
			t.Fatalf("user %q: counted %+v, entries say %+v", user, got, want)
		}
		if b.over[user] {
			continue
		}
		if l := b.offer.UserLimitRedemptions; l != nil && got.Redemptions > *l {
			t.Fatalf("user %q has %d redemptions of %d", user, got.Redemptions, *l)
		}
		if l := b.offer.UserLimitUnits; l != nil && got.Units > *l {
			t.Fatalf("user %q has %d units of %d", user, got.Units, *l)
		}
	}
}

func redeem(key, user string, units int64) models.Wanted {
	return models.Wanted{Entry: models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.RedemptionIDOf("o", key).Hash, Kind: models.KindRedeem,
		IdempotencyKey: key, UserID: user, Units: units,
	}}
}

func refund(of, key string, units int64) models.Wanted {
	w := redeem(of, "", units)
	w.Kind, w.IdempotencyKey = models.KindRefund, key
	return w
}

func acknowledged(w models.Wanted) models.Wanted {
	w.Acknowledged = true
	return w
}

// Whatever the batches: sums agree, nobody who isn't listed is over a limit, nothing is over-refunded, what was acknowledged is booked
// if its key is free, and verdicts say what was written.
func TestAnyBatchesKeepTheBooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := func(name string, most int64) *int64 {
			if rapid.Bool().Draw(t, name+" set") {
				return nil
			}
			n := rapid.Int64Range(0, most).Draw(t, name)
			return &n
		}
		b := newBook(&models.Offer{
			ID: "o", UserLimitRedemptions: limit("limit of redemptions", 4), UserLimitUnits: limit("limit of units", 15),
			RefundRestoresBudget: rapid.Bool().Draw(t, "restores budget"), RefundRestoresUserLimit: rapid.Bool().Draw(t, "restores limit"),
		})
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			b.late = rapid.IntRange(0, 3).Draw(t, "late") == 0
			b.settle(t, rapid.SliceOfN(rapid.Custom(wanted), 0, 14).Draw(t, "wanted")...)
			b.check(t)
		}
	})
}

func wanted(t *rapid.T) models.Wanted {
	key := rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}).Draw(t, "key")
	user, units := rapid.SampledFrom([]string{"u", "v", "w"}).Draw(t, "user"), rapid.Int64Range(1, 7).Draw(t, "units")
	var w models.Wanted
	switch kind := rapid.SampledFrom([]models.Kind{"redeem", "redeem", "hold", "hold", "confirm", "cancel", "expire", "refund", "refund"}).Draw(t, "kind"); kind {
	case models.KindRedeem:
		w = redeem(key, user, units)
	case models.KindHold:
		w = hold(key, user, units, models.Micros(rapid.IntRange(1, 2).Draw(t, "ends")))
	case models.KindRefund:
		w = refund(key, rapid.SampledFrom([]string{"1", "2", "3"}).Draw(t, "refund key"), rapid.Int64Range(0, 4).Draw(t, "units"))
	case models.KindConfirm:
		w = end(key, kind, rapid.Int64Range(0, 7).Draw(t, "units"))
	default:
		w = end(key, kind, 0)
	}
	w.Acknowledged = w.Kind.Spends() && rapid.IntRange(0, 3).Draw(t, "acknowledged") == 0
	w.CheckOnly = rapid.IntRange(0, 9).Draw(t, "check") == 0
	return w
}

func limited(redemptions int64) *models.Offer {
	return &models.Offer{ID: "o", UserLimitRedemptions: &redemptions, RefundRestoresBudget: true, RefundRestoresUserLimit: true}
}

func errs(verdicts []models.Verdict) (all []error) {
	for _, v := range verdicts {
		all = append(all, v.Err)
	}
	return all
}

func expect(t *testing.T, verdicts []models.Verdict, want ...error) {
	t.Helper()
	for i, err := range errs(verdicts) {
		if !errors.Is(err, want[i]) || (err == nil) != (want[i] == nil) {
			t.Fatalf("verdict %d is %v, want %v", i, err, want[i])
		}
	}
}

func TestARefusedRedemptionIsNotLetInByItsRepetition(t *testing.T) {
	b := newBook(limited(1))
	b.settle(t, redeem("first", "u", 1))
	expect(t, b.settle(t, redeem("k", "u", 1), redeem("k", "u", 1)), models.ErrUserLimitReached, models.ErrUserLimitReached)
	b.check(t)
}

func TestTheRefundOfARefusedRedemptionMakesNoRoom(t *testing.T) {
	b := newBook(limited(1))
	b.settle(t, redeem("first", "u", 1))
	expect(t, b.settle(t, redeem("a", "u", 1), refund("a", "r", 0), redeem("b", "u", 1)),
		models.ErrUserLimitReached, models.ErrRedemptionNotFound, models.ErrUserLimitReached)
	b.check(t)
}

func TestAnotherUsersRequestBehindARefusedOneIsAskedForAgain(t *testing.T) {
	b := newBook(limited(1))
	b.settle(t, redeem("first", "u", 1))
	expect(t, b.settle(t, redeem("k", "u", 1), redeem("k", "v", 1)), models.ErrUserLimitReached, models.ErrNotSettled)
	expect(t, b.settle(t, redeem("k", "v", 1)), nil)
	b.check(t)
}

func TestOneUsersRefusalDoesNotTouchAnother(t *testing.T) {
	b := newBook(limited(1))
	expect(t, b.settle(t, redeem("1", "u", 1), redeem("2", "v", 1), redeem("3", "u", 1), redeem("4", "w", 1)),
		nil, nil, models.ErrUserLimitReached, nil)
	b.check(t)
}

func TestARefundIsTakenFromAUserWhoIsOverALoweredLimit(t *testing.T) {
	b := newBook(limited(3))
	b.settle(t, redeem("1", "u", 1), redeem("2", "u", 1), redeem("3", "u", 1))
	b.offer = limited(1)
	expect(t, b.settle(t, refund("1", "r", 0), redeem("4", "u", 1)), nil, models.ErrUserLimitReached)
	if got := b.usages["u"].Redemptions; got != 2 {
		t.Fatalf("%d redemptions are counted, want 2", got)
	}
}

func TestWhatWasAcknowledgedComesFirst(t *testing.T) {
	b := newBook(limited(1))
	expect(t, b.settle(t, redeem("1", "u", 1), acknowledged(redeem("2", "u", 1)), acknowledged(redeem("3", "u", 1))),
		models.ErrUserLimitReached, nil, nil)
	b.check(t)
	if !b.over["u"] {
		t.Fatal("the second one is not listed")
	}
}

func TestARefundCannotBeAcknowledgedBeforeItIsBooked(t *testing.T) {
	if _, err := ledger.Decide(&models.Batch{Offer: limited(1), Wanted: []models.Wanted{acknowledged(refund("k", "r", 1))}}, nil); err == nil {
		t.Fatal("it was decided")
	}
}

func TestAnImpossibleHistoryIsNotFolded(t *testing.T) {
	good := func() []models.Entry {
		a, b := redeem("k", "u", 3).Entry, refund("k", "r", 2).Entry
		b.Seq = 1
		return []models.Entry{a, b}
	}
	if r, err := ledger.Fold(good()); err != nil || r.Remaining() != 1 || len(r.Refunds) != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	for name, spoil := range map[string]func([]models.Entry) []models.Entry{
		"a gap":             func(h []models.Entry) []models.Entry { h[1].Seq = 2; return h },
		"no beginning":      func(h []models.Entry) []models.Entry { return h[1:] },
		"two beginnings":    func(h []models.Entry) []models.Entry { h[1].Kind = models.KindRedeem; return h },
		"too much refunded": func(h []models.Entry) []models.Entry { h[1].Units = 4; return h },
	} {
		h := spoil(good())
		if _, err := ledger.Fold(h); err == nil {
			t.Errorf("%s was folded", name)
		}
		batch := &models.Batch{Offer: limited(1), Wanted: []models.Wanted{redeem("k", "u", 3)}}
		if _, err := ledger.Decide(batch, map[models.ID][]models.Entry{h[0].Redemption: h}); err == nil {
			t.Errorf("%s was built upon", name)
		}
		if _, err := ledger.UsageOf(map[models.ID][]models.Entry{h[0].Redemption: h}); err == nil {
			t.Errorf("%s was counted", name)
		}
	}
}

func TestUsersAreLockedInOrder(t *testing.T) {
	var ws []models.Wanted
	for i := range 20 {
		ws = append(ws, redeem(fmt.Sprint(i), fmt.Sprint("u", (i*7)%20), 1))
	}
	decision, err := ledger.Decide(&models.Batch{Offer: limited(1), Wanted: ws}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if ids := decision.UserIDs(); len(ids) != 20 || !slices.IsSorted(ids) {
		t.Fatalf("users %v", ids)
	}
}

// A redemption of very many units can't be refunded unit by unit for ever: each refund is read by the next.
func TestB9RefundsOfARedemptionAreBounded(t *testing.T) {
	o := &models.Offer{ID: "o", RefundRestoresBudget: true}
	b := newBook(o)
	b.settle(t, redeem("k", "u", 100_000))
	for i := range models.MaxRefunds {
		if v := b.settle(t, refund("k", fmt.Sprint(i), 1))[0]; v.Err != nil {
			t.Fatalf("refund %d: %v", i, v.Err)
		}
	}
	var many *models.TooManyRefundsError
	if v := b.settle(t, refund("k", "more", 1))[0]; !errors.As(v.Err, &many) || many.Remaining != 99_000 {
		t.Errorf("one more: %v", v.Err)
	}
	if v := b.settle(t, refund("k", "0", 1))[0]; v.Err != nil || !v.Replayed {
		t.Errorf("the first again: %+v", v)
	}
	if v := b.settle(t, refund("k", "rest", 0))[0]; v.Err != nil || v.Entry.Units != 99_000 {
		t.Errorf("all that is left: %+v", v)
	}
	if v := b.settle(t, refund("k", "nothing", 0))[0]; !errors.Is(v.Err, models.ErrRefundExceeds) {
		t.Errorf("of nothing: %v", v.Err)
	}
}
