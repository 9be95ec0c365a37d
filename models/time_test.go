package models_test

import (
	"math"
	"testing"
	"time"

	"tranche/models"
)

func TestB10TheTimeToAFarInstantIsLong(t *testing.T) {
	now := models.MicrosOf(time.Date(2026, 11, 30, 0, 0, 0, 0, time.UTC))
	far := models.MicrosOf(time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	for _, c := range []struct {
		from, to models.Micros
		want     time.Duration
	}{
		{now, now.Add(time.Hour), time.Hour},
		{now.Add(time.Hour), now, -time.Hour},
		{now, far, math.MaxInt64 / 1000 * 1000},
		{far, now, math.MinInt64 / 1000 * 1000},
	} {
		if got := c.to.Sub(c.from); got != c.want {
			t.Errorf("from %s to %s: %s, want %s", c.from.Time(), c.to.Time(), got, c.want)
		}
	}
}
