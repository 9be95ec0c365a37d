package run

import "sync/atomic"

// Trouble is something that may fail again and again, and is to be reported once each time that it begins to. The zero value is ready.
// It is safe for concurrent use.
type Trouble struct{ on atomic.Bool }

// Begins takes in how an attempt ended, and reports whether it is the first one that failed since one that did not.
func (t *Trouble) Begins(err error) bool {
	if err == nil {
		t.on.Store(false)
		return false
	}
	return t.on.CompareAndSwap(false, true)
}
