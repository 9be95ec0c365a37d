package node

import (
	"net/http"
	"sync"
)

// handlers counts the requests that are being handled. http.Server.Close doesn't wait for them, and the parts below must not
// be stopped under one.
type handlers struct {
	mu      sync.Mutex
	running int
	idle    chan struct{} // made by shut, closed when none is running
}

// counted is a handler that is counted.
func (h *handlers) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !h.enter() {
			w.WriteHeader(http.StatusServiceUnavailable) // on a connection that is closed already
			return
		}
		defer h.leave()
		next.ServeHTTP(w, r)
	})
}

func (h *handlers) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.idle != nil {
		return false
	}
	h.running++
	return true
}

func (h *handlers) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.running--
	if h.idle != nil && h.running == 0 {
		close(h.idle)
	}
}

// shut lets no further request in, and gives what is closed when the last one has been handled. It is called once.
func (h *handlers) shut() <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.idle = make(chan struct{})
	if h.running == 0 {
		close(h.idle)
	}
	return h.idle
}
