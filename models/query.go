package models

// OfferFilter selects offers, newest first.
type OfferFilter struct {
	Status Status // as of the database's now; empty: any
	Query  string // a part of the id or the name, without regard to ASCII case; empty: any
	Limit  int

	// BeforeCreated and BeforeID are the last offer of the page before; zero: from the newest.
	BeforeCreated Micros
	BeforeID      string
}

// RedemptionFilter selects redemptions of one offer, newest first. An empty field selects all.
type RedemptionFilter struct {
	OfferID        string
	UserID         string
	OrderID        string
	IdempotencyKey string
	Limit          int
	Before         ID // id of the first entry of the last redemption of the page before; zero: from the newest
}

// ListedRedemption is a redemption in a list, with the id that the next page starts before.
type ListedRedemption struct {
	Redemption
	EntryID ID
}

// Fed is an entry with its position in the feed. Positions are above 0. They grow, and may leave some out.
type Fed struct {
	Position int64
	Entry
}

// ListedLease is a lease with its owner's name.
type ListedLease struct {
	Lease
	NodeName string
}

// Snapshot is what a sync brings: offers that may have changed, and the database's clock.
type Snapshot struct {
	Offers []Offer
	Now    Micros
}

// ExpiringLeases are leases near or past their end, and the database's clock when they were read; zero if there are none.
type ExpiringLeases struct {
	Leases []Lease
	Now    Micros
}

// ExpiredHolds are holds past their end, and the database's clock when they were read; zero if there are none.
type ExpiredHolds struct {
	Holds []Hold
	Now   Micros
}

// GrantRequest asks for a lease.
type GrantRequest struct {
	OfferID string
	NodeID  ID
	Epoch   int64

	// LeaseID is made by the node. Repeating a request with the same id after a lost reply finds what was granted instead of
	// granting again.
	LeaseID ID

	// Returns are leases of the node's that go back in the same transaction, before Size is asked: nobody else gets their units first.
	// They must be quiet. One that was closed before stays as it is.
	Returns []ID

	// Size decides, under the offer's lock, how many units to grant: at most unallocated; none is no lease. activeNodes counts nodes
	// seen lately, the asking one included.
	Size func(offer *Offer, unallocated, activeNodes int64) int64
}
