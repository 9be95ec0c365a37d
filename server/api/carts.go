package api

import (
	"context"
	"net/http"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func (s *server) redeemCart(x *exchange) (reply, error) {
	var body object
	key, err := x.idempotencyKey(&body)
	if err != nil {
		return reply{}, err
	}
	if err := x.readObject(&body, false); err != nil {
		return reply{}, err
	}
	body.require("user_id", "items")
	req := allocator.CartRequest{
		Key:      key,
		UserID:   body.subject("user_id", notNull).value,
		OrderID:  body.subject("order_id", orNull).pointer(),
		Items:    body.cartItems("items"),
		HoldFor:  time.Duration(body.integer("hold_seconds", notNull, 1, seconds(models.MaxHold)).or(0)) * time.Second,
		Metadata: body.document("metadata", models.MaxMetadataBytes).pointer(),
	}
	if err := body.close(); err != nil {
		return reply{}, err
	}
	done, err := s.Allocator.RedeemCart(x.ctx, req)
	if err != nil {
		return reply{}, err
	}
	shown := toCart(&done)
	return reply{status: http.StatusCreated, body: shown, location: "/v1/carts/" + shown.ID, replayed: done.Replayed}, nil
}

// cartItems reads what a cart asks for: each offer once.
func (o *object) cartItems(name string) (items []allocator.CartItem) {
	asked := map[string]bool{}
	o.objects(name, models.MaxCartItems, func(item *object) {
		item.require("offer_id")
		offerID := item.text("offer_id", notNull, (*faults).offerID)
		if asked[offerID.value] && offerID.present {
			item.add("offer_id", ruleRepeated, "an offer may be in a cart once")
		}
		asked[offerID.value] = true
		items = append(items, allocator.CartItem{
			OfferID: offerID.value,
			Units:   item.integer("units", notNull, 1, models.MaxUnits).or(1),
		})
	})
	return items
}

func (s *server) getCart(x *exchange) (reply, error) {
	id, err := x.cart()
	if err != nil {
		return reply{}, err
	}
	cart, err := s.Allocator.Cart(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return reply{body: toCart(&cart)}, nil
}

func (s *server) confirmCart(x *exchange) (reply, error) {
	return s.endCart(x, s.Allocator.ConfirmCart)
}

func (s *server) cancelCart(x *exchange) (reply, error) {
	return s.endCart(x, s.Allocator.CancelCart)
}

func (s *server) endCart(x *exchange, end func(context.Context, models.CartID) (allocator.Carted, error)) (reply, error) {
	id, err := x.cart()
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
	cart, err := end(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return reply{body: toCart(&cart)}, nil
}

func (s *server) refundCart(x *exchange) (reply, error) {
	id, err := x.cart()
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
	reason := body.text("reason", orNull, checkReason).pointer()
	if err := body.close(); err != nil {
		return reply{}, err
	}
	done, err := s.Allocator.RefundCart(x.ctx, id, key, reason)
	if err != nil {
		return reply{}, err
	}
	return reply{status: http.StatusCreated, body: toCartRefund(&done), replayed: done.Replayed}, nil
}
