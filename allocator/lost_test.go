package allocator_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/settle"
	"tranche/models"
)

// grants counts the calls for leases from now on.
func (f *fleet) grants() *int {
	count := new(int)
	f.fail(func(call string) error {
		if call == "Grant" || call == "OpenPool" {
			*count++
		}
		return nil
	})
	return count
}

// A backup is restored under a node that has changed the offer since. The node goes on with the terms of the backup.
func TestA2ANodeServesAnOfferWhoseNumbersWentBack(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeFast} {
		inFleet(t, 1, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			f.stranded = true // a lease that was returned is there again, and nobody has it
			n := f.nodes[0]
			hold(t, n, "a")
			restore := f.fake.Backup()
			for size := range int64(3) {
				f.change(func(o *models.Offer) { o.LeaseSize = 20 + size })
			}
			restore()
			time.Sleep(time.Second)
			count := f.grants()
			for i := range 5 {
				if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
					t.Fatalf("%s: redemption %d: %v", mode, i, err)
				}
			}
			if *count > 2 {
				t.Errorf("%s: %d leases for 5 redemptions", mode, *count)
			}
			if o, err := n.catalogue.Offer(t.Context(), "o"); err != nil || o.LeaseSize != 25 {
				t.Errorf("%s: known as %+v, %v", mode, o, err)
			}
			time.Sleep(time.Second)
			if b := f.balance(); b.Redeemed != 6 {
				t.Errorf("%s: %+v", mode, b)
			}
			f.change(func(o *models.Offer) { o.LeaseSize = 10 }) // and it hears of changes
			if o, err := n.catalogue.Offer(t.Context(), "o"); err != nil || o.LeaseSize != 10 {
				t.Errorf("%s: known as %+v, %v", mode, o, err)
			}
			if _, err := n.redeem("last", "u", 1); err != nil {
				t.Errorf("%s: %v", mode, err)
			}
		})
	}
}

// The pause was lost. A paused offer is leased by nobody, so the next read of all offers has to find out.
func TestA2APauseThatTheLedgerHasLostEnds(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.stranded = true // a lease that was returned is there again, and nobody has it
		n := f.nodes[0]
		hold(t, n, "a")
		restore := f.fake.Backup()
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		restore()
		time.Sleep(time.Minute)
		if _, err := n.redeem("b", "u", 1); err != nil {
			t.Error(err)
		}
	})
}

// A refund needs a pool, which is granted nothing from the budget and tells of the offer by a read without a lock.
func TestA2ARefundFindsAPoolAfterNumbersWentBack(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		f.stranded = true // a lease that was returned is there again, and nobody has it
		n := f.nodes[0]
		hold(t, n, "a")
		restore := f.fake.Backup()
		f.change(func(o *models.Offer) { o.LeaseSize = 7 })
		restore()
		time.Sleep(time.Second)
		count := f.grants()
		if _, err := n.refund("a", "r", 1); err != nil {
			t.Error(err)
		}
		if *count > 12 {
			t.Errorf("%d pools for one refund", *count)
		}
	})
}

// The reply to a grant is on its way for so long that a pause has come and is known meanwhile.
func TestA2AGrantThatWasHeldBackDoesNotEndAPause(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		held := make(chan struct{})
		f.lose(func(call string) error {
			if call == "Grant" {
				<-held
			}
			return nil
		})
		redeemed := make(chan error)
		go func() {
			_, err := n.redeem("a", "u", 1)
			redeemed <- err
		}()
		time.Sleep(time.Second)
		f.change(func(o *models.Offer) { o.Status = models.StatusPaused })
		close(held)
		if err := <-redeemed; !errors.Is(err, models.ErrOfferNotActive) {
			t.Errorf("redeemed from the grant: %v", err)
		}
		if _, err := n.redeem("b", "u", 1); !errors.Is(err, models.ErrOfferNotActive) {
			t.Errorf("redeemed after it: %v", err)
		}
	})
}

// The ledger has a lease of the node as it was some batches ago. All requests go on, with another lease.
func TestA3AStrictNodeGoesOnWithAnotherLease(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeStrict, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		restore := f.fake.Backup()
		for i := range 3 {
			if _, err := n.redeem(fmt.Sprint("lost-", i), "u", 1); err != nil {
				t.Fatal(err)
			}
		}
		restore()
		count := f.grants()
		for i := range 5 {
			if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
				t.Fatalf("redemption %d: %v", i, err)
			}
		}
		if *count != 1 {
			t.Errorf("%d leases for 5 redemptions", *count)
		}
		time.Sleep(time.Second)
		if b := f.balance(); b.Redeemed != 6 || b.LeasesActive != 1 || b.LateUnits != 0 {
			t.Errorf("%+v", b)
		}
	})
}

