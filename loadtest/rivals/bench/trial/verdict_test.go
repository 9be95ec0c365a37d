package trial

import (
	"fmt"
	"testing"
	"time"
)

// agreed is a record and books that agree: so many orders of so many users' own, acknowledged one per second from 1 s on.
func agreed(n int) (*Record, *Books, *Counters) {
	r, b := newRecord(), &Books{Redeemed: map[string]int{}, Refunded: map[string]int64{}, Users: map[string]string{}}
	c := &Counters{Redeemed: int64(n), Users: map[string]int64{}}
	for i := range n {
		key, user := fmt.Sprint("k", i), fmt.Sprint("u", i)
		r.Orders[key] = &Order{User: user, FirstSent: time.Duration(i+1) * time.Second, IDs: map[string]bool{"id-" + key: true}, Acked: time.Duration(i+1)*time.Second + time.Second/2}
		b.Redeemed[key], b.Users[key], c.Users[user] = 1, user, 1
	}
	return r, b, c
}

func (r *Record) turnAway(key, user string, sent, answered int, soldOut bool) {
	r.Orders[key] = &Order{User: user, FirstSent: time.Duration(sent) * time.Second, IDs: map[string]bool{}, Refusals: []Refusal{
		{time.Duration(sent) * time.Second, time.Duration(answered) * time.Second, soldOut},
	}}
}

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		what   string
		budget int64
		change func(r *Record, b *Books, c *Counters)
		want   Verdict
	}{
		{"all is well", 3, func(*Record, *Books, *Counters) {}, Verdict{Acknowledged: 3}},
		{"sold out, and said so", 3, func(r *Record, _ *Books, _ *Counters) {
			r.turnAway("late", "x", 4, 5, true)
		}, Verdict{Acknowledged: 3}},
		{"an acknowledged one is missing", 3, func(_ *Record, b *Books, c *Counters) {
			delete(b.Redeemed, "k1")
			c.Redeemed, c.Users["u1"] = 2, 0
		}, Verdict{Acknowledged: 3, Lost: 1}},
		{"two rows for a key", 4, func(_ *Record, b *Books, c *Counters) {
			b.Redeemed["k1"] = 2
			c.Redeemed, c.Users["u1"] = 4, 2
		}, Verdict{Acknowledged: 3, Double: 1, Overrun: 1}},
		{"two ids for a key", 3, func(r *Record, _ *Books, _ *Counters) {
			r.Orders["k1"].IDs["another"] = true
		}, Verdict{Acknowledged: 3, Double: 1}},
		{"too many", 2, func(*Record, *Books, *Counters) {}, Verdict{Acknowledged: 3, Oversold: 1}},
		{"one of two many was given back", 2, func(r *Record, b *Books, c *Counters) {
			r.Refunds["k0"], b.Refunded["k0"] = 2*time.Second, 1
			c.Refunded, c.Users["u0"] = 1, 0
		}, Verdict{Acknowledged: 3}},
		{"given back twice", 3, func(r *Record, b *Books, c *Counters) {
			r.Refunds["k0"], b.Refunded["k0"] = 2*time.Second, 2
			c.Refunded, c.Users["u0"] = 2, -1
		}, Verdict{Acknowledged: 3, Double: 1}},
		{"a refund is missing", 3, func(r *Record, _ *Books, _ *Counters) {
			r.Refunds["k0"] = 2 * time.Second
		}, Verdict{Acknowledged: 3, Lost: 1}},
		{"one user, two redemptions", 3, func(r *Record, b *Books, c *Counters) {
			r.Orders["k1"].User, b.Users["k1"] = "u0", "u0"
			c.Users["u0"], c.Users["u1"] = 2, 0
		}, Verdict{Acknowledged: 3, Overrun: 1}},
		{"counters that leaked", 5, func(_ *Record, _ *Books, c *Counters) {
			c.Redeemed, c.Users["x"] = 5, 2
		}, Verdict{Acknowledged: 3, Drift: 4}},
		{"a sum that was not kept", 3, func(_ *Record, _ *Books, c *Counters) {
			sum := int64(1)
			c.RolledUp = &sum
		}, Verdict{Acknowledged: 3, Drift: 2}},
		{"walked off", 3, func(r *Record, _ *Books, _ *Counters) {
			r.Orders["gone"] = &Order{User: "x", Open: true}
		}, Verdict{Acknowledged: 3, Open: 1}},
	} {
		r, b, counters := agreed(3)
		c.change(r, b, counters)
		if got := Judge(r, b, counters, c.budget, 1); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.what, got, c.want)
		}
	}
}

func TestRefusedInVain(t *testing.T) {
	for _, c := range []struct {
		what   string
		budget int64
		change func(r *Record, b *Books)
		want   int
	}{
		{"before the last unit was even asked for", 3, func(r *Record, _ *Books) { r.turnAway("x", "x", 1, 2, true) }, 1},
		{"while the last unit was asked for", 3, func(r *Record, _ *Books) { r.turnAway("x", "x", 1, 3, true) }, 0},
		{"five of them, and two units left over", 5, func(r *Record, _ *Books) {
			for i := range 5 {
				r.turnAway(fmt.Sprint("x", i), "x", 10, 11, true)
			}
		}, 2},
		{"after a unit came back", 3, func(r *Record, b *Books) {
			r.Refunds["k0"], b.Refunded["k0"] = 9*time.Second, 1
			r.turnAway("x", "x", 10, 11, true)
		}, 1},
		{"while a unit came back", 3, func(r *Record, b *Books) {
			r.Refunds["k0"], b.Refunded["k0"] = 9*time.Second, 1
			r.turnAway("x", "x", 8, 11, true)
		}, 0},
		{"after it was acknowledged", 3, func(r *Record, _ *Books) {
			r.Orders["k0"].Refusals = []Refusal{{9 * time.Second, 10 * time.Second, true}, {10 * time.Second, 11 * time.Second, true}}
		}, 1},
		{"at one of two clicks, of which the other came just in time", 3, func(r *Record, _ *Books) {
			r.Orders["k2"].Refusals = []Refusal{{3 * time.Second, 4 * time.Second, true}}
		}, 0},
		{"a user who has one", 9, func(r *Record, _ *Books) { r.turnAway("x", "u0", 8, 9, false) }, 0},
		{"a user who has none", 9, func(r *Record, _ *Books) { r.turnAway("x", "x", 8, 9, false) }, 1},
	} {
		r, b, counters := agreed(3)
		c.change(r, b)
		if got := Judge(r, b, counters, c.budget, 1).Refused; got != c.want {
			t.Errorf("refused %s: %d, want %d", c.what, got, c.want)
		}
	}
}
