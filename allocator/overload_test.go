package allocator_test

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"tranche/allocator"
	"tranche/internal/settle"
	"tranche/models"
	"tranche/refund"
)

// crowded is a settler that says whether it is overloaded as the test wants it to.
type crowded struct {
	*settle.Settler
	overloaded atomic.Bool
}

func (c *crowded) Overloaded() bool { return c.overloaded.Load() }

// A node that owes the ledger too much acknowledges nothing more, and has spent nothing.
func TestAnOverloadedNodeAcknowledgesNothing(t *testing.T) {
	inFleet(t, 1, fixedBlocks(models.ModeFast, 25), func(t *testing.T, f *fleet) {
		n := f.nodes[0]
		settler := &crowded{Settler: n.settler}
		desk := refund.NewDesk(refund.DeskConfig{NodeID: n.id, Ledger: f.fake, Keeper: n.keeper, Settler: settler, Offers: n.catalogue, Now: time.Now, Logger: zerolog.Nop()})
		n.Allocator = allocator.New(allocator.Config{
			NodeID: n.id, Offers: n.catalogue, Ledger: f.fake, Blocks: n.keeper, Settler: settler, Desk: desk, Journal: n.journal, Health: n.ledger, Now: time.Now,
		})
		hold(t, n, "a")
		settler.overloaded.Store(true)
		if _, err := n.redeem("b", "u", 1); !errors.Is(err, models.ErrOverloaded) || n.journal.backlog() != 0 {
			t.Errorf("%v, and the journal has %d records", err, n.journal.backlog())
		}
		settler.overloaded.Store(false)
		if _, err := n.redeem("b", "u", 1); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second)
		if b := f.balance(); b.Redeemed != 2 {
			t.Errorf("%+v", b)
		}
	})
}
