package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/sony/gobreaker/v2"

	"tranche/models"
)

const (
	readTimeout  = 2 * time.Second
	writeTimeout = 4500 * time.Millisecond // two lock waits fit in, and a request's 5 s don't pass

	maxLists = 256 // that run or wait for their turn

	tripAfter   = 3 // failures in a row; each may have waited for its whole deadline
	openTimeout = 500 * time.Millisecond
)

// call is the way to the database for all but lists: breaker, deadline, classification, metrics. Its errors are those of package models,
// or an internal fault.
func (s *Store) call(ctx context.Context, name string, timeout time.Duration, work func(context.Context) error) error {
	return s.measure(name, func() error {
		_, err := s.breaker.Execute(func() (struct{}, error) {
			return struct{}{}, s.ask(ctx, timeout, work)
		})
		s.logTransitions(err)
		if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
			err = fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, err)
		}
		return err
	})
}

// list runs queries that may read much, on connections of their own, and waits for its turn there. They say nothing about how the
// database serves requests: the breaker and Health don't hear of them.
func (s *Store) list(ctx context.Context, name string, work func(*query) error) error {
	return s.measure(name, func() error {
		defer s.listing.Add(-1)
		switch {
		case s.listing.Add(1) > maxLists:
			return outcome(errCrowded)
		case s.breaker.State() != gobreaker.StateClosed: // a list is no trial of a database that may still be away: it would hang
			return fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, gobreaker.ErrOpenState)
		default:
			return judge(ctx, s.onConn(ctx, s.lists, work))
		}
	})
}

// measure counts a call and how long it took, and names it in its error.
func (s *Store) measure(name string, call func() error) error {
	m := s.metrics.calls[name]
	timer := prometheus.NewTimer(m.duration)
	err := call()
	s.denials.note(name, err)
	timer.ObserveDuration()
	m.count(err)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// ask sends a call to the database, and tells Health.
func (s *Store) ask(ctx context.Context, timeout time.Duration, work func(context.Context) error) (err error) {
	answered := false
	s.health.Asked()
	defer func() { s.health.Ended(answered) }() // also when work panics
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	err = judge(ctx, s.dialect.explain(work(bounded)))
	answered = isAnswer(err)
	return err
}

// errCallerGone marks an error that came of the caller's own cancellation or deadline: it says nothing about the database.
var errCallerGone = errors.New("the caller gave up")

// judge turns the error of a call into the caller's terms.
func judge(caller context.Context, err error) error {
	if err == nil {
		return nil
	}
	k := classify(err)
	if (k == away || k == unknown) && caller.Err() != nil {
		err = fmt.Errorf("%w: %w", errCallerGone, err)
	}
	return outcome(err)
}

// outcome wraps an error in the condition that callers know it by. Other errors stay as they are.
func outcome(err error) error {
	switch classify(err) {
	case away, badConn:
		return fmt.Errorf("%w: %w", models.ErrLedgerUnavailable, err)
	case conflict, lockWaited:
		return fmt.Errorf("%w: %w", models.ErrBusy, err)
	case crowded:
		return fmt.Errorf("%w: %w", models.ErrOverloaded, err)
	default:
		return err
	}
}

// A transition is a change of the breaker's state.
type transition struct{ from, to gobreaker.State }

// newBreaker counts only a database that is away: a refusal, a duplicate or a lock is an answer, and an answer is a sign of life.
func newBreaker(transitions chan<- transition, m *metrics) *gobreaker.CircuitBreaker[struct{}] {
	return gobreaker.NewCircuitBreaker[struct{}](gobreaker.Settings{
		Name:         "ledger",
		Timeout:      openTimeout,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= tripAfter },
		IsExcluded:   func(err error) bool { return errors.Is(err, errCallerGone) || errors.Is(err, models.ErrOverloaded) },
		IsSuccessful: isAnswer,
		OnStateChange: func(_ string, from, to gobreaker.State) {
			m.breaker.Set(float64(to))
			select { // under the breaker's mutex: never wait here, least of all for a log
			case transitions <- transition{from, to}:
			default:
			}
		},
	})
}

