package trial

import (
	"sync"
	"time"
)

// Record is what customers saw. Times count from the trial's start.
type Record struct {
	mu      sync.Mutex
	sold    int                      // orders acknowledged
	Orders  map[string]*Order        // by key
	Refunds map[string]time.Duration // by the order's key: when the refund was acknowledged
	Odd     []string                 // answers that nobody expects
}

// Order is one key, however often it was sent.
type Order struct {
	User      string
	FirstSent time.Duration
	IDs       map[string]bool // acknowledged as
	Acked     time.Duration   // first
	Refusals  []Refusal
	Open      bool // never decided, or the customer walked off
}

// Refusal is an answer that is final.
type Refusal struct {
	Sent, Answered time.Duration
	SoldOut        bool // else the user's limit
}

func newRecord() *Record {
	return &Record{Orders: map[string]*Order{}, Refunds: map[string]time.Duration{}}
}

// sending notes that an order is about to be sent.
func (r *Record) sending(key, user string, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.Orders[key] == nil {
		r.Orders[key] = &Order{User: user, FirstSent: now, IDs: map[string]bool{}}
	}
}

func (r *Record) acknowledged(key, id string, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.Orders[key]
	if len(o.IDs) == 0 {
		r.sold++
		o.Acked = now
	}
	o.IDs[id] = true
}

func (r *Record) refused(key string, refusal Refusal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Orders[key].Refusals = append(r.Orders[key].Refusals, refusal)
}

func (r *Record) leftOpen(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Orders[key].Open = true
}

func (r *Record) refunded(key string, now time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, twice := r.Refunds[key]; !twice {
		r.Refunds[key] = now
	}
}

func (r *Record) odd(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Odd = append(r.Odd, what)
}

// soldSoFar is how many orders are acknowledged.
func (r *Record) soldSoFar() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sold
}
