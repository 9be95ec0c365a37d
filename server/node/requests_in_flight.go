package node

import (
	"net/http"
	"sync"
)

// requestsInFlight counts the requests that are being handled. http.Server.Close doesn't wait for them, and the parts below must not
// be stopped under one.
type requestsInFlight struct {
	mu      sync.Mutex
	running int
	idle    chan struct{} // made by shut, closed when none is running
}

// counted is a handler that is counted.
func (f *requestsInFlight) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !f.enter() {
			w.WriteHeader(http.StatusServiceUnavailable) // on a connection that is closed already
			return
		}
		defer f.leave()
		next.ServeHTTP(w, r)
	})
}

func (f *requestsInFlight) enter() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.idle != nil {
		return false
	}
	f.running++
	return true
}

func (f *requestsInFlight) leave() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running--
	if f.idle != nil && f.running == 0 {
		close(f.idle)
	}
}

// shut lets no further request in, and gives what is closed when the last one has been handled. It is called once.
func (f *requestsInFlight) shut() <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.idle = make(chan struct{})
	if f.running == 0 {
		close(f.idle)
	}
	return f.idle
}
