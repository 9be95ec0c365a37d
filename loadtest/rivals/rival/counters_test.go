package rival

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"tranche/loadtest/rivals/contract"
)

// What Redis counted before its server died is not lost to the customer who retries.
func TestRedisIsHealedByARetry(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(2, 1)
	died := contract.Order{OfferID: "o", Key: "k", UserID: "alice", Units: 1}
	m := newRedemption(&died, time.Now())
	if v, err := r.reserve(t.Context(), &m); v != verdictTaken || err != nil {
		t.Fatal(v, err)
	}
	s.logged(0, 0)
	s.mustRedeem("k", "alice", 1)
	s.counted(1, 0)
	if got := s.usage("alice"); got != 1 {
		t.Errorf("alice has %d", got)
	}
}

// And is lost to all others.
func TestRedisLeaksWithoutARetry(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(1, 1)
	died := contract.Order{OfferID: "o", Key: "k", UserID: "alice", Units: 1}
	m := newRedemption(&died, time.Now())
	if _, err := r.reserve(t.Context(), &m); err != nil {
		t.Fatal(err)
	}
	if a := s.redeem("k2", "bob", 1); !a.is("budget-exhausted") {
		t.Errorf("the leaked unit was sold: %+v", a)
	}
	s.logged(0, 0)
}

// A row that the database refuses is not counted, however often it is tried at once.
func TestRedisUncountsWhatTheLogRefuses(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(5, 0)
	crowd(10, func(int) answer {
		_, _, err := r.Redeem(t.Context(), contract.Order{OfferID: "o", Key: "k", UserID: strings.Repeat("x", 200), Units: 1})
		if !errors.Is(err, contract.ErrNotDone) {
			t.Errorf("a row that does not fit: %v", err)
		}
		return answer{}
	})
	s.counted(0, 0)
}

func TestRedisThatForgotIsLoadedFromTheLog(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(10, 1)
	id := s.mustRedeem("k1", "alice", 2).ID
	s.mustRedeem("k2", "bob", 3)
	s.refund(id, "r", 0)
	for range 2 {
		rollUp(t, &r.rollup)
	}
	s.mustRedeem("k3", "carol", 1)
	if err := r.cache.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if a := s.refund(id, "r", 0); !a.replayed { // came with the log, and must not be counted again
		t.Errorf("the refund: %+v", a)
	}
	s.counted(6, 2)
	if a, b, c := s.usage("alice"), s.usage("bob"), s.usage("carol"); a != 0 || b != 1 || c != 1 {
		t.Errorf("alice has %d, bob %d, carol %d", a, b, c)
	}
	if a := s.redeem("k2", "bob", 3); !a.is("user-limit-reached") {
		t.Errorf("bob's retry, of which only the log knows, is not looked up there: %+v", a)
	}
	s.mustRedeem("k4", "alice", 6)
	s.counted(12, 2)
}

// A key that only the log knows is counted and uncounted again.
func TestRedisThatForgotAKeyFindsItInTheLog(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(10, 0)
	s.mustRedeem("k", "alice", 2)
	if err := r.cache.Del(t.Context(), r.keys("o", contract.HashOf("o", "k"))[3]).Err(); err != nil {
		t.Fatal(err)
	}
	if a := s.redeem("k", "alice", 2); !a.replayed {
		t.Errorf("the retry: %+v", a)
	}
	s.counted(2, 0)
}

// A server that dies after the counter and before COMMIT: the job gives the units back, once.
func TestSplitIsCorrectedByItsJob(t *testing.T) {
	p := newSplit(t)
	s := newShop(t, p)
	s.offer(3, 0)
	s.mustRedeem("k1", "alice", 1)
	if err := p.take(t.Context(), "o", 2); err != nil {
		t.Fatal(err)
	}
	if a := s.redeem("k2", "bob", 1); !a.is("budget-exhausted") {
		t.Errorf("until then: %+v", a)
	}
	for range 4 {
		syncAll(t, p)
	}
	s.counted(1, 0)
	s.mustRedeem("k2", "bob", 2)
	s.counted(3, 0)
}

func TestSplitKeepsWhatIsUnderWay(t *testing.T) {
	p := newSplit(t)
	s := newShop(t, p)
	s.offer(10, 0)
	for i := range 5 {
		syncAll(t, p) // nothing was leaked, at no time
		s.mustRedeem(fmt.Sprint("k", i), "alice", 1)
	}
	s.counted(5, 0)
}

func TestSplitCountsARefundThatWasNotCounted(t *testing.T) {
	p := newSplit(t)
	s := newShop(t, p)
	s.offer(2, 0)
	id := s.mustRedeem("k", "alice", 2).ID
	s.refund(id, "r", 0)
	if err := add.Run(t.Context(), p.cache, []string{counters("o")}, "refunded", -2).Err(); err != nil { // as if it had died before
		t.Fatal(err)
	}
	for range 3 {
		syncAll(t, p)
	}
	s.counted(2, 2)
}

func TestSplitThatForgotIsLoadedFromTheLog(t *testing.T) {
	p := newSplit(t)
	s := newShop(t, p)
	s.offer(3, 0)
	s.mustRedeem("k1", "alice", 2)
	if err := p.cache.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	if a := s.redeem("k2", "bob", 2); !a.is("budget-exhausted") {
		t.Errorf("more than is left: %+v", a)
	}
	s.mustRedeem("k2", "bob", 1)
	s.counted(3, 0)
}

func TestCorrection(t *testing.T) {
	for _, c := range []struct {
		what                                             string
		countedBefore, loggedNow, loggedBefore, countNow int64
		want                                             int64
	}{
		{"quiet", 5, 5, 5, 5, 0},
		{"under way then, logged now", 8, 8, 5, 8, 0},
		{"under way now", 5, 5, 5, 9, 0},
		{"leaked", 7, 5, 5, 7, -2},
		{"leaked, and busy: part of it can be told", 7, 6, 5, 9, -1},
		{"forgotten", 3, 9, 8, 6, 2},
	} {
		if got := correction(c.countedBefore, c.loggedNow, c.loggedBefore, c.countNow); got != c.want {
			t.Errorf("%s: %d, want %d", c.what, got, c.want)
		}
	}
}

// A row with a lower number that commits later must not be skipped.
func TestRollupWaitsForLateRows(t *testing.T) {
	r := newRedisRival(t)
	s := newShop(t, r)
	s.offer(10, 0)
	late := contract.Redemption{Order: contract.Order{OfferID: "o", Key: "late", UserID: "u", Units: 4}, Hash: contract.HashOf("o", "late"), CreatedAt: time.Now()}
	tx, err := r.offers.db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := logRedemption(t.Context(), tx, &late); err != nil {
		t.Fatal(err)
	}
	s.mustRedeem("k", "alice", 1) // a higher number
	rollUp(t, &r.rollup)
	if err := tx.Commit(); err != nil { // within a period, as every request
		t.Fatal(err)
	}
	rollUp(t, &r.rollup)
	rollUp(t, &r.rollup)
	var used int64
	if err := r.offers.db.QueryRowContext(t.Context(), "SELECT used FROM offers").Scan(&used); err != nil || used != 5 {
		t.Errorf("rolled up %d of 5 (%v)", used, err)
	}
}

func rollUp(t *testing.T, r *rollup) {
	t.Helper()
	if err := r.runOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func syncAll(t *testing.T, s *Split) {
	t.Helper()
	if err := errors.Join(s.rollup.runOnce(context.Background()), s.syncAll(context.Background())); err != nil {
		t.Fatal(err)
	}
}
