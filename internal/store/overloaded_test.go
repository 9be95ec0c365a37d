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

// Who waits in vain for the node's own calls has met no lock: a smaller transaction would not help, and the database is not away.
func TestACallThatFindsNoConnectionIsNotCalledALock(t *testing.T) {
	for name, config := range map[string]func(*testing.T) store.Config{
		"SQLite": file,
		"MySQL":  func(t *testing.T) store.Config { return store.Config{DSN: storetest.MySQL(t), MaxConns: 1} },
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, config(t))
			inside, leave, done := make(chan bool), make(chan bool), make(chan error, 1)
			create := func(ctx context.Context, id string) error {
				_, _, err := s.CreateOffer(ctx, models.Offer{
					ID: id, Name: id, Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 10, LeaseSize: 1, LeaseTTLSeconds: 60,
				}, models.Audit{})
				return err
			}
			if err := create(t.Context(), "o"); err != nil {
				t.Fatal(err)
			}
			go func() {
				_, err := s.ChangeOffer(context.Background(), "o", nil, func(*models.Offer) error {
					inside <- true
					<-leave
					return nil
				}, models.Audit{})
				done <- err
			}()
			<-inside
			soon, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
			defer cancel()
			if err := create(soon, "p"); !errors.Is(err, models.ErrOverloaded) || errors.Is(err, models.ErrBusy) {
				t.Errorf("want ErrOverloaded alone: %v", err)
			}
			close(leave)
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			if err := create(t.Context(), "p"); err != nil || !s.Available() {
				t.Error("afterwards:", err)
			}
		})
	}
}
