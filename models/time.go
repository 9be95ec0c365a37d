package models

import (
	"math"
	"time"
)

// Micros is an instant by the database's clock: microseconds since 1970-01-01T00:00:00Z.
//
// Instants that several nodes compare are kept as integers because the three databases disagree about everything else:
// the precision and text form of a timestamp, the session's time zone, and what a driver makes of them.
// An integer is compared, added to and stored the same way everywhere.
type Micros int64

// MicrosOf rounds t down to a microsecond.
func MicrosOf(t time.Time) Micros { return Micros(t.UnixMicro()) }

// Time gives m in UTC.
func (m Micros) Time() time.Time { return time.UnixMicro(int64(m)).UTC() }

// Add gives the instant d later.
func (m Micros) Add(d time.Duration) Micros { return m + Micros(d/time.Microsecond) }

// Sub gives the time from o to m, or the longest Duration, 292 years, where it is longer.
func (m Micros) Sub(o Micros) time.Duration {
	const longest = Micros(math.MaxInt64 / int64(time.Microsecond))
	return time.Duration(min(max(m-o, -longest), longest)) * time.Microsecond
}
