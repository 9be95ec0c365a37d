package lease

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	held    prometheus.Gauge
	grants  *grantMetrics
	closed  *prometheus.CounterVec
	renewed prometheus.Counter
	lost    prometheus.Counter
}

// grantMetrics counts grants by what came of them.
type grantMetrics struct{ granted, empty, failed, units prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	grants := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tranche_grants_total", Help: "Requests for leases, by result.",
	}, []string{"result"})
	m := &metrics{
		held: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_leases_held", Help: "Leases this node has not given back.",
		}),
		grants: &grantMetrics{
			granted: grants.WithLabelValues("granted"), empty: grants.WithLabelValues("empty"), failed: grants.WithLabelValues("failed"),
			units: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "tranche_granted_units_total", Help: "Units this node has leased from budgets.",
			}),
		},
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tranche_leases_closed_total", Help: "Leases this node has closed, by the state they ended in.",
		}, []string{"state"}),
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_renewed_total", Help: "Renewals of leases.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_lost_total", Help: "Leases that somebody else had closed.",
		}),
	}
	reg.MustRegister(m.held, grants, m.grants.units, m.closed, m.renewed, m.lost)
	return m
}
