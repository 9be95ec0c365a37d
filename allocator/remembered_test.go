package allocator

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"testing"
	"time"
	"weak"

	"tranche/internal/catalogue"
	"tranche/lease"
	"tranche/models"
)

// entryOf is a user's redemption.
func entryOf(user string) *models.Entry {
	return &models.Entry{OfferID: "o", Redemption: models.RedemptionIDOf("o", user).Hash, Kind: models.KindRedeem, UserID: user, IdempotencyKey: user, Units: 1}
}

// The oldest settled redemption is forgotten, and its user's count with it. One that is not settled stays, however many come after it.
func TestTheMemoryOfWhatIsSettledIsBounded(t *testing.T) {
	var m memory
	owed := entryOf("owed")
	m.acknowledge(&lease.Posting{Entry: *owed, Block: new(lease.Block), Offer: new(models.Offer)})
	const most = memoryShards * rememberedPerShard
	for i := range 2 * most {
		e := entryOf(strconv.Itoa(i))
		m.settle(*e, true)
		m.settle(*e, true) // as a node does that hears of it twice
		if _, settled, known := m.find(e.Redemption); !known || !settled {
			t.Fatalf("the latest, %d, is not remembered", i)
		}
	}
	if _, settled, known := m.find(owed.Redemption); !known || settled {
		t.Errorf("owed: known %v, settled %v", known, settled)
	}
	known, late, past := 0, 0, 0
	for i := range 2 * most {
		_, settled, remembered := m.find(entryOf(strconv.Itoa(i)).Redemption)
		switch {
		case !settled:
			t.Fatalf("%d is not settled", i)
		case !remembered:
			past++
		default:
			known++
			if i >= most {
				late++
			}
		}
	}
	if past != most {
		t.Errorf("of %d the ledger is known to have them, want %d", past, most)
	}
	if known != most {
		t.Errorf("%d are remembered, want %d", known, most)
	}
	if late < most*9/10 { // shards are never filled quite alike
		t.Errorf("%d of the latest %d are remembered", late, most)
	}
	if len(m.users.used) != most {
		t.Errorf("%d users are counted, want %d", len(m.users.used), most)
	}
}

// Of a settled redemption that is forgotten, the node knows for a while that the ledger has it.
func TestThePastIsBounded(t *testing.T) {
	var p past
	const last = 10*pastPerShard + 1
	for i := range last {
		id := models.RedemptionIDOf("o", strconv.Itoa(i)).Hash
		p.add(id)
		if !p.has(id) || len(p.younger) > pastPerShard || len(p.elder) > pastPerShard {
			t.Fatalf("after %d: known %v, of %d and %d", i, p.has(id), len(p.younger), len(p.elder))
		}
	}
	for i := range last {
		known := p.has(models.RedemptionIDOf("o", strconv.Itoa(i)).Hash)
		if want := i >= last-1-pastPerShard; known != want {
			t.Fatalf("%d of %d: known %v", i, last, known)
		}
	}
}

// ledgerOf is a ledger with these entries, or one that is away.
type ledgerOf struct {
	history []models.Entry
	err     error
}

func (l *ledgerOf) Histories(context.Context, string, []models.ID) (map[models.ID][]models.Entry, error) {
	if l.err != nil || len(l.history) == 0 {
		return nil, l.err
	}
	return map[models.ID][]models.Entry{l.history[0].Redemption: l.history}, nil
}

// A request that is repeated long after it was settled is answered as the ledger has it now.
func TestWhatWasSettledLongAgoIsAnsweredFromTheLedger(t *testing.T) {
	first := entryOf("u")
	refund := models.Entry{OfferID: "o", Redemption: first.Redemption, Seq: 1, Kind: models.KindRefund, IdempotencyKey: "r", Units: 1}
	books := &ledgerOf{history: []models.Entry{*first, refund}}
	a := &Allocator{lookups: lookups{source: books}}
	a.memory.settle(*first, false)
	for i := range 2 * memoryShards * rememberedPerShard {
		a.memory.settle(*entryOf(strconv.Itoa(i)), false)
	}
	if _, settled, known := a.memory.find(first.Redemption); !settled || known {
		t.Fatalf("settled %v, known %v", settled, known)
	}
	repeat := func(user string) (Redeemed, bool, error) {
		e := *entryOf("u")
		e.ID, e.UserID = models.NewID(), user
		return a.remembered(t.Context(), &e)
	}
	if r, known, err := repeat("u"); err != nil || !known || !r.Replayed || r.Redemption.RefundedUnits != 1 || r.Redemption.Journaled {
		t.Errorf("repeated: %+v, %v, %v", r, known, err)
	}
	if _, known, err := repeat("somebody else"); !known || !errors.Is(err, models.ErrKeyReused) {
		t.Errorf("another request with its key: %v, %v", known, err)
	}
	books.err = models.ErrLedgerUnavailable
	if r, known, err := repeat("u"); known || err != nil {
		t.Errorf("with the ledger away: %+v, %v, %v", r, known, err)
	}
	books.history, books.err = nil, nil // it shares a quarter of its hash with another
	if r, known, err := repeat("u"); known || err != nil {
		t.Errorf("with nothing in the ledger: %+v, %v, %v", r, known, err)
	}
}

// A remembered item of a cart must not keep the whole cart in memory.
func TestAnEntryKeepsNoCartInMemory(t *testing.T) {
	a := &Allocator{cfg: Config{Offers: catalogue.New(nil, time.Now), Now: time.Now}}
	c := a.newCart(&CartRequest{Key: "k", UserID: "u", Items: []CartItem{{OfferID: "o", Units: 1}, {OfferID: "p", Units: 1}}})
	e, whole := c.entries[0], weak.Make(c)
	runtime.GC()
	if *e.CartID != models.CartIDOf("k") || whole.Value() != nil {
		t.Errorf("the entry of cart %s keeps %v", e.CartID, whole.Value())
	}
	runtime.KeepAlive(e)
}
