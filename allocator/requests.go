package allocator

import (
	"time"

	"tranche/models"
)

// RedeemRequest asks for one redemption of an offer.
type RedeemRequest struct {
	Key      string // names the redemption within its offer: repeating it never redeems twice
	UserID   string
	OrderID  *string
	Units    int64         // at least 1
	HoldFor  time.Duration // whole seconds; 0: the redemption is final at once
	Metadata *string       // a JSON object, compact
}

// CartRequest asks for a redemption of each of several offers: of all or none.
type CartRequest struct {
	Key      string // names the cart, and its redemption within each of its offers
	UserID   string
	OrderID  *string
	Items    []CartItem    // 1 to models.MaxCartItems, each of another offer
	HoldFor  time.Duration // of all items; as for one redemption
	Metadata *string       // of each of the redemptions
}

// CartItem is what a cart asks of one offer.
type CartItem struct {
	OfferID string
	Units   int64 // at least 1
}

// Carted is a cart that is in the ledger.
type Carted struct {
	ID          models.CartID
	Redemptions []models.Redemption // one per item, as they are now
	Replayed    bool                // an earlier request with this key had made it
}

// CartRefunded is a refund of a whole cart that is in the ledger.
type CartRefunded struct {
	ID       models.CartID
	Refunds  []models.Entry // one per item of which something was left
	Replayed bool           // an earlier request with this key had made them
}

// Redeemed is a redemption that is in the ledger, or in this node's journal.
type Redeemed struct {
	Redemption models.Redemption // as it is now
	Replayed   bool              // an earlier request with this key had made it
}

// RefundRequest asks to give back units of one redemption.
type RefundRequest struct {
	Key    string // names the refund within its redemption
	Units  int64  // 0: all that is left
	Reason *string
}

// Refunded is a refund that is in the ledger, and its redemption as it is now.
type Refunded struct {
	Refund     models.Entry
	Redemption models.Redemption
	Replayed   bool // an earlier request with this key had made it
}

// Applied is an offer as a change left it, and how far the change has reached the nodes.
type Applied struct {
	Offer   models.Offer
	Applied []Owner   // the node that was asked, and those that had leases, without the pending ones
	Pending []Pending // nodes that hold leases from before
}

// Owner is a node that has or had leases.
type Owner struct {
	NodeID   models.ID
	NodeName string
}

// Pending is a node that may go on with the offer as it was, and until when at the latest: whatever lengthens its leases tells it of the
// change.
type Pending struct {
	Owner
	Until models.Micros
}
