package allocator

import (
	"context"
	"testing"
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
