package settle

import "time"

// Pace is about how many transactions a second a node settles the entries of one offer in, when rate of them come in, over so many
// lanes, and a commit takes commit. acknowledged: they gather first.
//
// An entry opens a batch if it finds a lane with nothing pending, and shares one if there is none: as calls find lines free or busy.
// So the part that shares is Erlang's.
func Pace(rate float64, lanes int, acknowledged bool, commit time.Duration) float64 {
	window := commit
	if acknowledged {
		window += gatherFor
	}
	load, sharing := rate*window.Seconds(), 1.0
	for lane := range lanes {
		sharing = load * sharing / (float64(lane+1) + load*sharing)
	}
	return max(rate*(1-sharing), rate/maxBatchEntries)
}

// Delay is the longest that an entry is pending while settling keeps up: it gathers, waits for the batch before its own, and for that.
func Delay(acknowledged bool, commit time.Duration) time.Duration {
	if acknowledged {
		return gatherFor + 2*commit
	}
	return 2 * commit
}
