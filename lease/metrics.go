package lease

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	leases   prometheus.Gauge
	grants   grantMetrics
	returned prometheus.Counter
	renewed  prometheus.Counter
	lost     prometheus.Counter
	recalls  prometheus.Counter
	recalled prometheus.Counter
}

// grantMetrics counts grants by what came of them.
type grantMetrics struct{ granted, empty, failed, units prometheus.Counter }

func newMetrics(reg prometheus.Registerer) *metrics {
	grants := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "tranche_grants_total", Help: "Requests for leases, by result.",
	}, []string{"result"})
	m := &metrics{
		leases: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_leases_held", Help: "Leases this node has not given back.",
		}),
		grants: grantMetrics{
			granted: grants.WithLabelValues("granted"), empty: grants.WithLabelValues("empty"), failed: grants.WithLabelValues("failed"),
			units: prometheus.NewCounter(prometheus.CounterOpts{
				Name: "tranche_granted_units_total", Help: "Units this node has leased from budgets.",
			}),
		},
		returned: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_returned_total", Help: "Leases that this node has given back.",
		}),
		renewed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_renewed_total", Help: "Renewals of leases.",
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_lost_total", Help: "Leases that somebody else had closed.",
		}),
		recalls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_recalls_total", Help: "Times that this node called an offer's leases back.",
		}),
		recalled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_leases_recalled_total", Help: "Leases of this node that were called back.",
		}),
	}
	reg.MustRegister(m.leases, grants, m.grants.units, m.returned, m.renewed, m.lost, m.recalls, m.recalled)
	return m
}

// granted counts one answered grant.
func (m *metrics) granted(units int64) {
	if units == 0 {
		m.grants.empty.Inc()
		return
	}
	m.grants.granted.Inc()
	m.grants.units.Add(float64(units))
}
