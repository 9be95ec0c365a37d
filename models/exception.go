package models

// ExceptionReason says which promise an acknowledgement from the journal went beyond.
type ExceptionReason string

// The reasons of an exception.
const (
	ReasonLate      ExceptionReason = "late"       // booked after its lease had closed: its units may have been granted again
	ReasonUserLimit ExceptionReason = "user_limit" // booked over its user's limit
	ReasonKeyReused ExceptionReason = "key_reused" // not booked: another request has its key
)

// Exception is an acknowledged redemption that the ledger would have refused, for a shop to look at. Its row is written in the
// transaction that decides on the redemption, once per entry and reason, and never changed.
type Exception struct {
	OfferID        string `gorm:"primaryKey"`
	ID             ID     `gorm:"primaryKey"`
	Reason         ExceptionReason
	Redemption     ID // RedemptionID.Hash
	UserID         string
	OrderID        *string
	Units          int64
	LeaseID        ID // that the units were spent from
	NodeID         ID // that acknowledged it
	EntryID        ID // that was booked, or for a reused key, would have been
	IdempotencyKey string
	CreatedAt      Micros `gorm:"autoCreateTime:false"` // when it was found, by the database's clock
}

// RedemptionID names the redemption; for a reused key, the one that has the key.
func (e *Exception) RedemptionID() RedemptionID {
	return RedemptionID{OfferID: e.OfferID, Hash: e.Redemption}
}
