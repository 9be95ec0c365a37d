package api

import "net/http"

// health answers as long as the process does.
func (s *server) health(*exchange) (reply, error) {
	return reply{body: healthJSON{Status: "ok"}}, nil
}

// readiness tells a load balancer whether to send requests here. Not being ready is an answer, not a problem.
func (s *server) readiness(*exchange) (reply, error) {
	ready, detail := s.Ready()
	r := reply{body: readinessJSON{Ready: ready, Detail: detail}}
	if !ready {
		r.status = http.StatusServiceUnavailable
	}
	return r, nil
}

func (s *server) showMetrics(*exchange) (reply, error) { return reply{stream: s.scrape}, nil }
