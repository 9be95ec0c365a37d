package api

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/text/currency"

	"tranche/models"
)

// offerFields are what an admin sets when creating or changing an offer.
type offerFields struct {
	name                    field[string]
	mode                    field[string]
	budget                  field[int64]
	userLimitRedemptions    field[int64]
	userLimitUnits          field[int64]
	startsAt                field[models.Micros]
	endsAt                  field[models.Micros]
	leaseSize               field[int64]
	leaseTTLSeconds         field[int64]
	adaptive                field[bool]
	refundRestoresBudget    field[bool]
	refundRestoresUserLimit field[bool]
}

func readOfferFields(o *object) offerFields {
	return offerFields{
		name:                    o.text("name", notNull, checkName),
		mode:                    o.text("mode", notNull, checkMode),
		budget:                  o.integer("budget", notNull, 0, models.MaxUnits),
		userLimitRedemptions:    o.integer("user_limit_redemptions", orNull, 1, models.MaxInteger),
		userLimitUnits:          o.integer("user_limit_units", orNull, 1, models.MaxInteger),
		startsAt:                o.instant("starts_at", orNull),
		endsAt:                  o.instant("ends_at", orNull),
		leaseSize:               o.integer("lease_size", notNull, 1, models.MaxUnits),
		leaseTTLSeconds:         o.integer("lease_ttl_seconds", notNull, seconds(models.MinLeaseTTL), seconds(models.MaxLeaseTTL)),
		adaptive:                o.boolean("adaptive"),
		refundRestoresBudget:    o.boolean("refund_restores_budget"),
		refundRestoresUserLimit: o.boolean("refund_restores_user_limit"),
	}
}

// apply writes the fields that were given, and checks what they make of the offer.
func (f *offerFields) apply(o *models.Offer) error {
	f.name.into(&o.Name)
	o.Mode = models.Mode(f.mode.or(string(o.Mode)))
	f.budget.into(&o.BudgetTarget)
	f.userLimitRedemptions.intoPointer(&o.UserLimitRedemptions)
	f.userLimitUnits.intoPointer(&o.UserLimitUnits)
	f.startsAt.intoPointer(&o.StartsAt)
	f.endsAt.intoPointer(&o.EndsAt)
	f.leaseSize.into(&o.LeaseSize)
	f.leaseTTLSeconds.into(&o.LeaseTTLSeconds)
	f.adaptive.into(&o.Adaptive)
	f.refundRestoresBudget.into(&o.RefundRestoresBudget)
	f.refundRestoresUserLimit.into(&o.RefundRestoresUserLimit)
	if o.StartsAt != nil && o.EndsAt != nil && *o.StartsAt >= *o.EndsAt {
		var bad faults
		bad.add("ends_at", ruleOrder, "must be after starts_at")
		return bad.err()
	}
	return nil
}

func checkName(f *faults, field, name string) { f.text(field, name, 1, models.MaxNameBytes) }

func checkMode(f *faults, field, mode string) {
	modes := []string{string(models.ModeStrict), string(models.ModeAvailable), string(models.ModeFast)}
	if !slices.Contains(modes, mode) {
		f.add(field, ruleEnum, "one of %s", strings.Join(modes, ", "))
	}
}

func checkReason(f *faults, field, reason string) { f.text(field, reason, 0, models.MaxReasonBytes) }

func checkUnit(f *faults, field, unit string) {
	if unit == models.UnitRedemptions {
		return
	}
	if _, err := currency.ParseISO(unit); err != nil || unit != strings.ToUpper(unit) {
		f.add(field, ruleEnum, "must be %q or the three letters of an ISO 4217 currency", models.UnitRedemptions)
	}
}

func checkOfferID(f *faults, field, id string) { f.offerID(field, id) }

// computed are members of an offer that only answers have.
func computed() []string {
	return []string{"budget_target", "status", "user_limits", "overspend_per_node", "version", "created_at", "updated_at"}
}

func (s *server) createOffer(x *exchange) (reply, error) {
	var body object
	if err := x.readObject(&body, false); err != nil {
		return reply{}, err
	}
	body.require("id", "name", "budget")
	body.readOnly(computed()...)
	offer := newOffer(body.text("id", notNull, checkOfferID).value, body.text("unit", notNull, checkUnit).or(models.UnitRedemptions))
	fields := readOfferFields(&body)
	if err := body.close(); err != nil {
		return reply{}, err
	}
	x.offerID = offer.ID
	if err := fields.apply(&offer); err != nil {
		return reply{}, err
	}
	offer.Budget = offer.BudgetTarget
	created, isNew, err := s.Allocator.CreateOffer(x.ctx, offer, s.by(x, models.ActionCreate))
	if err != nil {
		return reply{}, err
	}
	r := s.replyOffer(&created)
	r.location = "/v1/offers/" + created.ID
	if isNew {
		r.status = http.StatusCreated
	}
	return r, nil
}

// newOffer is an offer with nothing set but what it is for. The ledger chooses its mode, and its lease size, which depends on the budget.
func newOffer(id, unit string) models.Offer {
	return models.Offer{
		ID:                      id,
		Unit:                    unit,
		Status:                  models.StatusActive,
		LeaseTTLSeconds:         seconds(models.DefaultLeaseTTL),
		Adaptive:                true,
		RefundRestoresBudget:    true,
		RefundRestoresUserLimit: true,
	}
}

