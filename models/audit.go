package models

// Action is what an admin did to an offer.
type Action string

// The actions of admins.
const (
	ActionCreate Action = "create"
	ActionChange Action = "change"
	ActionPause  Action = "pause"
	ActionResume Action = "resume"
	ActionEnd    Action = "end"
	ActionRecall Action = "recall"
)

// Actor says by which right an admin acted.
type Actor string

// The actors.
const (
	ActorAdmin Actor = "admin" // the admin key
	ActorLocal Actor = "local" // somebody on the node's own machine, where no keys are set
)

// Audit records what an admin did to an offer. Its row is written in the transaction that does it, and never changed.
type Audit struct {
	OfferID   string `gorm:"primaryKey"`
	ID        ID     `gorm:"primaryKey"`
	At        Micros // by the database's clock
	Actor     Actor
	NodeID    ID // that was asked
	Action    Action
	Reason    *string
	RequestID string

	// The terms that an admin can set, as JSON objects.
	TermsBefore *string // nil for a create
	TermsAfter  string
}
