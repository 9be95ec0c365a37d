package refund

import (
	"context"
	"errors"
	"testing"
	"time"

	"tranche/lease"
	"tranche/models"
)

// twoOffers makes a second offer, and a cart of a hold of so many units of each.
func (b *deskOnFake) twoOffers(key string, units int64) (models.Cart, []*models.Offer) {
	b.t.Helper()
	terms := *b.offer
	terms.ID = "p"
	second, _, err := b.fake.CreateOffer(b.t.Context(), terms, models.Audit{})
	if err != nil {
		b.t.Fatal(err)
	}
	c := models.Cart{ID: models.CartIDOf(key), IdempotencyKey: key, OfferIDs: models.OfferIDs{"o", "p"}}
	offers := []*models.Offer{b.offer, &second}
	var items []lease.Posting
	for i, e := range b.entries(c, models.KindHold) {
		block, err := b.keeper.Spend(b.t.Context(), offers[i], units, time.Now())
		if err != nil {
			b.t.Fatal(err)
		}
		ends := e.CreatedAt.Add(time.Hour)
		e.UserID, e.IdempotencyKey, e.Units, e.HoldExpiresAt, e.CartID = "u", key, units, &ends, &c.ID
		items = append(items, lease.Posting{Block: block, Offer: offers[i], Entry: e})
	}
	if _, err := b.settler.SettleCart(b.t.Context(), c, items, nil); err != nil {
		b.t.Fatal(err)
	}
	return c, offers
}

// entries are of one kind, for each redemption of a cart.
func (b *deskOnFake) entries(c models.Cart, kind models.Kind) (entries []models.Entry) {
	for _, id := range c.Redemptions() {
		e := b.entry("", kind, 0)
		e.OfferID, e.Redemption = id.OfferID, id.Hash
		entries = append(entries, e)
	}
	return entries
}

func (b *deskOnFake) bookCart(c models.Cart, offers []*models.Offer, kind models.Kind) ([]models.Verdict, error) {
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Second)
	defer cancel()
	return b.desk.BookCart(ctx, c, offers, b.entries(c, kind))
}

// One of the pools was reclaimed while this node thought that it had it.
func TestACartEndsOnThePoolsOfItsOffers(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		c, offers := b.twoOffers("k", 5)
		b.take("other", 1, 0)
		if _, err := b.book("other", models.KindRefund, 1); err != nil {
			t.Fatal(err)
		}
		first := b.keeper.Pool("o").LeaseID
		if _, _, err := b.fake.CloseLease(t.Context(), "o", first, models.LeaseReclaimed, nil); err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			verdicts, err := b.bookCart(c, offers, models.KindCancel)
			if err != nil || len(verdicts) != 2 {
				t.Fatal(verdicts, err)
			}
			for _, v := range verdicts {
				if v.Err != nil || v.Replayed != (i == 1) || v.Redemption.State != models.StateCancelled || v.Entry.LeaseID == first {
					t.Errorf("%+v", v)
				}
			}
		}
		for _, offer := range offers {
			if left := b.keeper.Pool(offer.ID).Left(); left != 5 {
				t.Errorf("the pool of %s has %d", offer.ID, left)
			}
		}
		_, err := b.bookCart(c, offers, models.KindConfirm)
		if refused, ok := errors.AsType[*models.CartError](err); !ok || refused.OfferID != "o" || !errors.Is(err, models.ErrHoldResolved) {
			t.Error(err)
		}
	})
}

func TestACartFillsPools(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		c, offers := b.twoOffers("k", 60)
		if _, err := b.bookCart(c, offers, models.KindCancel); err != nil {
			t.Fatal(err)
		}
		if b.keeper.Pool("o") != nil || b.keeper.Pool("p") != nil {
			t.Error("a pool is open that has grown to the lease size")
		}
	})
}

func TestACartWithoutAPoolIsNotBooked(t *testing.T) {
	inBubble(t, func(t *testing.T, b *deskOnFake) {
		c, offers := b.twoOffers("k", 5)
		b.fail(func(call string) error {
			if call == "OpenPool" {
				return models.ErrLedgerUnavailable
			}
			return nil
		})
		if _, err := b.bookCart(c, offers, models.KindConfirm); !errors.Is(err, models.ErrLedgerUnavailable) || b.called("SettleCart") != 1 {
			t.Errorf("%v, with %d transactions", err, b.called("SettleCart"))
		}
	})
}
