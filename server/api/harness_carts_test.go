package api

import (
	"context"

	"tranche/allocator"
	"tranche/internal/ledger"
	"tranche/models"
)

func (d *desk) RedeemCart(ctx context.Context, req allocator.CartRequest) (allocator.Carted, error) {
	d.calls++
	if err := d.refusal(ctx); err != nil {
		return allocator.Carted{}, err
	}
	c := models.Cart{ID: models.CartIDOf(req.Key), IdempotencyKey: req.Key, CreatedAt: d.LedgerNow()}
	var items []models.Batch
	for _, item := range req.Items {
		c.OfferIDs = append(c.OfferIDs, item.OfferID)
		offer, err := d.Offer(ctx, item.OfferID)
		if err != nil {
			return allocator.Carted{}, &models.CartError{OfferID: item.OfferID, Err: err}
		}
		lease, err := d.lease(ctx, &offer)
		if err != nil {
			return allocator.Carted{}, err
		}
		e := models.Entry{
			OfferID: offer.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(offer.ID, req.Key).Hash, Kind: models.KindRedeem,
			UserID: req.UserID, OrderID: req.OrderID, IdempotencyKey: req.Key, Units: item.Units, Metadata: req.Metadata,
			NodeID: d.node, CartID: &c.ID, CreatedAt: c.CreatedAt,
		}
		if req.HoldFor > 0 {
			ends := e.CreatedAt.Add(req.HoldFor)
			e.Kind, e.HoldExpiresAt = models.KindHold, &ends
		}
		items = append(items, models.Batch{Offer: &offer, LeaseID: lease.ID, Wanted: []models.Wanted{{Entry: e}}})
	}
	verdicts, err := d.SettleCart(ctx, c, items)
	return carted(c.ID, verdicts), err
}

func carted(id models.CartID, verdicts []models.Verdict) allocator.Carted {
	r := allocator.Carted{ID: id}
	for _, v := range verdicts {
		r.Redemptions, r.Replayed = append(r.Redemptions, v.Redemption), v.Replayed
	}
	return r
}

func (d *desk) Cart(ctx context.Context, id models.CartID) (allocator.Carted, error) {
	c, err := d.Fake.Cart(ctx, id)
	if err != nil {
		return allocator.Carted{}, err
	}
	r := allocator.Carted{ID: id}
	for _, id := range c.Redemptions() {
		histories, err := d.Histories(ctx, id.OfferID, []models.ID{id.Hash})
		if err != nil {
			return allocator.Carted{}, err
		}
		redemption, err := ledger.Fold(histories[id.Hash])
		if err != nil {
			return allocator.Carted{}, err
		}
		r.Redemptions = append(r.Redemptions, redemption)
	}
	return r, nil
}

func (d *desk) ConfirmCart(ctx context.Context, id models.CartID) (allocator.Carted, error) {
	verdicts, err := d.giveBackCart(ctx, id, models.Entry{Kind: models.KindConfirm})
	return carted(id, verdicts), err
}

func (d *desk) CancelCart(ctx context.Context, id models.CartID) (allocator.Carted, error) {
	verdicts, err := d.giveBackCart(ctx, id, models.Entry{Kind: models.KindCancel})
	return carted(id, verdicts), err
}

func (d *desk) RefundCart(ctx context.Context, id models.CartID, key string, reason *string) (allocator.CartRefunded, error) {
	verdicts, err := d.giveBackCart(ctx, id, models.Entry{Kind: models.KindRefund, IdempotencyKey: key, Reason: reason})
	r := allocator.CartRefunded{ID: id}
	for _, v := range verdicts {
		if v.Err == nil {
			r.Refunds, r.Replayed = append(r.Refunds, v.Entry), v.Replayed
		}
	}
	return r, err
}

func (d *desk) giveBackCart(ctx context.Context, id models.CartID, e models.Entry) ([]models.Verdict, error) {
	d.calls++
	if err := d.refusal(ctx); err != nil {
		return nil, err
	}
	c, err := d.Fake.Cart(ctx, id)
	if err != nil {
		return nil, err
	}
	var items []models.Batch
	for _, id := range c.Redemptions() {
		offer, err := d.Offer(ctx, id.OfferID)
		if err != nil {
			return nil, err
		}
		pool, _, err := d.OpenPool(ctx, models.Lease{
			OfferID: id.OfferID, ID: models.NewID(), NodeID: d.node, Epoch: 1, Kind: models.KindRefundPool, Mode: offer.Mode, TTLSeconds: 60,
		})
		if err != nil {
			return nil, err
		}
		e.OfferID, e.ID, e.Redemption, e.NodeID, e.CreatedAt = id.OfferID, models.NewID(), id.Hash, d.node, d.LedgerNow()
		items = append(items, models.Batch{Offer: &offer, LeaseID: pool.ID, Wanted: []models.Wanted{{Entry: e}}})
	}
	return d.SettleCart(ctx, c, items)
}
