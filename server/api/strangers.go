package api

import (
	"sync"
	"time"
)

// strangers bounds the log lines of clients that show no key: one a minute for each kind, which says how many were left out before it. The
// zero value is ready. It is safe for concurrent use.
type strangers struct {
	mu   sync.Mutex
	last map[strangerKind]*strangerLine
}

// strangerKind is how a request was answered. There are few of them.
type strangerKind struct {
	status  int
	problem string
}

type strangerLine struct {
	at      time.Time
	leftOut int64 // since then
}

const strangersEvery = time.Minute

// logs reports whether a request that ends now is to be logged, and how many like it were left out before it.
func (s *strangers) logs(kind strangerKind, now time.Time) (leftOut int64, yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil {
		s.last = map[strangerKind]*strangerLine{}
	}
	line, known := s.last[kind]
	if known && now.Sub(line.at) < strangersEvery {
		line.leftOut++
		return 0, false
	}
	s.last[kind] = &strangerLine{at: now}
	if !known {
		return 0, true
	}
	return line.leftOut, true
}
