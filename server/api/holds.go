package api

import (
	"errors"

	"tranche/models"
)

func (s *server) confirmHold(x *exchange) (reply, error) {
	id, err := x.redemption()
	if err != nil {
		return reply{}, err
	}
	var body object
	if err := x.readObject(&body, true); err != nil {
		return reply{}, err
	}
	units := body.integer("units", notNull, 1, models.MaxUnits).or(0)
	if err := body.close(); err != nil {
		return reply{}, err
	}
	redemption, err := s.Allocator.Confirm(x.ctx, id, units)
	if exceeds, ok := errors.AsType[*models.ConfirmExceedsError](err); ok {
		body.add("units", ruleRange, "1 to %d, which are held", exceeds.Held)
		return reply{}, body.err()
	}
	if err != nil {
		return reply{}, err
	}
	return reply{body: toRedemption(&redemption)}, nil
}

func (s *server) cancelHold(x *exchange) (reply, error) {
	id, err := x.redemption()
	if err != nil {
		return reply{}, err
	}
	var body object
	if err := x.readObject(&body, true); err != nil {
		return reply{}, err
	}
	if err := body.close(); err != nil {
		return reply{}, err
	}
	redemption, err := s.Allocator.Cancel(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return reply{body: toRedemption(&redemption)}, nil
}