func (s *server) replyOffer(o *models.Offer) reply {
	return reply{body: toOffer(o, s.Allocator.LedgerNow()), etag: `"` + strconv.FormatInt(o.Version, 10) + `"`}
}

func (s *server) listOffers(x *exchange) (reply, error) {
	q := x.query()
	filter := models.OfferFilter{
		Status: models.Status(q.oneOf("status", string(models.StatusScheduled), string(models.StatusActive),
			string(models.StatusPaused), string(models.StatusEnded))),
		Query: q.text("q", models.MaxNameBytes),
	}
	limit := q.limit()
	filter.Limit = limit + 1
	filter.BeforeCreated, filter.BeforeID = q.beforeOffer()
	if err := q.close(); err != nil {
		return reply{}, err
	}
	rows, now, err := s.Books.Offers(x.ctx, filter)
	if err != nil {
		return reply{}, err
	}
	show := func(o *models.Offer) offerJSON { return toOffer(o, now) }
	return reply{list: pageOf(rows, limit, show, offerCursor)}, nil
}

func (s *server) getOffer(x *exchange) (reply, error) {
	id, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	offer, err := s.Books.Offer(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return s.replyOffer(&offer), nil
}

func (s *server) patchOffer(x *exchange) (reply, error) {
	id, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	var body object
	if err := x.readObject(&body, false); err != nil {
		return reply{}, err
	}
	body.readOnly("id", "unit")
	body.readOnly(computed()...)
	fields := readOfferFields(&body)
	return s.change(x, id, &body, models.ActionChange, fields.apply)
}

// change finishes the body of a change, which may hold a reason, and has it made, under If-Match if the client wants that.
func (s *server) change(x *exchange, id string, body *object, action models.Action, change func(*models.Offer) error) (reply, error) {
	reason := body.text("reason", orNull, checkReason)
	x.reason = reason.value
	version, stale := body.ifMatch(x.http.Header)
	if err := body.close(); err != nil {
		return reply{}, err
	}
	if stale {
		return reply{}, models.ErrStaleVersion
	}
	by := s.by(x, action)
	by.Reason = reason.pointer()
	applied, err := s.Allocator.ChangeOffer(x.ctx, id, version, change, by)
	if err != nil {
		return reply{}, err
	}
	r := s.replyOffer(&applied.Offer)
	r.body = toApplied(&applied, s.Allocator.LedgerNow())
	return r, nil
}

// by says for the audit who acts here.
func (s *server) by(x *exchange, action models.Action) models.Audit {
	actor := models.ActorAdmin
	if s.keys.empty() {
		actor = models.ActorLocal
	}
	return models.Audit{Actor: actor, Action: action, RequestID: x.id}
}

// ifMatch reads the header If-Match: nil without one or with "*", which any offer matches. stale means that no offer can match:
// the entity tag is a weak one or none of ours.
func (o *object) ifMatch(h http.Header) (version *int64, stale bool) {
	values := h["If-Match"]
	if len(values) == 0 || len(values) == 1 && values[0] == "*" {
		return nil, false
	}
	tag, isWeak := strings.CutPrefix(values[0], "W/")
	if len(values) > 1 || len(tag) < 2 || tag[0] != '"' || tag[len(tag)-1] != '"' || strings.Count(tag, `"`) != 2 {
		o.add(fieldIfMatch, ruleFormat, `must be one entity tag, such as "3", or *`)
		return nil, false
	}
	text := tag[1 : len(tag)-1]
	n, err := strconv.ParseInt(text, 10, 64)
	if isWeak || err != nil || strconv.FormatInt(n, 10) != text {
		return nil, true
	}
	return &n, false
}

func (s *server) pauseOffer(x *exchange) (reply, error) {
	return s.act(x, models.ActionPause, s.setStatus(models.StatusPaused))
}

func (s *server) resumeOffer(x *exchange) (reply, error) {
	return s.act(x, models.ActionResume, s.setStatus(models.StatusActive))
}

func (s *server) endOffer(x *exchange) (reply, error) {
	return s.act(x, models.ActionEnd, s.setStatus(models.StatusEnded))
}

func (s *server) recallOffer(x *exchange) (reply, error) {
	return s.act(x, models.ActionRecall, func(o *models.Offer) error { o.Recall++; return nil })
}

// setStatus pauses, resumes or ends an offer. An offer that has ended, by an admin or by its window, can only be ended.
func (s *server) setStatus(to models.Status) func(*models.Offer) error {
	now := s.Allocator.LedgerNow()
	return func(o *models.Offer) error {
		if status := o.StatusAt(now); status == models.StatusEnded && to != models.StatusEnded {
			return &models.NotActiveError{Status: status, StartsAt: o.StartsAt, EndsAt: o.EndsAt}
		}
		o.Status = to
		return nil
	}
}

// act makes a change that the path says all of, but for a reason.
func (s *server) act(x *exchange, action models.Action, change func(*models.Offer) error) (reply, error) {
	id, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	var body object
	if err := x.readObject(&body, true); err != nil {
		return reply{}, err
	}
	return s.change(x, id, &body, action, change)
}
