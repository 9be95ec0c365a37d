// Package stats sums measurements up.
package stats

import (
	"math"
	"slices"
	"time"
)

// Summary is what several rounds come to. Medians, because on a shared machine one bad round must not decide; and the extremes, so that
// one sees whether it would have.
type Summary struct{ Median, Min, Max float64 }

// Summarize gives the summary of some values; of none, NaN.
func Summarize(values []float64) Summary {
	if len(values) == 0 {
		return Summary{math.NaN(), math.NaN(), math.NaN()}
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	median := sorted[middle]
	if len(sorted)%2 == 0 {
		median = (sorted[middle-1] + median) / 2
	}
	return Summary{median, sorted[0], sorted[len(sorted)-1]}
}

// Percentile gives the smallest value that at least p percent of the values do not exceed. sorted is in rising order and not empty.
func Percentile(sorted []time.Duration, p float64) time.Duration {
	// A hair is taken off so that 99.9 percent of 1000 are 999 and not, by the rounding of the product, 1000.
	rank := int(math.Ceil(p/100*float64(len(sorted)) - 1e-9))
	return sorted[min(max(rank, 1), len(sorted))-1]
}
