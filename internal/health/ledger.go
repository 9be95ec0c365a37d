// Package health keeps what a node knows of how its ledger serves: the one answer for the reaper, the sweeper, requests and readiness.
//
// A ledger serves while it answers and takes writes. It doesn't while the store's breaker is open, and from then until a look has been
// answered: the breaker half-opens to try. It doesn't either when no heartbeat of this node was committed for [heartbeatLasts]. A
// database that is locked for a backup, or has become a copy, answers all questions; yet no owner can renew a lease, and no shop can
// confirm a hold.
//
// A ledger is away when requests must do without it: the breaker is open, or an answer has been owed to this node for [silent] while no
// call was answered, or two heartbeats in a row failed. A slow call beside others that are answered makes no ledger away, nor does one
// lost connection.
//
// While the ledger did not serve, leases and holds ran out that nobody could renew or confirm. So their owners get a chance first: for as
// long as the ledger was away, at most [chance], nothing is reclaimed or expired. An outage adds no more than its own length, so
// leases and holds do not live for ever. A start counts as an outage, and so does a time in which the process was stopped.
package health

import (
	"sync"
	"time"

	"tranche/models"
)

const (
	// chance is the most that owners and shops get: owners ask for renewals five times a second, shops retry.
	chance = 5 * time.Second
	// silence is how long ago the latest answer may be. Looks come twice a second; the shortest grace of a lease is as long.
	silence = 2 * time.Second
	// heartbeatLasts is for how long a heartbeat says that the ledger takes writes: the time of two. The next one may be slow.
	heartbeatLasts = 2 * models.NodeSilence / 3
	// silent is for how long a ledger that is there may leave all calls of this node without an answer.
	silent = 500 * time.Millisecond
	// fullLasts is for how long a database that had no connection to give counts as crowded. Nodes ask for new ones every few seconds.
	fullLasts = 10 * time.Second
	// beatsMissed is how many heartbeats in a row fail when the ledger takes no writes. One alone may have lost its connection.
	beatsMissed = 2
)

// Ledger tells how the ledger serves. It is safe for concurrent use.
type Ledger struct {
	now       func() time.Time // with a monotonic reading
	available func() bool      // false while the store's breaker is open

	mu        sync.Mutex
	lost      bool      // a look has failed with the breaker open, and none was answered since
	answered  time.Time // when the latest look was answered
	heartbeat time.Time // when the latest heartbeat began that was committed
	missed    int       // heartbeats that failed since
	resume    time.Time // until then owners and shops have their chance
	calls     int       // that wait for their answer
	owed      time.Time // since when an answer is owed, and none has come; zero: none is owed
	full      string    // why the database had no connection to give
	fullAt    time.Time // when it said so the last time
}

// NewLedger knows of no answer and no heartbeat yet: the ledger doesn't serve.
func NewLedger(now func() time.Time, available func() bool) *Ledger {
	return &Ledger{now: now, available: available}
}

// Asked notes that a call is sent to the ledger. Ended is to follow it.
func (l *Ledger) Asked() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls++
	if l.owed.IsZero() {
		l.owed = l.now()
	}
}

// Ended notes that a call has ended, and whether the ledger has answered it. An answer stays owed when its caller gives up.
func (l *Ledger) Ended(answered bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls--
	switch {
	case answered && l.calls > 0:
		l.owed = l.now()
	case answered:
		l.owed = time.Time{}
	}
}

// Full notes that the database had no connection to give, and why.
func (l *Ledger) Full(why string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.full, l.fullAt = why, l.now()
}

// Crowded says why the database had no connection to give of late; empty: it had.
func (l *Ledger) Crowded() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.now().Sub(l.fullAt) > fullLasts {
		return ""
	}
	return l.full
}

// Looked notes what became of a question that the ledger was asked at a time.
func (l *Ledger) Looked(asked time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err == nil:
		l.back(asked.Sub(l.answered), silence)
		l.lost, l.answered = false, l.now()
	case !l.available():
		l.lost = true
	}
}

// Heartbeat sends a heartbeat and notes whether it was committed.
func (l *Ledger) Heartbeat(send func() error) error {
	began := l.now()
	err := send()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.missed++
		l.wait(silence)
		return err
	}
	l.back(began.Sub(l.heartbeat), heartbeatLasts)
	l.heartbeat, l.missed = began, 0
	return nil
}

// InVain notes that the ledger did not take a write, though it may answer: until now no owner could renew, and no shop confirm.
func (l *Ledger) InVain() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wait(silence)
}

// wait gives owners and shops so much time from now on, at least.
func (l *Ledger) wait(d time.Duration) {
	if until := l.now().Add(d); until.After(l.resume) {
		l.resume = until
	}
}

// back gives owners and shops their chance if the ledger was away for longer than usual.
func (l *Ledger) back(away, usual time.Duration) {
	if away > usual {
		l.wait(min(away, chance))
	}
}

// Serves reports whether the ledger answers and takes writes.
func (l *Ledger) Serves() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost && l.available() && l.now().Sub(l.heartbeat) <= heartbeatLasts
}

// Away reports whether requests must do without the ledger. Before the first heartbeat they must.
func (l *Ledger) Away() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	switch {
	case l.lost, !l.available():
		return true
	case l.missed >= beatsMissed, now.Sub(l.heartbeat) > models.NodeSilence:
		return true
	default:
		return !l.owed.IsZero() && now.Sub(l.owed) >= silent
	}
}

// Recovered reports whether the ledger serves, and owners and shops had their chance since it last did not.
func (l *Ledger) Recovered() bool {
	if !l.Serves() {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.now().Before(l.resume)
}
