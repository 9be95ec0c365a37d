package store_test

import (
	"fmt"
	"slices"
	"testing"

	"tranche/internal/store"
	"tranche/models"
)

// Another client has stopped in mid-transaction. The store says whom it keeps waiting, and does not wait itself.
func TestC4TheStoreNamesWhatIsLocked(t *testing.T) {
	taken := models.RedemptionIDOf("o", "taken")
	for name, c := range map[string]struct {
		lock string
		want []bool // of a user with counters, of a user that has none yet, and of a key
	}{
		"nothing":                         {"SELECT 1", []bool{false, false, false}},
		"the counters of a user":          {"SELECT * FROM usages WHERE offer_id = 'o' AND user_id = 'u' FOR UPDATE", []bool{true, false, false}},
		"a user whose counters are begun": {"INSERT INTO usages (offer_id, user_id, redemptions, units, held_units) VALUES ('o', 'new', 1, 1, 0)", []bool{false, true, false}},
		"a key that is being booked": {fmt.Sprintf(`INSERT INTO entries (offer_id, id, redemption, seq, kind, user_id, idempotency_key, units, lease_id, node_id, created_at, booked_at)
			SELECT offer_id, UNHEX('%032d'), UNHEX('%x'), 0, kind, 'x', 'taken', units, lease_id, node_id, created_at, booked_at FROM entries LIMIT 1`,
			1, taken.Hash[:]), []bool{false, false, true}},
		"another user": {"INSERT INTO usages (offer_id, user_id, redemptions, units, held_units) VALUES ('o', 'other', 1, 1, 0)", []bool{false, false, false}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			stopped, gone := make(chan error, 1), make(chan bool)
			go func() {
				defer close(gone)
				store.Stop(s.bad, s.leave, stopped, c.lock)
			}()
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			wanted := func(user string, key models.RedemptionID) models.Wanted {
				return models.Wanted{Entry: models.Entry{OfferID: "o", ID: models.NewID(), Redemption: key.Hash, Kind: models.KindRedeem, UserID: user, Units: 1}}
			}
			other := models.RedemptionIDOf("o", "other")
			batch := models.Batch{Offer: &s.offer, LeaseID: s.lease.ID, Number: 2, Wanted: []models.Wanted{wanted("u", other), wanted("new", other), wanted("v", taken)}}
			locked, err := s.good.Locked(t.Context(), batch)
			if err != nil || !slices.Equal(locked, c.want) {
				t.Errorf("locked %v, want %v; %v", locked, c.want, err)
			}
			close(s.leave)
			<-gone
			if locked, err := s.good.Locked(t.Context(), batch); err != nil || slices.Contains(locked, true) {
				t.Errorf("afterwards: locked %v, %v", locked, err)
			}
		})
	}
}

// Others have counters, too, and few: the database may like to look at all counters of the offer.
func TestC4CountersAreReadBesideALockedOne(t *testing.T) {
	s := newStage(t)
	wanted := func() (list []models.Wanted) {
		for i := range 7 {
			list = append(list, models.Wanted{Entry: models.Entry{
				OfferID: "o", ID: models.NewID(), Redemption: models.NewID(), Kind: models.KindRedeem, UserID: fmt.Sprint("v", i), IdempotencyKey: "k", Units: 1,
			}})
		}
		return list
	}
	settle := func(number int64) {
		t.Helper()
		if _, err := s.good.Settle(t.Context(), models.Batch{Offer: &s.offer, LeaseID: s.lease.ID, Number: number, Wanted: wanted()}); err != nil {
			t.Error(err)
		}
	}
	settle(2)
	stopped, gone := make(chan error, 1), make(chan bool)
	go func() {
		defer close(gone)
		store.Stop(s.bad, s.leave, stopped, "SELECT * FROM usages WHERE offer_id = 'o' AND user_id = 'u' FOR UPDATE")
	}()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	settle(3)
	settle(4) // over their limits
	close(s.leave)
	<-gone
}
