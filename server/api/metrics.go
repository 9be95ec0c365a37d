package api

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics of the HTTP edge. Labels are route patterns, never paths.
type metrics struct {
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

// unmatched is the one label of all paths and methods that are not in the route table.
const unmatched = "unmatched"

func newMetrics(registry prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "tranche_http_request_duration_seconds",
			Help:    "Time from a request's arrival to the last byte of its answer.",
			Buckets: []float64{.0005, .001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5},
		}, []string{"method", "route", "class"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "tranche_http_requests_in_flight",
			Help: "Requests that have arrived and are not answered yet.",
		}),
	}
	for _, c := range []prometheus.Collector{m.duration, m.inFlight} {
		if err := registry.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// routeMetrics are the histograms of one route by the first digit of the status. Each is looked up once, when it is first needed:
// most routes never see most classes, and a histogram is many lines to scrape.
type routeMetrics struct {
	duration *prometheus.HistogramVec
	method   string
	route    string
	classes  [6]atomic.Pointer[prometheus.Observer] // stored by whoever comes first; a second one stores the same
}

func (m *metrics) of(r *route) *routeMetrics {
	method := r.method
	if method == "" {
		method = unmatched // clients can make up methods
	}
	return &routeMetrics{duration: m.duration, method: method, route: r.pattern()}
}

func (m *routeMetrics) observe(status int, took time.Duration) {
	digit := min(status/100, len(m.classes)-1)
	class := m.classes[digit].Load()
	if class == nil {
		observer := m.duration.WithLabelValues(m.method, m.route, strconv.Itoa(digit)+"xx")
		class = &observer
		m.classes[digit].Store(class)
	}
	(*class).Observe(took.Seconds())
}

// pattern is what log and metrics call the route.
func (r *route) pattern() string {
	if r.path == "" {
		return unmatched
	}
	return r.path
}

func scrapeHandler(gatherer prometheus.Gatherer) http.Handler {
	return promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{})
}
