package node

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/models"
	"tranche/server/api"
)

// The parts of a node that may be degraded.
const (
	partLedger      = "ledger"
	partConnections = "connections"
	partJournal     = "journal"
)

// reviewEvery is how often a node looks at its parts, for log and metrics, when nobody asks whether it is ready.
const reviewEvery = time.Second

// Ready says whether the node should get requests. A ledger that is away is away for all nodes, so it alone is no reason to say no.
func (n *Node) Ready() api.Readiness {
	switch n.state.Load() {
	case starting:
		return api.Readiness{Detail: n.startingOn()}
	case draining:
		return api.Readiness{Detail: "draining"}
	}
	troubles := n.troubles()
	r := api.Readiness{Ready: troubles[partLedger] == "" || troubles[partJournal] == "", Detail: "serving", Degraded: n.degraded.review(troubles)}
	if len(r.Degraded) > 0 {
		r.Detail = r.Degraded[0].Detail
	}
	return r
}

// troubles says what is wrong, by part.
func (n *Node) troubles() map[string]string {
	t := map[string]string{partJournal: condition(n.journal)}
	denied := n.store.Denied()
	switch away := n.health.Away(); {
	case denied != "":
		t[partLedger] = denied
	case away && n.keeper.HasUnits():
		t[partLedger] = "the ledger is away; leases are held"
	case away:
		t[partLedger] = "the ledger is away, and no leases are held"
	}
	if why := n.health.Crowded(); why != "" {
		t[partConnections] = "the database has no more connections for this node, " + why
	}
	return t
}

// startingOn says what the start waits for. Anybody may ask, so it names no user and no host.
func (n *Node) startingOn() string {
	if records, _ := n.journal.Backlog(); records > 0 {
		return fmt.Sprintf("starting: %d records of the journal are to be settled", records)
	}
	if denied := n.store.Denied(); denied != "" {
		return "starting: " + denied
	}
	if why := n.health.Crowded(); why != "" {
		return "starting: the database has no connection for this node, " + why
	}
	if waits := n.waitsFor.Load(); waits != nil {
		return "starting: " + *waits
	}
	return "starting: the database has not answered yet"
}

// degraded is the parts of a node that are in trouble, and since when. It logs when that begins and ends.
type degraded struct {
	now   func() time.Time
	log   zerolog.Logger
	gauge *prometheus.GaugeVec

	mu    sync.Mutex
	parts []api.Degraded // in the order in which their troubles began
}

func newDegraded(now func() time.Time, log zerolog.Logger, registry *prometheus.Registry) *degraded {
	d := &degraded{now: now, log: log, gauge: prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "tranche_degraded", Help: "Whether a part of the node does not serve as usual: 1, else 0.",
	}, []string{"part"})}
	registry.MustRegister(d.gauge)
	for _, part := range []string{partLedger, partConnections, partJournal} {
		d.gauge.WithLabelValues(part)
	}
	return d
}

// review takes in what is wrong by now, an empty text being nothing.
func (d *degraded) review(troubles map[string]string) []api.Degraded {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.parts = slices.DeleteFunc(d.parts, func(p api.Degraded) bool {
		well := troubles[p.Part] == ""
		if well {
			d.gauge.WithLabelValues(p.Part).Set(0)
			d.log.Info().Str("part", p.Part).Time("since", p.Since.Time()).Msg("no longer degraded")
		}
		return well
	})
	for _, part := range []string{partLedger, partConnections, partJournal} {
		detail := troubles[part]
		i := slices.IndexFunc(d.parts, func(p api.Degraded) bool { return p.Part == part })
		switch {
		case i >= 0:
			d.parts[i].Detail = detail
		case detail != "":
			d.parts = append(d.parts, api.Degraded{Part: part, Since: models.MicrosOf(d.now()), Detail: detail})
			d.gauge.WithLabelValues(part).Set(1)
			d.log.Warn().Str("part", part).Str("detail", detail).Msg("degraded")
		}
	}
	return slices.Clone(d.parts)
}
