package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// stage is an offer on which somebody stops while others want to go on.
type stage struct {
	good, bad *store.Store
	offer     models.Offer
	lease     models.Lease
	grant     models.GrantRequest
	leave     chan bool
}

func newStage(t *testing.T) *stage {
	dsn, ctx := storetest.MySQL(t), context.Background()
	s := &stage{good: open(t, store.Config{DSN: dsn}), bad: prepare(t, store.Config{DSN: dsn}), leave: make(chan bool)}
	node, one := models.NewID(), int64(2)
	epoch, err := s.good.RegisterNode(ctx, node, "n")
	if err != nil {
		t.Fatal(err)
	}
	s.offer, _, err = s.good.CreateOffer(ctx, models.Offer{
		ID: "o", Name: "o", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 100, UserLimitRedemptions: &one,
		LeaseSize: 1, LeaseTTLSeconds: 60,
	}, models.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	s.grant = models.GrantRequest{
		OfferID: "o", NodeID: node, Epoch: epoch, LeaseID: models.NewID(),
		Size: func(*models.Offer, int64, int64) int64 { return 50 },
	}
	g, err := s.good.Grant(ctx, s.grant)
	if err != nil {
		t.Fatal(err)
	}
	s.lease, s.grant.LeaseID = *g.Lease, models.NewID()
	if err := s.settle(1); err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *stage) settle(number int64) error {
	w := models.Wanted{Entry: models.Entry{
		OfferID: "o", ID: models.NewID(), Redemption: models.NewID(), Kind: models.KindRedeem, UserID: "u", IdempotencyKey: "k", Units: 1,
	}}
	_, err := s.good.Settle(context.Background(), models.Batch{Offer: &s.offer, LeaseID: s.lease.ID, Number: number, Wanted: []models.Wanted{w}})
	return err
}

// outlasts wants a call to come through within ten seconds, each attempt within five, and each refusal to be ErrBusy.
func (s *stage) outlasts(t *testing.T, call func() error) {
	t.Helper()
	for began := time.Now(); ; {
		attempt := time.Now()
		err := call()
		if took := time.Since(attempt); took > 5*time.Second {
			t.Fatalf("an attempt took %s", took)
		}
		held := time.Since(began)
		switch {
		case err != nil && !errors.Is(err, models.ErrBusy):
			t.Fatal(err)
		case held > 10*time.Second:
			t.Fatalf("held up for %s: %v", held, err)
		case err == nil && held < time.Second:
			t.Fatalf("held up for %s only: nobody was in the way", held)
		case err == nil:
			if !s.good.Available() {
				t.Fatal("lock waits have opened the breaker")
			}
			return
		}
	}
}

func TestAnAdminsClientThatStoppedHoldsUpGrantsForSecondsOnly(t *testing.T) {
	t.Parallel()
	s, ctx := newStage(t), context.Background()
	inside, done := make(chan bool, 8), make(chan error, 1)
	go func() { // stops while it holds the offer's row
		_, err := s.bad.ChangeOffer(ctx, "o", nil, func(o *models.Offer) error {
			inside <- true
			<-s.leave
			o.Name = "changed"
			return nil
		}, models.Audit{})
		done <- err
	}()
	<-inside
	s.outlasts(t, func() error { _, err := s.good.Grant(ctx, s.grant); return err })
	close(s.leave)
	if err := <-done; !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Fatalf("the stopped one continues: %v", err)
	}
	now, err := s.good.Offer(ctx, "o")
	if err != nil || now.Name != "o" || now.Allocated != 100 {
		t.Fatalf("offer %+v, %v", now, err)
	}
}

func TestANodeThatStoppedInMidSettleHoldsOthersUpForSecondsOnly(t *testing.T) {
	for name, lock := range map[string]string{
		"on the user's row":  "SELECT * FROM usages WHERE offer_id = 'o' AND user_id = 'u' FOR UPDATE",
		"on the lease's row": "SELECT * FROM leases WHERE offer_id = 'o' FOR UPDATE",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			stopped, gone := make(chan error, 1), make(chan bool)
			go func() {
				defer close(gone)
				store.Stop(s.bad, s.leave, stopped, lock)
			}()
			if err := <-stopped; err != nil {
				t.Fatal(err)
			}
			s.outlasts(t, func() error { return s.settle(2) })
			close(s.leave)
			<-gone
		})
	}
}
