package api

func (s *server) getUsage(x *exchange) (reply, error) {
	offerID, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	userID, err := x.user()
	if err != nil {
		return reply{}, err
	}
	offer, err := s.Books.Offer(x.ctx, offerID)
	if err != nil {
		return reply{}, err
	}
	complete, err := s.Allocator.Complete(x.ctx, offerID)
	if err != nil {
		return reply{}, err
	}
	usage, err := s.Books.Usage(x.ctx, offerID, userID)
	if err != nil {
		return reply{}, err
	}
	return reply{body: usageJSON{
		OfferID:              offerID,
		UserID:               userID,
		Redemptions:          usage.Redemptions,
		Units:                usage.Units,
		HeldUnits:            usage.HeldUnits,
		LimitRedemptions:     offer.UserLimitRedemptions,
		LimitUnits:           offer.UserLimitUnits,
		RemainingRedemptions: remaining(offer.UserLimitRedemptions, usage.Redemptions),
		RemainingUnits:       remaining(offer.UserLimitUnits, usage.Units),
		Complete:             complete,
	}}, nil
}
