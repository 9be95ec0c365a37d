package allocator_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tranche/allocator"
	"tranche/models"
)

func TestB2LessThanWantedIsNotSoldOut(t *testing.T) {
	inFleet(t, 1, func(o *models.Offer) { o.Budget, o.BudgetTarget = 10, 10 }, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		_, err := n.redeem("a", "u", 11)
		if short, ok := errors.AsType[*models.ShortError](err); !ok || !errors.Is(err, models.ErrBudgetInsufficient) || short.Left() != 10 {
			t.Errorf("11 of 10: %v", err)
		}
		if _, err := n.redeem("b", "u", 10); err != nil {
			t.Error(err)
		}
		if _, err := n.redeem("c", "u", 1); !errors.Is(err, models.ErrBudgetExhausted) {
			t.Errorf("once all are spent: %v", err)
		}
	})
}

// redeemWith redeems a unit with metadata.
func (n *testNode) redeemWith(key, metadata string) (allocator.Redeemed, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return n.Redeem(ctx, "o", allocator.RedeemRequest{Key: key, UserID: "u", Units: 1, Metadata: &metadata})
}

func TestB4OtherMetadataIsAnotherRequest(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeAvailable, models.ModeFast} {
		inFleet(t, 1, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			n := f.nodes[0]
			for range 2 { // before it is settled, and after
				if _, err := n.redeemWith("k", `{"a":1,"b":2}`); err != nil {
					t.Fatal(err)
				}
				if r, err := n.redeemWith("k", `{"b":2,"a":1}`); err != nil || !r.Replayed || *r.Redemption.Metadata != `{"a":1,"b":2}` {
					t.Errorf("%s: the same value: %+v, %v", mode, r, err)
				}
				if _, err := n.redeemWith("k", `{"a":1}`); !errors.Is(err, models.ErrKeyReused) {
					t.Errorf("%s: another value: %v", mode, err)
				}
				time.Sleep(time.Second)
			}
		})
	}
}

// Both have told their client of a success. So it is one redemption, and a retry of either hears of it.
func TestB4WhatTwoNodesAcknowledgedApartStaysOneRedemption(t *testing.T) {
	inFleet(t, 2, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		for i, n := range f.nodes {
			hold(t, n, string(rune('a'+i)))
		}
		f.away()
		sent := []string{`{"till":1}`, `{"till":2}`}
		for i, n := range f.nodes {
			if _, err := n.redeemWith("k", sent[i]); err != nil {
				t.Fatal(err)
			}
		}
		f.back()
		time.Sleep(10 * time.Second)
		if list, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{}); err != nil || len(list) != 0 {
			t.Errorf("listed %+v, %v", list, err)
		}
		if b := f.balance(); b.Redeemed != 3 {
			t.Errorf("%+v", b)
		}
		shown := map[string]bool{}
		for i, n := range f.nodes {
			r, err := n.redeemWith("k", sent[i])
			if err != nil || !r.Replayed {
				t.Fatalf("node %d: %+v, %v", i, r, err)
			}
			shown[*r.Redemption.Metadata] = true
			if _, err := n.redeemWith("k", sent[1-i]); !errors.Is(err, models.ErrKeyReused) {
				t.Errorf("node %d, what it has not acknowledged: %v", i, err)
			}
		}
		if len(shown) != 1 {
			t.Errorf("shown as %v", shown)
		}
	})
}
