package api

import (
	"net/http"

	"tranche/internal/version"
)

// health answers as long as the process does.
func (s *server) health(*exchange) (reply, error) {
	return reply{body: healthJSON{Status: "ok", Version: version.Version}}, nil
}

// readiness tells a load balancer whether to send requests here. Not being ready is an answer, not a problem.
func (s *server) readiness(*exchange) (reply, error) {
	now := s.Ready()
	body := readinessJSON{Ready: now.Ready, Detail: now.Detail, Degraded: make([]degradedJSON, len(now.Degraded))}
	for i, d := range now.Degraded {
		body.Degraded[i] = degradedJSON{Part: d.Part, Since: instantJSON(d.Since), Detail: d.Detail}
	}
	r := reply{body: body}
	if !now.Ready {
		r.status = http.StatusServiceUnavailable
	}
	return r, nil
}

func (s *server) showMetrics(*exchange) (reply, error) { return reply{stream: s.scrape}, nil }
