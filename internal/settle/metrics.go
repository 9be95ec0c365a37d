package settle

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	size     prometheus.Histogram
	seconds  prometheus.Histogram
	failed   prometheus.Counter
	repeated prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		size: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tranche_batch_entries", Help: "Wanted entries per settle transaction.",
			Buckets: prometheus.ExponentialBuckets(1, 2, 10),
		}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tranche_batch_seconds", Help: "Duration of a settle transaction, its retries included.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		failed: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_batches_failed_total", Help: "Settle transactions that did not commit, or not for certain.",
		}),
		repeated: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_batches_repeated_total", Help: "Attempts at a batch after its first, because that one's outcome was unknown or what it books was acknowledged already.",
		}),
	}
	reg.MustRegister(m.size, m.seconds, m.failed, m.repeated)
	return m
}

func (m *metrics) observe(entries int, took time.Duration, err error) {
	m.size.Observe(float64(entries))
	m.seconds.Observe(took.Seconds())
	if err != nil {
		m.failed.Inc()
	}
}
