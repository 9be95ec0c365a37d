package stats

import (
	"math"
	"testing"
	"time"
)

func TestSummarize(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Summary
	}{
		{[]float64{7}, Summary{7, 7, 7}},
		{[]float64{9, 1, 4}, Summary{4, 1, 9}},
		{[]float64{8, 2, 4, 6}, Summary{5, 2, 8}},
	} {
		if got := Summarize(c.values); got != c.want {
			t.Errorf("%v: %v, want %v", c.values, got, c.want)
		}
	}
	if got := Summarize(nil); !math.IsNaN(got.Median) {
		t.Errorf("of nothing: %v", got)
	}
	values := []float64{3, 1, 2}
	Summarize(values)
	if values[0] != 3 {
		t.Error("the values were sorted in place")
	}
}

func TestPercentile(t *testing.T) {
	thousand := make([]time.Duration, 1000)
	for i := range thousand {
		thousand[i] = time.Duration(i + 1)
	}
	for p, want := range map[float64]time.Duration{0: 1, 50: 500, 90: 900, 99: 990, 99.9: 999, 99.95: 1000, 100: 1000} {
		if got := Percentile(thousand, p); got != want {
			t.Errorf("%v%% of 1..1000 is %d, want %d", p, got, want)
		}
	}
	if got := Percentile([]time.Duration{5}, 99.9); got != 5 {
		t.Errorf("of one value: %d", got)
	}
	if got := Percentile([]time.Duration{1, 9}, 51); got != 9 {
		t.Errorf("above the middle of two: %d", got)
	}
}