// Redemptions acknowledged on such a lease are booked late, and no renewal keeps the lease.
func TestA3AFastNodeBooksWhatItHasAcknowledged(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		hold(t, n, "a")
		restore := f.fake.Backup()
		for i := range 3 {
			hold(t, n, fmt.Sprint("lost-", i))
		}
		f.away()
		for i := range 5 {
			if _, err := n.redeem(fmt.Sprint(i), "u", 1); err != nil {
				t.Fatal(err)
			}
		}
		restore()
		f.back()
		time.Sleep(2 * time.Second)
		if b := f.balance(); b.Redeemed != 6 || b.LateUnits != 5 || b.OverspendBound != b.Outstanding || n.journal.backlog() != 0 {
			t.Errorf("%+v, backlog %d", b, n.journal.backlog())
		}
		listed, err := f.fake.Exceptions(t.Context(), "o", 10, models.ID{})
		if err != nil || len(listed) != 5 {
			t.Errorf("listed: %v, %v", listed, err)
		}
		hold(t, n, "b")
		if b := f.balance(); b.Redeemed != 7 || b.LateUnits != 5 || b.LeasesActive != 1 {
			t.Errorf("with a new lease: %+v", b)
		}
	})
}

// The ledger has lost the lease itself, and the node's registration with it.
func TestA3ANodeGoesOnWithoutALeaseThatTheLedgerHasLost(t *testing.T) {
	for _, mode := range []models.Mode{models.ModeStrict, models.ModeFast} {
		inFleet(t, 1, fixedBlocks(mode, 25), func(t *testing.T, f *fleet) {
			n := f.nodes[0]
			restore := f.fake.Backup()
			hold(t, n, "lost")
			restore()
			for i := range 3 {
				hold(t, n, fmt.Sprint(i))
			}
			late := map[models.Mode]int64{models.ModeStrict: 0, models.ModeFast: 1}[mode] // the first one meets the lost lease
			if b := f.balance(); b.Redeemed != 3 || b.LateUnits != late || b.LeasesActive != 1 || n.journal.backlog() != 0 {
				t.Errorf("%s: %+v, backlog %d", mode, b, n.journal.backlog())
			}
		})
	}
}

// Records of an offer that the ledger does not have stay in the journal, and all others are booked.
func TestA1ARecoveryKeepsTheRecordsOfALostOffer(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		restore := f.fake.Backup()
		f.owe(n, 3)
		lost := n.journal.copy()
		foreign, err := n.journal.Append(t.Context(), 1, []byte(`{"offer_id":"gone","entry_id":"`+models.NewID().String()+
			`","user_id":"u","idempotency_key":"k","units":1,"lease_id":"`+models.NewID().String()+`","node_id":"`+n.id.String()+`","created_at_us":1}`))
		if err != nil {
			t.Fatal(err)
		}
		kept := n.journal.copy()
		f.back()
		time.Sleep(time.Second)
		restore()
		for range 2 { // again, it is booked once
			settler := settle.New(settle.Config{Now: time.Now, Logger: zerolog.Nop(), Metrics: prometheus.NewRegistry()}, f.fake)
			recovery := allocator.NewRecovery(kept, f.fake, settler, time.Now)
			if _, err := recovery.Run(t.Context()); err != nil {
				t.Fatal(err)
			}
			settler.Stop(t.Context())
			if got := recovery.Kept(); len(got) != 1 || got["gone"] != 1 {
				t.Errorf("kept %v", got)
			}
			if _, left := kept.records[foreign]; !left || kept.backlog() != 1 {
				t.Errorf("left in the journal: %v", kept.records)
			}
			if b := f.balance(); b.Redeemed != 3 || b.LateUnits != 3 || b.Allocated != 3 {
				t.Errorf("%+v", b)
			}
			for seq, r := range lost.records {
				kept.records[seq] = r
			}
		}
	})
}

// Something closes the leases of a node as soon as they are granted. A request doesn't lease again and again.
func TestA2LeasesThatAreClosedAtOnceAreBounded(t *testing.T) {
	inFleet(t, 1, nil, func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		granted := 0
		f.fail(func(call string) error {
			switch call {
			case "Grant":
				granted++
			case "Settle", "SettleCart":
				return models.ErrLeaseClosed
			}
			return nil
		})
		if _, err := n.redeem("a", "u", 1); !errors.Is(err, models.ErrLedgerUnavailable) || granted > 15 {
			t.Errorf("%d leases for one request: %v", granted, err)
		}
	})
}
