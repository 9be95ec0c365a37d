package models

import (
	"crypto/sha256"
	"database/sql/driver"
	"encoding/base32"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"github.com/google/uuid"
)

// ID names a lease, an entry or a node: a UUID, stored as its 16 bytes.
//
// It is a type of its own because uuid.UUID hands databases its 36-character text.
type ID [16]byte

// NewID makes a UUIDv7: ids made later on one node sort later, which keeps inserts at the end of an index.
func NewID() ID { return ID(uuid.Must(uuid.NewV7())) }

// ParseID reads the text form that String writes.
func ParseID(s string) (ID, error) {
	u, err := uuid.Parse(s)
	if err != nil || len(s) != 36 {
		return ID{}, fmt.Errorf("not an id: %q", s)
	}
	return ID(u), nil
}

func (id ID) String() string { return uuid.UUID(id).String() }

// AppendText implements encoding.TextAppender: it appends what String gives.
func (id ID) AppendText(b []byte) ([]byte, error) {
	b = hex.AppendEncode(b, id[:4])
	for _, part := range [][]byte{id[4:6], id[6:8], id[8:10], id[10:]} {
		b = hex.AppendEncode(append(b, '-'), part)
	}
	return b, nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *ID) UnmarshalText(text []byte) (err error) {
	*id, err = ParseID(string(text))
	return err
}

// IsZero reports whether id names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// Value implements driver.Valuer.
func (id ID) Value() (driver.Value, error) { return id[:], nil }

// Scan implements sql.Scanner.
func (id *ID) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(id) {
		return fmt.Errorf("an id is 16 bytes, not %T of %d", src, len(b))
	}
	copy(id[:], b)
	return nil
}

// RedemptionID names a redemption. It is computed from the offer and the idempotency key,
// so that any node, and the client, knows it without asking.
type RedemptionID struct {
	OfferID string
	Hash    ID // the first 16 bytes of SHA-256(offer id, 0x00, key)
}

var (
	base32Lower = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

	errRedemptionID = errors.New("not a redemption id: want {offer_id}.{26 characters of base32}")
)

// RedemptionIDOf computes the id of the redemption that key names within an offer.
func RedemptionIDOf(offerID, key string) RedemptionID {
	buf := make([]byte, 0, 320)
	buf = append(buf, offerID...)
	buf = append(buf, 0)
	buf = append(buf, key...)
	sum := sha256.Sum256(buf)
	return RedemptionID{OfferID: offerID, Hash: ID(sum[:16])}
}

// ParseRedemptionID reads the text form that String writes.
func ParseRedemptionID(s string) (RedemptionID, error) {
	offer, hash, found := strings.Cut(s, ".")
	if !found || offer == "" || len(hash) != base32Lower.EncodedLen(16) {
		return RedemptionID{}, errRedemptionID
	}
	b, err := base32Lower.DecodeString(hash)
	if err != nil {
		return RedemptionID{}, errRedemptionID
	}
	id := RedemptionID{OfferID: offer, Hash: ID(b)}
	if id.String() != s { // the last character has unused bits: only one spelling is an id
		return RedemptionID{}, errRedemptionID
	}
	return id, nil
}

func (id RedemptionID) String() string {
	return id.OfferID + "." + base32Lower.EncodeToString(id.Hash[:])
}
