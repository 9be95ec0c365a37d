package models

import "time"

// LeaseKind tells where a lease's units came from.
type LeaseKind string

// The kinds of lease.
const (
	KindBlock      LeaseKind = "block"       // from the budget, by a grant
	KindRefundPool LeaseKind = "refund_pool" // from refunds
)

// LeaseState only ever moves from active to one of the others.
type LeaseState string

// The states of a lease.
const (
	LeaseActive    LeaseState = "active"
	LeaseReturned  LeaseState = "returned"  // closed by its owner
	LeaseReclaimed LeaseState = "reclaimed" // closed by a reaper, after its owner fell silent
)

// Totals are the sums of the entries behind a lease, or behind all closed leases of an offer, in units.
// They are signed: what gives units back is booked on the lease of the pool they flow into, not on the one they were spent from.
type Totals struct {
	Redeemed  int64
	Held      int64
	Refunded  int64 // only what came back to the budget
	Forfeited int64 // refunded to the user, kept from the budget
}

// Add gives t + o.
func (t Totals) Add(o Totals) Totals {
	return Totals{t.Redeemed + o.Redeemed, t.Held + o.Held, t.Refunded + o.Refunded, t.Forfeited + o.Forfeited}
}

// NetSpent is how much of the budget is gone for good unless it is refunded.
func (t Totals) NetSpent() int64 { return t.Redeemed + t.Held - t.Refunded }

// Lease is the recorded, timed right of one node to spend a block. Its id is its fencing token:
// once closed it never opens again, and no entry can be booked on it.
type Lease struct {
	OfferID string `gorm:"primaryKey"`
	ID      ID     `gorm:"primaryKey"`
	NodeID  ID
	Epoch   int64
	Kind    LeaseKind
	Mode    Mode  // as the offer's was at the grant
	Recall  int64 // so, too: once the offer's is higher, the owner is to return the lease whole

	Granted int64
	Spent   int64 // as far as settled
	Totals  `gorm:"embedded"`
	Batch   int64 // the number of the last settled batch

	// Exposed is what the owner of a reclaimed lease may have acknowledged and not settled yet, in units: the rest at the reclaim,
	// less what was booked late since. 0 for a lease in strict mode, and once its owner has said that it owes nothing on it.
	Exposed int64

	// AcquitAt is when the lease exposes nothing any more: its end, once a later epoch of its node has settled the journal; nil before.
	AcquitAt *Micros

	TTLSeconds int64
	State      LeaseState
	GrantedAt  Micros
	ExpiresAt  Micros
	ClosedAt   *Micros
}

// TTL is how long the lease lives from its grant or last renewal.
func (l *Lease) TTL() time.Duration { return time.Duration(l.TTLSeconds) * time.Second }

// Outstanding is what the lease still holds back from the pool, in units.
func (l *Lease) Outstanding() int64 {
	if l.State != LeaseActive {
		return 0
	}
	return l.Granted - l.Spent
}

// Grant is the answer to a request for a lease.
type Grant struct {
	Offer Offer  // as the grant left it
	Now   Micros // the database's clock; an offer that is not active by it gives no lease
	Lease *Lease // nil: there was nothing to be had

	Returned []Lease // those of the request's Returns as they are now, by id
}

// Node is a server process and its data directory.
type Node struct {
	ID        ID `gorm:"primaryKey"`
	Name      string
	Epoch     int64  // its newest incarnation: older ones get no grant and no renewal
	Version   string // of the program that it started as; empty: one that did not say
	Feeds     bool   // it lists the entries that it inserts for the feed
	StartedAt Micros
	SeenAt    Micros
	LeftAt    *Micros // when it last signed off, owing nothing
}

// ActiveAt reports whether the node serves: it was seen lately, and has not signed off since.
func (n *Node) ActiveAt(now Micros) bool {
	return now.Sub(n.SeenAt) < NodeSilence && (n.LeftAt == nil || *n.LeftAt <= n.SeenAt)
}

// NodeActivity is a node and what it holds, over all offers.
type NodeActivity struct {
	Node
	LeasesActive int64
	Outstanding  int64
}

// NodeSilence is how long after it was last seen a node still counts as active.
const NodeSilence = 15 * time.Second
