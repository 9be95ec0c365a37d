package allocator

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"tranche/models"
)

// changing is books that are different at each read.
type changing struct{ reads int64 }

func (c *changing) Balance(context.Context, string) (models.Balance, error) {
	c.reads++
	return models.Balance{Budget: c.reads}, nil
}

func (c *changing) ActiveLeases(context.Context, string) ([]models.ListedLease, error) {
	return nil, nil
}

// A clock may stand still between two looks at it. Books that were read at the same instant, but before, must not contradict a keeper that
// has found nothing since: the request would try again for as long as it stands.
func TestABalanceOfTheSameInstantIsNotFresh(t *testing.T) {
	now := time.Now()
	b := &balances{source: &changing{}, now: func() time.Time { return now }}
	for _, c := range []struct {
		after time.Time
		want  int64
	}{
		{now, 1}, {now, 2}, {now.Add(-time.Nanosecond), 2}, {now.Add(-balanceFor), 2}, {now, 3},
	} {
		s, err := b.get(t.Context(), "o", c.after)
		if err != nil || s.balance.Budget != c.want {
			t.Errorf("after %s: read %d (%v), want %d", c.after.Sub(now), s.balance.Budget, err, c.want)
		}
	}
}

// Books that were asked for earlier may have been read earlier: a request that needs fresh ones waits for those, and reads once more.
func TestAFreshBalanceIsNotOneThatIsOnItsWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := &slowBooks{takes: time.Second}
		b := &balances{source: source, now: time.Now}
		get := func(after time.Time) int64 {
			got, err := b.get(t.Context(), "o", after)
			if err != nil {
				t.Error(err)
				return 0
			}
			return got.balance.Budget
		}
		var readers sync.WaitGroup
		readers.Go(func() {
			if read := get(time.Now()); read != 1 {
				t.Errorf("the first request has read %d", read)
			}
		})
		synctest.Wait()
		time.Sleep(time.Millisecond)
		asked := time.Now()
		for range 10 {
			readers.Go(func() {
				if read := get(asked); read != 2 {
					t.Errorf("a request during the first read has read %d", read)
				}
			})
			readers.Go(func() {
				if read := get(asked.Add(-balanceFor)); read != 1 {
					t.Errorf("a request that may use the first read has read %d", read)
				}
			})
		}
		readers.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := b.get(ctx, "o", time.Now()); !errors.Is(err, models.ErrLedgerUnavailable) {
			t.Errorf("a request whose time is over: %v", err)
		}
		if read := get(time.Now().Add(-balanceFor)); read != 3 { // its requester has gone, and it goes on
			t.Errorf("read %d", read)
		}
	})
}

// slowBooks takes its time for a balance, which says how many were read before.
type slowBooks struct {
	changing
	takes time.Duration
}

func (s *slowBooks) Balance(ctx context.Context, offerID string) (models.Balance, error) {
	books, err := s.changing.Balance(ctx, offerID)
	time.Sleep(s.takes)
	return books, err
}
