package storetest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tranche/internal/storetest"
	"tranche/models"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFakeIsAStore(t *testing.T) {
	storetest.Run(t, func(*testing.T) storetest.Store { return storetest.NewFake(time.Now) })
}

func TestFaultsOfTheFake(t *testing.T) {
	ctx, fake := context.Background(), storetest.NewFake(time.Now)
	var before, after error
	fake.Fail = func(string) error { return before }
	fake.After = func(string) error { return after }
	id := models.NewID()

	before = models.ErrLedgerUnavailable
	if _, err := fake.RegisterNode(ctx, id, "n"); !errors.Is(err, before) {
		t.Fatalf("a failing call: %v", err)
	}
	before, after = nil, models.ErrOutcomeUnknown
	if epoch, err := fake.RegisterNode(ctx, id, "n"); !errors.Is(err, after) || epoch != 0 {
		t.Fatalf("a lost reply: epoch %d, %v", epoch, err)
	}
	after = nil
	if epoch, err := fake.RegisterNode(ctx, id, "n"); err != nil || epoch != 2 {
		t.Fatalf("epoch %d after one that was lost: %v", epoch, err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := fake.Ping(ended); !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Fatalf("a cancelled call: %v", err)
	}
}
