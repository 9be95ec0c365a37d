package api

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/models"
)

// problem is the body of a refusal, as in RFC 9457. Members after the first six are there only where they help.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Retryable bool   `json:"retryable"`
	RequestID string `json:"request_id"`

	RetryAfterMS *int64         `json:"retry_after_ms,omitzero"`
	Outcome      string         `json:"outcome,omitzero"`
	Errors       []fault        `json:"errors,omitzero"`
	OfferID      string         `json:"offer_id,omitzero"`
	Figures      jsontext.Value `json:",embed"` // the members of one of the structs below

	retryAfter time.Duration
}

// shortage is what is known about a budget that was not enough.
type shortage struct {
	WantedUnits      int64        `json:"wanted_units"`
	RemainingUnits   int64        `json:"remaining_units"` // the most that can be had, once all has come back
	AvailableUnits   int64        `json:"available_units"` // not granted to any node
	HeldUnits        int64        `json:"held_units"`
	OutstandingUnits int64        `json:"outstanding_units"`
	Holders          []holderJSON `json:"holders"`
	NextReleaseAt    *instantJSON `json:"next_release_at"`
}

type holderJSON struct {
	NodeID   models.ID   `json:"node_id"`
	NodeName string      `json:"node_name"`
	Units    int64       `json:"units"`
	Until    instantJSON `json:"until"`
}

// maxHolders is how many of the nodes with units one answer names.
const maxHolders = 20

func toHolders(holders []models.Holder) []holderJSON {
	shown := make([]holderJSON, min(len(holders), maxHolders))
	for i := range shown {
		h := &holders[i]
		shown[i] = holderJSON{NodeID: h.NodeID, NodeName: h.NodeName, Units: h.Units, Until: instantJSON(h.Until)}
	}
	return shown
}

type limitReached struct {
	WantedUnits          int64  `json:"wanted_units"` // in one redemption
	UsedRedemptions      int64  `json:"used_redemptions"`
	UsedUnits            int64  `json:"used_units"`
	LimitRedemptions     *int64 `json:"limit_redemptions"`
	LimitUnits           *int64 `json:"limit_units"`
	RemainingRedemptions *int64 `json:"remaining_redemptions"`
	RemainingUnits       *int64 `json:"remaining_units"`
}

// inactivity calls the offer's status offer_status: status is the HTTP status of every problem.
type inactivity struct {
	OfferStatus string       `json:"offer_status"`
	StartsAt    *instantJSON `json:"starts_at"`
	EndsAt      *instantJSON `json:"ends_at"`
}

type refundable struct {
	RemainingUnits int64 `json:"remaining_units"`
}

// resolution is what has become of a hold.
type resolution struct {
	State      string         `json:"state"`
	Units      int64          `json:"units"`
	Redemption redemptionJSON `json:"redemption"`
}

type leastBudget struct {
	Minimum int64 `json:"minimum"`
}

// problemOf translates an error for the client. now is the database's clock.
func (x *exchange) problemOf(err error, now models.Micros) *problem {
	m := meaningOf(err)
	p := &problem{
		Type:       "/problems/" + m.name,
		Title:      m.title,
		Status:     m.status,
		RequestID:  x.id,
		OfferID:    x.offerID,
		retryAfter: m.retry,
	}
	if item, ok := errors.AsType[*models.CartError](err); ok {
		p.OfferID = item.OfferID
	}
	if m.status < 500 {
		p.Detail = m.err.Error() // not err's own text: callees may have wrapped it in what is none of the client's business
		p.explain(err, now)
	} else {
		p.tellOutcome(m.outcome, x.route.is(writes))
	}
	if p.retryAfter > 0 {
		p.Retryable = true
		ms := p.retryAfter.Milliseconds()
		p.RetryAfterMS = &ms
	}
	return p
}

