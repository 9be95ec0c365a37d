package allocator

import (
	"strconv"
	"testing"

	"tranche/lease"
	"tranche/models"
)

// entryOf is a user's redemption.
func entryOf(user string) *models.Entry {
	return &models.Entry{OfferID: "o", Redemption: models.RedemptionIDOf("o", user).Hash, Kind: models.KindRedeem, UserID: user, IdempotencyKey: user, Units: 1}
}

// Of what is settled the oldest is forgotten, and its user's count with it. What is not settled stays, however much comes after it.
func TestTheMemoryOfWhatIsSettledIsBounded(t *testing.T) {
	var m memory
	owed := entryOf("owed")
	m.acknowledge(owed, new(lease.Block), false)
	const most = memoryShards * rememberedPerShard
	for i := range 2 * most {
		e := entryOf(strconv.Itoa(i))
		m.settle(e, true)
		m.settle(e, true) // as a node does that hears of it twice
		if _, settled, known := m.find(e.Redemption); !known || !settled {
			t.Fatalf("the latest, %d, is not remembered", i)
		}
	}
	if _, settled, known := m.find(owed.Redemption); !known || settled {
		t.Errorf("owed: known %v, settled %v", known, settled)
	}
	known, late := 0, 0
	for i := range 2 * most {
		if _, _, found := m.find(entryOf(strconv.Itoa(i)).Redemption); found {
			known++
			if i >= most {
				late++
			}
		}
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
