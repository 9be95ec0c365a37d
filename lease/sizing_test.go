package lease

import (
	"testing"

	"pgregory.net/rapid"
)

func TestSize(t *testing.T) {
	for _, c := range []struct {
		name        string
		unallocated int64
		nodes       int64
		a           Appetite
		want        int64
	}{
		{"plenty", 1_000_000, 3, Appetite{Want: 1000}, 1000},
		{"shrinks with the budget", 1200, 3, Appetite{Want: 1000}, 100},
		{"the last units go to those who wait", 10, 20, Appetite{Want: 1000, Waiting: []int64{1, 2}}, 3},
		{"and to nobody else", 10, 20, Appetite{Want: 1000}, 0},
		{"more than any block", 5000, 2, Appetite{Want: 1000, Waiting: []int64{4000}}, 4000},
		{"more than there is", 3, 1, Appetite{Want: 1000, Waiting: []int64{5}}, 0},
		{"who comes later and fits is served", 3, 1, Appetite{Want: 1000, Waiting: []int64{5, 2}}, 2},
		{"a block larger than the budget", 100, 1, Appetite{Want: 1000}, 25},
		{"sold out", 0, 1, Appetite{Want: 1000, Waiting: []int64{1}}, 0},
		{"while the budget is being lowered", -5, 1, Appetite{Want: 1000, Waiting: []int64{1}}, 0},
		{"no node seen yet", 1000, 0, Appetite{Want: 1000}, 250},
	} {
		if got := Size(c.unallocated, c.nodes, c.a); got != c.want {
			t.Errorf("%s: got %d, want %d", c.name, got, c.want)
		}
	}
}

// The tail begins where the first grant is cut down.
func TestTheTailIsWhereBlocksBeginToShrink(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes, want := rapid.Int64Range(0, 50).Draw(t, "nodes"), rapid.Int64Range(1, 10_000).Draw(t, "want")
		tail, a := Tail(nodes, want), Appetite{Want: want}
		if full, cut := Size(tail, nodes, a), Size(tail-1, nodes, a); full != want || cut >= want {
			t.Fatalf("of %d units it grants %d, of one less %d", tail, full, cut)
		}
	})
}

func TestWant(t *testing.T) {
	for _, c := range []struct {
		adaptive bool
		rate     float64
		size     int64
		want     int64
	}{
		{true, 0, 1000, 1}, {true, 0.01, 1000, 1}, {true, 20, 1000, 200}, {true, 1e9, 1000, 1000}, {false, 0, 1000, 1000},
	} {
		if got := Want(c.adaptive, c.rate, c.size); got != c.want {
			t.Errorf("Want(%v, %v, %d) = %d, want %d", c.adaptive, c.rate, c.size, got, c.want)
		}
	}
}

// Whatever is asked: never more than there is, and all who fit are served.
func TestSizeHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unallocated := rapid.Int64Range(-10, 100_000).Draw(t, "unallocated")
		a := Appetite{
			Waiting: rapid.SliceOfN(rapid.Int64Range(1, 5000), 0, 20).Draw(t, "waiting"),
			Want:    rapid.Int64Range(1, 10_000).Draw(t, "want"),
		}
		granted := Size(unallocated, rapid.Int64Range(0, 50).Draw(t, "nodes"), a)
		if granted < 0 || granted > max(0, unallocated) {
			t.Fatalf("granted %d of %d", granted, unallocated)
		}
		if waited := fit(a.Waiting, unallocated); granted < waited {
			t.Fatalf("%d do not hold the %d that are waited for", granted, waited)
		}
	})
}
