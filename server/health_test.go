package main

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// The image has no shell and no curl, so the program asks itself.
func TestD4TheHealthCommandAsksForLiveness(t *testing.T) {
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("asked for %s: an outage of the database must not have nodes replaced", r.URL.Path)
		}
		w.WriteHeader(status)
	}))
	address := strings.TrimPrefix(server.URL, "http://")
	_, port, _ := strings.Cut(address, ":")
	for _, listen := range []string{address, "0.0.0.0:" + port, ":" + port, "[::]:" + port} {
		if _, err := run(t, "health", "--listen", listen); err != nil {
			t.Errorf("a node that listens on %s: %v", listen, err)
		}
	}
	status = http.StatusServiceUnavailable
	if _, err := run(t, "health", "--listen", address); err == nil {
		t.Error("503 is taken for health")
	}
	server.Close()
	if _, err := run(t, "health", "--listen", address); err == nil {
		t.Error("nobody answers, and that is taken for health")
	}
}
