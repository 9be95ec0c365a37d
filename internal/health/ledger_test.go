package health

import (
	"errors"
	"testing"
	"time"

	"tranche/models"
)

// ledger is a Ledger whose clock and breaker a test sets.
type ledger struct {
	*Ledger
	t        *testing.T
	at       time.Time
	tripped  bool
	looks    bool // a look is answered twice a second
	writable bool // a heartbeat is committed every 5 s
}

// running gives a ledger that has served for a minute.
func running(t *testing.T) *ledger {
	l := &ledger{t: t, at: time.Now(), looks: true, writable: true}
	l.Ledger = NewLedger(func() time.Time { return l.at }, func() bool { return !l.tripped })
	l.beat(nil)
	l.pass(time.Minute)
	return l
}

// pass lets time pass, with looks and heartbeats as they come.
func (l *ledger) pass(d time.Duration) {
	const step = 500 * time.Millisecond
	for end := l.at.Add(d); l.at.Before(end); l.at = l.at.Add(step) {
		if l.looks {
			l.Looked(l.at, nil)
		} else {
			l.Looked(l.at, models.ErrLedgerUnavailable)
		}
		if l.writable && l.at.Sub(l.heartbeat) >= models.NodeSilence/3 {
			l.beat(nil)
		}
	}
}

// beat sends a heartbeat that ends with an error.
func (l *ledger) beat(err error) {
	if got := l.Heartbeat(func() error { return err }); !errors.Is(got, err) {
		l.t.Error(got)
	}
}

func (l *ledger) is(when string, serves, recovered bool) {
	l.t.Helper()
	if got := l.Serves(); got != serves {
		l.t.Errorf("%s, it serves: %v", when, got)
	}
	if got := l.Recovered(); got != recovered {
		l.t.Errorf("%s, owners had their chance: %v", when, got)
	}
}

func (l *ledger) away(when string, want bool) {
	l.t.Helper()
	if got := l.Away(); got != want {
		l.t.Errorf("%s, it is away: %v", when, got)
	}
}

func TestA6ALedgerThatAnswersNothingIsAway(t *testing.T) {
	l := running(t)
	l.Asked()
	l.at = l.at.Add(silent - 1)
	l.away("with a slow call", false)
	l.Ended(false)
	l.Asked()
	l.at = l.at.Add(1)
	l.away("after half a second", true)
	l.Ended(false)
	l.away("with nobody who waits", true)
	l.Asked()
	l.Ended(true)
	l.away("after an answer", false)
	l.at = l.at.Add(time.Second)
	l.away("with nothing to answer", false)
}

func TestA6ASlowCallBesideOthersIsNoOutage(t *testing.T) {
	l := running(t)
	l.Asked()
	for range 10 {
		l.Asked()
		l.at = l.at.Add(silent - 1)
		l.away("with answers to others", false)
		l.Ended(true)
	}
	l.at = l.at.Add(silent)
	l.away("half a second after the last answer", true)
	l.Ended(true)
	l.away("after the answer to the slow call", false)
}

func TestA6ALedgerThatTakesNoHeartbeatsIsAway(t *testing.T) {
	l := running(t)
	l.writable = false
	l.beat(models.ErrLedgerUnavailable)
	l.away("after one lost heartbeat", false)
	l.beat(models.ErrLedgerUnavailable)
	l.away("after two", true)
	l.pass(time.Second)
	l.away("though it answers", true)
	l.beat(nil)
	l.away("after a heartbeat", false)
}

func TestAtTheStartOwnersHaveAChance(t *testing.T) {
	l := &ledger{t: t, at: time.Now(), looks: true, writable: true}
	l.Ledger = NewLedger(func() time.Time { return l.at }, func() bool { return true })
	l.is("before anything", false, false)
	l.Looked(l.at, nil)
	l.is("before the first heartbeat", false, false)
	l.beat(nil)
	l.is("at once", true, false)
	l.pass(chance)
	l.is("after a chance", true, true)
}

func TestAnOpenBreakerIsAnOutageUntilALookIsAnswered(t *testing.T) {
	l := running(t)
	l.is("in good order", true, true)
	l.tripped, l.looks = true, false
	l.is("with an open breaker", false, false)
	l.pass(3 * time.Second)
	l.tripped = false
	l.is("with a breaker that tries", false, false)
	l.looks = true
	l.Looked(l.at, nil)
	l.is("after an answer", true, false)
	l.pass(3 * time.Second)
	l.is("within as long as it was away", true, false)
	l.pass(time.Second)
	l.is("after as long as it was away", true, true)
}

func TestWithoutHeartbeatsTheLedgerDoesNotServe(t *testing.T) {
	l := running(t)
	l.writable = false
	l.at = l.heartbeat.Add(heartbeatLasts)
	l.Looked(l.at, nil)
	l.is("in time for the next heartbeat", true, false) // no look was answered for long
	l.at = l.at.Add(1)
	l.is("without one", false, false)
	l.pass(time.Minute)
	l.beat(models.ErrEpochSuperseded)
	l.is("without one for long", false, false)
	l.beat(nil)
	l.is("after one", true, false)
	l.writable = true
	l.pass(chance)
	l.is("after a chance", true, true)
}

func TestSingleFailuresAreNoOutage(t *testing.T) {
	l := running(t)
	for range 100 {
		l.Looked(l.at, models.ErrLedgerUnavailable)
		l.pass(500 * time.Millisecond)
		l.is("with every other look in vain", true, true)
	}
}

// A time in which this process was stopped is one in which it saw no owner renew.
func TestAStoppedProcessCountsAsAnOutage(t *testing.T) {
	l := running(t)
	l.at = l.at.Add(time.Minute)
	l.beat(nil)
	l.is("on waking up", true, false)
	l.pass(chance)
	l.is("after a chance", true, true)
}

// An outage adds no more than its own length, however often it comes.
func TestShortOutagesGiveShortChances(t *testing.T) {
	l := running(t)
	for range 10 {
		l.looks = false
		l.pass(silence + 500*time.Millisecond)
		l.looks = true
		l.pass(chance - 500*time.Millisecond)
		l.is("before the next outage", true, true)
	}
}

func TestAFailedWriteGivesOwnersAMoment(t *testing.T) {
	l := running(t)
	l.InVain()
	l.is("after a write in vain", true, false)
	l.pass(silence)
	l.is("after a moment", true, true)
}

func TestAShortOutageDoesNotShortenAChance(t *testing.T) {
	l := running(t)
	l.at = l.at.Add(time.Minute)
	l.Looked(l.at, nil) // after a minute
	l.beat(nil)
	l.at = l.at.Add(silence + 1)
	l.Looked(l.at, nil)
	l.is("after a short outage", true, false)
	l.pass(chance - silence - 500*time.Millisecond)
	l.is("within the chance of the long one", true, false)
	l.pass(time.Second)
	l.is("after it", true, true)
}
