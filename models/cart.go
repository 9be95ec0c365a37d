package models

import (
	"crypto/sha256"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
)

// MaxCartItems bounds how many offers a cart redeems at once.
const MaxCartItems = 20

// CartID names a cart: the first 16 bytes of SHA-256("cart:" ‖ key). Any node, and the client, can compute it.
type CartID ID

var errCartID = errors.New("not a cart id: want 26 characters of base32")

// CartIDOf computes the id of the cart that an idempotency key names.
func CartIDOf(key string) CartID {
	sum := sha256.Sum256([]byte("cart:" + key))
	return CartID(sum[:16])
}

// ParseCartID reads the text form that String writes.
func ParseCartID(s string) (CartID, error) {
	b, err := base32Lower.DecodeString(s)
	if err != nil || len(b) != len(CartID{}) {
		return CartID{}, errCartID
	}
	id := CartID(b)
	if id.String() != s { // the last character has unused bits: only one spelling is an id
		return CartID{}, errCartID
	}
	return id, nil
}

func (id CartID) String() string { return base32Lower.EncodeToString(id[:]) }

// AppendText implements encoding.TextAppender: it appends what String gives.
func (id CartID) AppendText(b []byte) ([]byte, error) { return base32Lower.AppendEncode(b, id[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *CartID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseCartID(string(text))
	return err
}

// Value implements driver.Valuer.
func (id CartID) Value() (driver.Value, error) { return ID(id).Value() }

// Scan implements sql.Scanner.
func (id *CartID) Scan(src any) error { return (*ID)(id).Scan(src) }

// Cart says that redemptions of several offers were made in one transaction, under one key: all of them or none. Its row is written in
// that transaction, and never changed. The ledger has what was asked of each offer, and what became of it: see Redemptions.
type Cart struct {
	ID             CartID `gorm:"primaryKey"`
	IdempotencyKey string
	OfferIDs       OfferIDs // each once, in the order asked for
	CreatedAt      Micros   `gorm:"autoCreateTime:false"`
}

// Redemptions are those of the cart, one per offer: the cart's key names one within each.
func (c *Cart) Redemptions() []RedemptionID {
	ids := make([]RedemptionID, len(c.OfferIDs))
	for i, offer := range c.OfferIDs {
		ids[i] = RedemptionIDOf(offer, c.IdempotencyKey)
	}
	return ids
}

// OfferIDs are stored as one text, with commas between them, which no offer id has.
type OfferIDs []string

// Value implements driver.Valuer.
func (ids OfferIDs) Value() (driver.Value, error) { return strings.Join(ids, ","), nil }

// Scan implements sql.Scanner.
func (ids *OfferIDs) Scan(src any) error {
	switch text := src.(type) {
	case string:
		*ids = strings.Split(text, ",")
	case []byte:
		*ids = strings.Split(string(text), ",")
	default:
		return fmt.Errorf("offer ids are a text, not %T", src)
	}
	return nil
}