// isAnswer reports whether the database has answered a call. One that found no free connection was never sent.
func isAnswer(err error) bool {
	return !errors.Is(err, models.ErrLedgerUnavailable) && !errors.Is(err, models.ErrOutcomeUnknown) && !errors.Is(err, models.ErrOverloaded)
}

// logTransitions writes what the breaker did lately, with the error of the call that made it trip.
func (s *Store) logTransitions(cause error) {
	for {
		select {
		case t := <-s.transitions:
			event := s.log.Warn().Stringer("from", t.from).Stringer("to", t.to)
			if t.to == gobreaker.StateOpen {
				event = event.Err(cause)
			}
			event.Msg("ledger breaker")
		default:
			return
		}
	}
}

// The names of the calls, which are their metric labels.
var callNames = [...]string{
	"LedgerID", "RegisterNode", "Heartbeat", "SignOff", "Nodes",
	"CreateOffer", "Offer", "LockedOffer", "Offers", "ChangeOffer", "SyncOffers",
	"Grant", "OpenPool", "Renew", "CloseLease", "ReturnLeases", "ExpiringLeases", "ExpiredHolds", "LeasesOfNode", "Leases", "ActiveLeases",
	"LeaseStates", "MayOwe", "TakeOver", "Acquit", "AcquitDue", "Recall", "Audits",
	"Settle", "Locked", "SettleCart", "Cart", "Histories", "Refunds", "Redemptions", "Entries", "PlaceEntries", "FillFeed", "Feed", "Exceptions", "Usage", "Balance", "Ping",
}

// metrics of one store. Children are resolved once, at Open: each look-up costs more than the increment.
type metrics struct {
	calls   map[string]*callMetrics
	breaker prometheus.Gauge
	retries prometheus.Counter
}

type callMetrics struct {
	duration                                        prometheus.Observer
	ok, refused, busy, unavailable, unknown, failed prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, s *Store) (*metrics, error) {
	durations := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "tranche_store_call_duration_seconds",
		Help:    "How long calls to the ledger took, retries included.",
		Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
	}, []string{"call"})
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tranche_store_calls_total",
		Help: "Calls to the ledger by what came of them.",
	}, []string{"call", "outcome"})
	m := &metrics{
		calls: make(map[string]*callMetrics, len(callNames)),
		breaker: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_store_breaker_state",
			Help: "The ledger's circuit breaker: 0 closed, 1 half-open, 2 open.",
		}),
		retries: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_store_retries_total",
			Help: "Transactions that were run again after a deadlock, a collision, a lock wait or a lost reply.",
		}),
	}
	pools := []prometheus.Collector{
		collectors.NewDBStatsCollector(s.writes.DB, "writes"), collectors.NewDBStatsCollector(s.reads.DB, "reads"), collectors.NewDBStatsCollector(s.lists.DB, "lists"),
	}
	for _, c := range append(pools, durations, outcomes, m.breaker, m.retries) {
		if err := registerer.Register(c); err != nil {
			return nil, err
		}
	}
	for _, name := range callNames {
		m.calls[name] = &callMetrics{
			duration: durations.WithLabelValues(name),
			ok:       outcomes.WithLabelValues(name, "ok"), refused: outcomes.WithLabelValues(name, "refused"),
			busy: outcomes.WithLabelValues(name, "busy"), unavailable: outcomes.WithLabelValues(name, "unavailable"),
			unknown: outcomes.WithLabelValues(name, "unknown"), failed: outcomes.WithLabelValues(name, "failed"),
		}
	}
	return m, nil
}

func (m *callMetrics) count(err error) {
	switch {
	case err == nil:
		m.ok.Inc()
	case errors.Is(err, models.ErrOutcomeUnknown):
		m.unknown.Inc()
	case errors.Is(err, models.ErrLedgerUnavailable):
		m.unavailable.Inc()
	case errors.Is(err, models.ErrBusy), errors.Is(err, models.ErrOverloaded):
		m.busy.Inc()
	case classify(err) == refusal:
		m.refused.Inc()
	default:
		m.failed.Inc()
	}
}
