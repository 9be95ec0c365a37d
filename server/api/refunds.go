package api

import (
	"net/http"

	"tranche/allocator"
	"tranche/models"
)

func (s *server) refund(x *exchange) (reply, error) {
	id, err := x.redemption()
	if err != nil {
		return reply{}, err
	}
	var body object
	key, err := x.idempotencyKey(&body)
	if err != nil {
		return reply{}, err
	}
	if err := x.readObject(&body, true); err != nil {
		return reply{}, err
	}
	req := allocator.RefundRequest{
		Key:    key,
		Units:  body.integer("units", notNull, 1, models.MaxUnits).or(0),
		Reason: body.text("reason", orNull, checkReason).pointer(),
	}
	if err := body.close(); err != nil {
		return reply{}, err
	}
	done, err := s.Allocator.Refund(x.ctx, id, req)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: toRefund(&done.Refund), replayed: done.Replayed}, nil
}

func (s *server) listRefunds(x *exchange) (reply, error) {
	id, err := x.redemption()
	if err != nil {
		return reply{}, err
	}
	q := x.query()
	limit, before := q.limit(), q.beforeSeq(cursorRefunds)
	if err := q.close(); err != nil {
		return reply{}, err
	}
	if _, err := s.Allocator.Redemption(x.ctx, id); err != nil {
		return reply{}, err
	}
	rows, err := s.Books.Refunds(x.ctx, id, limit+1, before)
	if err != nil {
		return reply{}, err
	}
	cursor := func(e *models.Entry) string { return seqCursor(cursorRefunds, e.Seq) }
	return reply{list: pageOf(rows, limit, toRefund, cursor)}, nil
}
