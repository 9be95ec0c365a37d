package journal

import "github.com/prometheus/client_golang/prometheus"

// The values of the state gauge.
const (
	stateOK      = 0
	stateNoSpace = 1
	stateFailed  = 2
)

type metrics struct {
	records        prometheus.Counter
	groups         prometheus.Counter
	syncSeconds    prometheus.Histogram
	backlogRecords prometheus.Gauge
	backlogBytes   prometheus.Gauge
	state          prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		records: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_journal_records_total", Help: "Records made durable in the journal.",
		}),
		groups: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "tranche_journal_groups_total", Help: "Groups of records that shared one fsync.",
		}),
		syncSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tranche_journal_fsync_seconds", Help: "Duration of a group's fsync.",
			Buckets: prometheus.ExponentialBuckets(0.00005, 2, 16),
		}),
		backlogRecords: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_journal_backlog_records", Help: "Records that are not settled yet.",
		}),
		backlogBytes: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_journal_backlog_bytes", Help: "Bytes of the segments that are kept.",
		}),
		state: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_journal_state", Help: "0: appends go on. 1: no space for another segment. 2: failed, until it is opened anew.",
		}),
	}
	if reg != nil {
		reg.MustRegister(m.records, m.groups, m.syncSeconds, m.backlogRecords, m.backlogBytes, m.state)
	}
	return m
}
