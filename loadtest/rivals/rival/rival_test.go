package rival

import (
	"fmt"
	"maps"
	"testing"

	"tranche/loadtest/rivals/contract"
)

func TestRedeem(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(10, 0)
		a := s.mustRedeem("k1", "alice", 3)
		if want := contract.RedemptionID("o", contract.HashOf("o", "k1")); a.ID != want || a.UserID != "alice" || a.Units != 3 {
			s.Errorf("got %+v, want %s", a, want)
		}
		s.mustRedeem("k2", "alice", 1)
		s.counted(4, 0)
		if got := s.usage("alice"); got != 2 {
			s.Errorf("alice has %d", got)
		}
		if a := s.ask("POST", "/v1/offers/p/redemptions", "k", `{"user_id": "alice"}`); !a.is("offer-not-found") {
			s.Errorf("another offer: %+v", a)
		}
	})
}

func TestARepeatIsAnsweredFromTheLog(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(1, 1)
		first := s.mustRedeem("k", "alice", 1)
		// The budget is gone by now, and the user's limit is reached.
		if a := s.redeem("k", "alice", 1); a.status != 201 || !a.replayed || a.ID != first.ID {
			s.Errorf("the repeat: %+v", a)
		}
		if a := s.redeem("k", "bob", 1); !a.is("idempotency-key-reused") || a.status != 422 {
			s.Errorf("another request with the key: %+v", a)
		}
		s.counted(1, 0)
	})
}

func TestRepeatsAtOnceAreOneRedemption(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(100, 0)
		for _, a := range crowd(40, func(int) answer { return s.redeem("k", "alice", 1) }) {
			if a.status != 201 {
				s.Errorf("a repeat: %+v", a)
			}
		}
		s.counted(1, 0)
	})
}

func TestUserLimit(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(100, 2)
		got := tally(crowd(20, func(i int) answer { return s.redeem(fmt.Sprint("k", i), "alice", 1) }))
		if want := map[string]int{"201": 2, "409 user-limit-reached": 18}; !maps.Equal(got, want) {
			s.Errorf("twenty orders of one user at once: %v", got)
		}
		s.mustRedeem("k", "bob", 1)
		s.counted(3, 0)
		if got := s.usage("alice"); got != 2 {
			s.Errorf("alice has %d", got)
		}
	})
}

func TestSoldToTheLastUnit(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(50, 1)
		answers := crowd(200, func(i int) answer { return s.redeem(fmt.Sprint("k", i), fmt.Sprint("u", i), 1) })
		if got, want := tally(answers), (map[string]int{"201": 50, "409 budget-exhausted": 150}); !maps.Equal(got, want) {
			s.Errorf("two hundred customers for fifty units: %v", got)
		}
		s.counted(50, 0)
		for i, a := range answers {
			if again := s.redeem(fmt.Sprint("k", i), fmt.Sprint("u", i), 1); again.status != a.status || again.replayed != (a.status == 201) {
				s.Errorf("k%d was told %+v, and then %+v", i, a, again)
			}
		}
		s.counted(50, 0)
	})
}

func TestUnitsThatLieApartAreSold(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(17, 0) // slotted has 8 slots: the largest has three
		if a := s.redeem("too much", "alice", 18); !a.is("budget-exhausted") {
			s.Errorf("18 of 17: %+v", a)
		}
		s.mustRedeem("k1", "alice", 16)
		s.mustRedeem("k2", "bob", 1)
		s.counted(17, 0)
	})
}

