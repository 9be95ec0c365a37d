package api

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	fieldTimeout = "Request-Timeout"
	// The answer needs a little of the client's time for its way: a tenth, at most wayBack.
	wayBack = 20 * time.Millisecond
	// maxTimeoutBytes is more than anybody needs to say how long they wait.
	maxTimeoutBytes = 20
)

// patience is how long a request may take: as long as its client waits, and never longer than the server's own time. The fault is
// for a client whose header says nothing.
func (s *server) patience(h http.Header) (time.Duration, error) {
	values := h[fieldTimeout]
	if len(values) == 0 {
		return s.config.RequestTimeout, nil
	}
	var f faults
	seconds, ok := decimal(values[0])
	switch {
	case len(values) > 1:
		f.add(fieldTimeout, ruleRepeated, "may be given once")
	case !ok:
		f.add(fieldTimeout, ruleFormat, "seconds, as 2 or 0.2, up to %d characters", maxTimeoutBytes)
	case seconds <= 0:
		f.add(fieldTimeout, ruleRange, "more than 0 seconds")
	}
	if err := f.err(); err != nil {
		return s.config.RequestTimeout, err
	}
	waits := time.Duration(min(seconds, time.Hour.Seconds()) * float64(time.Second))
	return min(waits-min(waits/10, wayBack), s.config.RequestTimeout), nil
}

// decimal reads digits with at most one point among them.
func decimal(s string) (float64, bool) {
	whole, fraction, pointed := strings.Cut(s, ".")
	if len(s) > maxTimeoutBytes || whole == "" || pointed && fraction == "" || strings.Trim(whole+fraction, "0123456789") != "" {
		return 0, false
	}
	value, err := strconv.ParseFloat(s, 64)
	return value, err == nil
}
