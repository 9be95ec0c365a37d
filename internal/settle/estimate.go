package settle

import "time"

// Pace is about how many transactions a second a node settles the entries of one offer in, when rate of them come in and a commit
// takes commit. acknowledged: they gather first. An entry that finds none pending opens a batch; all others share one.
func Pace(rate float64, acknowledged bool, commit time.Duration) float64 {
	window := commit
	if acknowledged {
		window += gatherFor
	}
	return max(rate/(1+rate*window.Seconds()), rate/maxBatchEntries)
}

// Delay is the longest that an entry is pending while settling keeps up: it gathers, waits for the batch before its own, and for that.
func Delay(acknowledged bool, commit time.Duration) time.Duration {
	if acknowledged {
		return gatherFor + 2*commit
	}
	return 2 * commit
}