func TestRefund(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(5, 1)
		id := s.mustRedeem("k", "alice", 5).ID
		if a := s.refund(id, "r1", 2); a.status != 201 || a.Units != 2 || a.replayed {
			s.Errorf("the first: %+v", a)
		}
		if got := s.usage("alice"); got != 1 {
			s.Errorf("after a part, alice has %d", got)
		}
		if a := s.refund(id, "r2", 4); !a.is("refund-exceeds-redemption") {
			s.Errorf("more than is left: %+v", a)
		}
		if a := s.refund(id, "r1", 1); !a.is("idempotency-key-reused") {
			s.Errorf("another refund with the key: %+v", a)
		}
		if a := s.refund(id, "r3", 0); a.status != 201 || a.Units != 3 {
			s.Errorf("the rest: %+v", a)
		}
		for _, key := range []string{"r1", "r3"} {
			if a := s.refund(id, key, 0); a.status != 201 || !a.replayed {
				s.Errorf("%s again: %+v", key, a)
			}
		}
		s.counted(5, 5)
		if got := s.usage("alice"); got != 0 {
			s.Errorf("after all, alice has %d", got)
		}
		if a := s.redeem("k", "alice", 5); a.RefundedUnits != 5 || !a.replayed {
			s.Errorf("the redemption: %+v", a)
		}
		s.mustRedeem("k2", "alice", 5) // both the units and her right are back
		s.counted(10, 5)
		if a := s.refund(contract.RedemptionID("o", contract.HashOf("o", "never")), "r", 0); !a.is("redemption-not-found") {
			s.Errorf("of nothing: %+v", a)
		}
	})
}

func TestRefundsAtOnceGiveBackOnce(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(10, 0)
		id := s.mustRedeem("k", "alice", 6).ID
		got := tally(crowd(20, func(i int) answer { return s.refund(id, fmt.Sprint("r", i%4), 2) })) // four keys, and units for three
		if got["201"] != 3 || got["201 replayed"] != 12 || got["409 refund-exceeds-redemption"] != 5 {
			s.Errorf("refunds: %v", got)
		}
		s.counted(6, 6)
		if got := s.usage("alice"); got != 0 {
			s.Errorf("alice has %d", got)
		}
	})
}

func TestRedeemAndRefundAtOnce(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(40, 1)
		crowd(120, func(i int) answer {
			user := fmt.Sprint("u", i%60)
			a := s.redeem(fmt.Sprint("k", i), user, 1)
			if a.status == 201 && i%3 == 0 {
				return s.refund(a.ID, "r", 0)
			}
			return a
		})
		b := s.ask("GET", "/v1/offers/o/balance", "", "")
		if b.NetSpent > 40 {
			s.Errorf("oversold: %+v", b)
		}
		s.logged(b.Redeemed, b.Refunded)
		net := int64(0)
		for i := range 60 {
			u := s.usage(fmt.Sprint("u", i))
			net += u
			if u < 0 || u > 1 {
				s.Errorf("u%d has %d", i, u)
			}
		}
		if net != b.NetSpent {
			s.Errorf("users have %d, the offer says %d", net, b.NetSpent)
		}
	})
}

func TestAnOfferIsMadeOnce(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(5, 1)
		if a := s.ask("POST", "/v1/offers", "", `{"id": "o", "name": "An offer", "budget": 5, "user_limit_redemptions": 1}`); a.status != 200 {
			s.Errorf("the repeat: %+v", a)
		}
		if a := s.ask("POST", "/v1/offers", "", `{"id": "o", "name": "An offer", "budget": 6}`); !a.is("already-exists") {
			s.Errorf("another one: %+v", a)
		}
		for _, bad := range []string{``, `{`, `{"id": "p", "budget": -1}`, `{"id": "", "budget": 1}`, `{"id": "p", "colour": 1}`} {
			if a := s.ask("POST", "/v1/offers", "", bad); !a.is("invalid-request") {
				s.Errorf("%s: %+v", bad, a)
			}
		}
	})
}

func TestABadRequestTakesNothing(t *testing.T) {
	each(t, func(s *shop) {
		s.offer(5, 0)
		if a := s.redeem("", "alice", 1); !a.is("idempotency-key-missing") {
			s.Errorf("without a key: %+v", a)
		}
		for _, body := range []string{``, `{}`, `{"user_id": "alice", "units": -1}`, `{"user_id": "alice", "unit": 1}`} {
			if a := s.ask("POST", "/v1/offers/o/redemptions", "k", body); !a.is("invalid-request") {
				s.Errorf("%s: %+v", body, a)
			}
		}
		s.counted(0, 0)
	})
}
