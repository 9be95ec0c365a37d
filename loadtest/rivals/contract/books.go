package contract

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"
)

// Books is a rival: it keeps the budgets. All methods are safe for concurrent use.
//
// Redeem and Refund are idempotent by key. They report in replayed that the key's request had been served before.
type Books interface {
	CreateOffer(ctx context.Context, offer Offer) (isNew bool, err error)
	Redeem(ctx context.Context, order Order) (redemption Redemption, replayed bool, err error)
	Refund(ctx context.Context, wish RefundWish) (refund Refund, replayed bool, err error)
	// Balance and Usage read the counters that decide, not the log behind them: a benchmark compares the two.
	Balance(ctx context.Context, offerID string) (Balance, error)
	Usage(ctx context.Context, offerID, userID string) (Usage, error)
	Ready(ctx context.Context) error
}

// Offer is a budget of units and, if UserLimit is positive, how many redemptions a user may have.
type Offer struct {
	ID        string
	Name      string
	Budget    int64
	UserLimit int64
}

// Hash names a redemption within its offer: the first half of a SHA-256 over the offer's id and the idempotency key.
type Hash [16]byte

// HashOf computes the name of a redemption, as Tranche does.
func HashOf(offerID, key string) Hash {
	sum := sha256.Sum256([]byte(offerID + "\x00" + key))
	return Hash(sum[:16])
}

var hashText = base32.StdEncoding.WithPadding(base32.NoPadding) // read only

// RedemptionID is how clients name a redemption: it says where it is stored.
func RedemptionID(offerID string, h Hash) string {
	return offerID + "." + strings.ToLower(hashText.EncodeToString(h[:]))
}

// ParseRedemptionID takes a RedemptionID apart.
func ParseRedemptionID(id string) (offerID string, h Hash, ok bool) {
	offerID, text, ok := strings.Cut(id, ".")
	raw, err := hashText.DecodeString(strings.ToUpper(text))
	if !ok || err != nil || len(raw) != len(h) {
		return "", Hash{}, false
	}
	return offerID, Hash(raw), true
}

// Order asks for a redemption.
type Order struct {
	OfferID string
	Key     string
	UserID  string
	OrderID *string
	Units   int64
}

// Redemption is one that is on record.
type Redemption struct {
	Order
	Hash          Hash
	UnitsRefunded int64
	CreatedAt     time.Time
}

// Same reports whether an order asks for what the redemption is: else its key was used for something else.
func (r *Redemption) Same(o *Order) bool {
	sameOrder := r.OrderID == nil && o.OrderID == nil || r.OrderID != nil && o.OrderID != nil && *r.OrderID == *o.OrderID
	return sameOrder && r.UserID == o.UserID && r.Units == o.Units
}

// RefundWish asks for units of a redemption back; zero units are all that is left of it.
type RefundWish struct {
	OfferID string
	Hash    Hash
	Key     string
	Units   int64
}

// Refund is one that is on record.
type Refund struct {
	RefundWish
	CreatedAt time.Time
}

// Balance is what the deciding counters say of an offer.
type Balance struct {
	Budget        int64
	UnitsRedeemed int64
	UnitsRefunded int64
}

// Usage is what the deciding counter says of a user: redemptions that were not given back whole.
type Usage struct {
	Redemptions int64
	Limit       int64 // zero: none
}

// What a rival may answer instead. Any other error is one of which the outcome is unknown.
var (
	ErrOfferNotFound      = errors.New("no such offer")
	ErrOfferExists        = errors.New("another offer has this id")
	ErrRedemptionNotFound = errors.New("no such redemption")
	ErrSoldOut            = errors.New("the budget is used up")
	ErrUserLimit          = errors.New("the user's limit is reached")
	ErrKeyReused          = errors.New("the idempotency key was used for another request")
	ErrRefundExceeds      = errors.New("the refund exceeds what is left of the redemption")
	// ErrNotDone says that nothing was changed, because the database or Redis refused or could not be reached.
	ErrNotDone = errors.New("nothing was changed, ask again with the same key")
)
