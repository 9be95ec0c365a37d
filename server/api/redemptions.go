package api

import (
	"net/http"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func (s *server) redeem(x *exchange) (reply, error) {
	offerID, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	var body object
	key, err := x.idempotencyKey(&body)
	if err != nil {
		return reply{}, err
	}
	if err := x.readObject(&body, false); err != nil {
		return reply{}, err
	}
	body.require("user_id")
	req := allocator.RedeemRequest{
		Key:      key,
		UserID:   body.subject("user_id", notNull).value,
		OrderID:  body.subject("order_id", orNull).pointer(),
		Units:    body.integer("units", notNull, 1, models.MaxUnits).or(1),
		HoldFor:  time.Duration(body.integer("hold_seconds", notNull, 1, seconds(models.MaxHold)).or(0)) * time.Second,
		Metadata: body.document("metadata", models.MaxMetadataBytes).pointer(),
	}
	if err := body.close(); err != nil {
		return reply{}, err
	}
	done, err := s.Allocator.Redeem(x.ctx, offerID, req)
	if err != nil {
		return reply{}, err
	}
	shown := toRedemption(&done.Redemption)
	return reply{status: http.StatusCreated, body: shown, location: "/v1/redemptions/" + shown.ID, replayed: done.Replayed}, nil
}

// idempotencyKey reads the header. A key that is there and wrong is told together with what is wrong with the body.
func (x *exchange) idempotencyKey(body *object) (string, error) {
	values := x.http.Header[fieldKey]
	if len(values) > 1 {
		body.add(fieldKey, ruleRepeated, "may be given once")
		return "", nil
	}
	if len(values) == 0 || values[0] == "" || values[0] == `""` {
		return "", errKeyMissing
	}
	return body.key(fieldKey, values[0]), nil
}

func (s *server) getRedemption(x *exchange) (reply, error) {
	id, err := x.redemption()
	if err != nil {
		return reply{}, err
	}
	redemption, err := s.Allocator.Redemption(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return reply{body: toRedemption(&redemption)}, nil
}

func (s *server) listRedemptions(x *exchange) (reply, error) {
	q := x.query()
	filter := models.RedemptionFilter{
		OfferID:        q.offerID("offer_id"),
		UserID:         q.subject("user_id"),
		OrderID:        q.subject("order_id"),
		IdempotencyKey: q.key("idempotency_key"),
		Before:         q.before(cursorRedemptions),
	}
	limit := q.limit()
	filter.Limit = limit + 1
	if err := q.close(); err != nil {
		return reply{}, err
	}
	x.offerID = filter.OfferID
	complete, err := s.Allocator.Complete(x.ctx, filter.OfferID)
	if err != nil {
		return reply{}, err
	}
	rows, err := s.Books.Redemptions(x.ctx, filter)
	if err != nil {
		return reply{}, err
	}
	if err := s.mustExist(x, filter.OfferID, len(rows)); err != nil {
		return reply{}, err
	}
	show := func(r *models.ListedRedemption) redemptionJSON { return toRedemption(&r.Redemption) }
	cursor := func(r *models.ListedRedemption) string { return idCursor(cursorRedemptions, r.EntryID) }
	listed := pageOf(rows, limit, show, cursor)
	listed.complete = &complete
	return reply{list: listed}, nil
}

// mustExist tells an offer that has nothing to list from one that is not there.
func (s *server) mustExist(x *exchange, offerID string, rows int) error {
	if rows > 0 {
		return nil
	}
	_, err := s.Books.Offer(x.ctx, offerID)
	return err
}
