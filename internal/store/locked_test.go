package store_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

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

// A node has stopped with the row of its lease locked. The leases of other nodes are renewed and returned all the same.
func TestC4LeasesAreKeptBesideALockedOne(t *testing.T) {
	s := newStage(t)
	var mine []models.ID
	for range 4 {
		g, err := s.good.Grant(t.Context(), models.GrantRequest{
			OfferID: "o", NodeID: s.grant.NodeID, Epoch: s.grant.Epoch, LeaseID: models.NewID(),
			Size: func(*models.Offer, int64, int64) int64 { return 5 },
		})
		if err != nil {
			t.Fatal(err)
		}
		mine = append(mine, g.Lease.ID)
	}
	stopped, gone := make(chan error, 1), make(chan bool)
	go func() {
		defer close(gone)
		store.Stop(s.bad, s.leave, stopped, fmt.Sprintf("SELECT * FROM leases WHERE offer_id = 'o' AND id = UNHEX('%x') FOR UPDATE", s.lease.ID[:]))
	}()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond) // less than one lock wait
	defer cancel()
	if renewed, _, err := s.good.Renew(ctx, s.grant.NodeID, s.grant.Epoch, "o", mine); err != nil || len(renewed) != len(mine) {
		t.Errorf("renewed %d: %v", len(renewed), err)
	}
	if err := s.good.Acquit(ctx, "o", mine); err != nil {
		t.Error("acquit:", err)
	}
	if leases, err := s.good.ReturnLeases(ctx, "o", mine); err != nil || len(leases) != len(mine) {
		t.Errorf("returned %d: %v", len(leases), err)
	}
	close(s.leave)
	<-gone
}

// A limit came after the first redemptions, so users are counted from the ledger: whatever entries of others are on their way.
func TestC4FirstCountsWaitForNoOtherUser(t *testing.T) {
	s, limit := newStage(t), int64(5)
	var err error
	s.offer, err = s.good.ChangeOffer(t.Context(), "o", nil, func(o *models.Offer) error { o.UserLimitUnits = &limit; return nil }, models.Audit{})
	if err != nil || s.offer.LimitedFrom == 0 {
		t.Fatal(s.offer.LimitedFrom, err)
	}
	stopped, gone := make(chan error, 1), make(chan bool)
	go func() {
		defer close(gone)
		store.Stop(s.bad, s.leave, stopped, `INSERT INTO entries (offer_id, id, redemption, seq, kind, user_id, idempotency_key, units, lease_id, node_id, created_at, booked_at)
			SELECT offer_id, UNHEX('00000000000000000000000000000001'), id, 0, kind, 'x', 'taken', units, lease_id, node_id, created_at, booked_at FROM entries LIMIT 1`)
	}()
	if err := <-stopped; err != nil {
		t.Fatal(err)
	}
	var wanted []models.Wanted
	for i := range 6 {
		wanted = append(wanted, models.Wanted{Entry: models.Entry{
			OfferID: "o", ID: models.NewID(), Redemption: models.NewID(), Kind: models.KindRedeem, UserID: fmt.Sprint("v", i), IdempotencyKey: "k", Units: 1,
		}})
	}
	if _, err := s.good.Settle(t.Context(), models.Batch{Offer: &s.offer, LeaseID: s.lease.ID, Number: 2, Wanted: wanted}); err != nil {
		t.Error(err)
	}
	close(s.leave)
	<-gone
}