// tellOutcome keeps what went wrong here from the client; the log has it.
func (p *problem) tellOutcome(outcome string, writing bool) {
	switch {
	case !writing:
		p.Detail = "This could not be looked up. Ask again."
		return
	case outcome == outcomeNotRedeemed:
		p.Detail = "This request changed nothing. Ask again, with the same key if there was one."
	default:
		p.Detail = "It may have been done or not. Ask again, with the same key if there was one, to find out."
	}
	p.Outcome = outcome
}

// explain adds the figures behind a refusal, and how long to wait where they tell.
func (p *problem) explain(err error, now models.Micros) {
	if e, ok := errors.AsType[*invalidError](err); ok {
		p.Detail, p.Errors = e.Error(), e.faults
	} else if e, ok := errors.AsType[*models.ShortError](err); ok {
		p.Detail = e.Error()
		p.explainShort(e, now)
	} else if e, ok := errors.AsType[*models.UserLimitError](err); ok {
		p.Detail = e.Error()
		p.figures(limitReached{
			WantedUnits:          e.Wanted,
			UsedRedemptions:      e.Usage.Redemptions,
			UsedUnits:            e.Usage.Units,
			LimitRedemptions:     e.LimitRedemptions,
			LimitUnits:           e.LimitUnits,
			RemainingRedemptions: remaining(e.LimitRedemptions, e.Usage.Redemptions),
			RemainingUnits:       remaining(e.LimitUnits, e.Usage.Units),
		})
	} else if e, ok := errors.AsType[*models.NotActiveError](err); ok {
		p.Detail = e.Error()
		p.explainInactive(e, now)
	} else if e, ok := errors.AsType[*models.TooManyRefundsError](err); ok {
		p.Detail = e.Error()
		p.figures(refundable{e.Remaining})
	} else if e, ok := errors.AsType[*models.RefundExceedsError](err); ok {
		p.Detail = e.Error()
		p.figures(refundable{e.Remaining})
	} else if e, ok := errors.AsType[*models.HoldResolvedError](err); ok {
		p.Detail = e.Error()
		p.figures(resolution{string(e.Redemption.State), e.Redemption.Units, toRedemption(&e.Redemption)})
	} else if e, ok := errors.AsType[*models.BudgetBelowSpentError](err); ok {
		p.Detail = e.Error()
		p.figures(leastBudget{e.Minimum})
	} else if errors.Is(err, models.ErrModeNotPossible) {
		p.Detail = "mode fast answers before the ledger has counted what a user has, so it cannot keep a user limit; available and strict can"
	}
}

func (p *problem) explainShort(e *models.ShortError, now models.Micros) {
	p.figures(shortage{
		WantedUnits:      e.Wanted,
		RemainingUnits:   e.Left(),
		AvailableUnits:   max(0, e.Balance.Unallocated()),
		HeldUnits:        e.Balance.Held,
		OutstandingUnits: e.Balance.Outstanding,
		Holders:          toHolders(e.Holders),
		NextReleaseAt:    (*instantJSON)(e.NextReleaseAt),
	})
	if p.retryAfter > 0 && e.NextReleaseAt != nil {
		// The release is certain only then, but units may come back at any moment before:
		// a client is not kept away for longer than it would be if nothing were known.
		p.retryAfter = min(p.retryAfter, max(retrySoon, e.NextReleaseAt.Sub(now)))
	}
}

func (p *problem) explainInactive(e *models.NotActiveError, now models.Micros) {
	p.figures(inactivity{
		OfferStatus: string(e.Status),
		StartsAt:    (*instantJSON)(e.StartsAt),
		EndsAt:      (*instantJSON)(e.EndsAt),
	})
	switch {
	case e.Status == models.StatusPaused:
		p.retryAfter = retryChange
	case e.Status == models.StatusScheduled && e.StartsAt != nil:
		p.retryAfter = min(retryLongest, max(retrySoon, e.StartsAt.Sub(now)))
	}
}

// figures adds the members of a struct to the problem's own. They are what other answers consist of, too: encoding them cannot fail.
func (p *problem) figures(members any) { p.Figures, _ = json.Marshal(members) }
