package allocator

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"

	"tranche/internal/ledger"
	"tranche/lease"
	"tranche/models"
)

// remembered answers a request that this node remembers from before; known is false where it does not. Only the ledger can say that a hold
// has not ended, so with the ledger away a hold is not answered from memory.
func (a *Allocator) remembered(ctx context.Context, e *models.Entry) (r Redeemed, known bool, err error) {
	earlier, settled, known := a.memory.find(e.Redemption)
	same, held := ledger.SameRequest, false
	if known {
		if !ledger.SameRequest(earlier, e) {
			return Redeemed{}, true, models.ErrKeyReused
		}
		same = ledger.SameRedemption // the ledger may have the other one of two that were acknowledged apart
		held = earlier.Kind == models.KindHold
	}
	if settled || held { // it may be refunded, or the hold may have ended, by now
		r, found, err := a.lookups.request(ctx, e, same)
		if found {
			return r, true, err
		}
		if held && err != nil {
			return Redeemed{}, true, fmt.Errorf("%w: the hold may have ended: %w", models.ErrOutcomeUnknown, err)
		}
	}
	if !known { // a request that was settled long ago is taken for new while the ledger is away, as on any other node
		return Redeemed{}, false, nil
	}
	r = Redeemed{Redemption: ledger.Begin(earlier), Replayed: true}
	r.Redemption.Journaled = !settled
	return r, true, nil
}

// memory is what this node knows of redemptions without asking the ledger: those that it has acknowledged in its journal and not settled
// yet, and the latest of those that are settled. It answers repeated requests. While the ledger is away, it says how much of a user's limit
// is used up, as far as this node has seen.
//
// The journal bounds the unsettled redemptions; rememberedPerShard bounds the settled ones. Of older ones the memory keeps a quarter of the
// hash: if such a request is repeated, the ledger is asked. When that is forgotten, too, a repeated request is taken for a new one. Settling
// it then finds the first, and its unit comes back.
type memory struct {
	shards [memoryShards]memoryShard
	users  userCounts
}

const (
	memoryShards = 64
	// rememberedPerShard is how many settled redemptions one shard keeps: 16 384 in all, some 8 MB.
	rememberedPerShard = 256
	// pastPerShard is of how many more it keeps a quarter of the hash, and of up to twice as many: 131 072 to 262 144 in all, 2 to 5 MB.
	pastPerShard = 2048
)

type memoryShard struct {
	mu      sync.Mutex
	known   map[models.ID]remembered // by the hash of the redemption id, which says the offer, too
	settled []models.ID              // a ring of the settled ones
	oldest  int                      // the next place of the ring to use
	past    past
}

// remembered is one redemption of this node's.
type remembered struct {
	entry   *models.Entry // it does not change
	settled bool
	counted bool // in users
}

func (m *memory) shard(hash models.ID) *memoryShard {
	return &m.shards[binary.LittleEndian.Uint64(hash[:])%memoryShards]
}

// past is the older settled redemptions, each by a quarter of its hash. One new request in a million looks like one of them, and costs a
// look-up. It has two generations of at most pastPerShard. When the younger is full, the elder is dropped.
type past struct{ younger, elder map[uint32]struct{} }

func quarter(hash models.ID) uint32 { return binary.LittleEndian.Uint32(hash[8:]) } // the shard is chosen by others

func (p *past) add(hash models.ID) {
	if len(p.younger) == pastPerShard {
		p.younger, p.elder = nil, p.younger
	}
	if p.younger == nil {
		p.younger = map[uint32]struct{}{}
	}
	p.younger[quarter(hash)] = struct{}{}
}

func (p *past) has(hash models.ID) bool {
	_, younger := p.younger[quarter(hash)]
	_, elder := p.elder[quarter(hash)]
	return younger || elder
}

// find gives the entry that this node remembers for a redemption, which does not change, and whether it is in the ledger already. A
// redemption that was settled long ago is settled and not known.
func (m *memory) find(hash models.ID) (e *models.Entry, settled, known bool) {
	r, known := m.look(hash)
	return r.entry, r.settled, known
}

func (m *memory) look(hash models.ID) (remembered, bool) {
	s := m.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, found := s.known[hash]; found {
		return r, true
	}
	return remembered{settled: s.past.has(hash)}, false
}

// owes reports whether this node has acknowledged a redemption and not settled it yet.
func (m *memory) owes(hash models.ID) bool {
	r, found := m.look(hash)
	return found && !r.settled
}

// acknowledge remembers an entry that is in the journal and not in the ledger. Where its offer limits users, it was counted before.
func (m *memory) acknowledge(p *lease.Posting) {
	s := m.shard(p.Entry.Redemption)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(p.Entry.Redemption, remembered{entry: &p.Entry, counted: p.Offer.LimitsUsers()})
}

// settle notes that the ledger has a redemption, as this entry. count says whether to count it in users, unless it is counted already. The
// oldest settled one is forgotten.
func (m *memory) settle(e models.Entry, count bool) {
	s := m.shard(e.Redemption)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.settleIn(s, &e, count) // a copy of its own, so that neither a block nor a verdict stays in memory with it
}

// settleIn, set and drop are called with the shard's mu held.
func (m *memory) settleIn(s *memoryShard, e *models.Entry, count bool) {
	hash := e.Redemption
	r, known := s.known[hash]
	if known && r.settled {
		return
	}
	if known && ledger.SameRedemption(r.entry, e) {
		e.Metadata = r.entry.Metadata // as this node has acknowledged it, so that the request stays the same
	}
	counted := known && r.counted
	if count && !counted {
		m.users.add(e)
		counted = true
	}
	s.set(hash, remembered{entry: e, settled: true, counted: counted})
	if len(s.settled) < rememberedPerShard {
		s.settled = append(s.settled, hash)
		return
	}
	m.drop(s, s.settled[s.oldest])
	s.past.add(s.settled[s.oldest])
	s.settled[s.oldest] = hash
	s.oldest = (s.oldest + 1) % rememberedPerShard
}

// follow notes a redemption that was seen in the ledger, with what follows on it. The settler may not have heard of it yet, or may have
// another request's entry on its way. From now on requests must be answered from the ledger.
func (m *memory) follow(seen *models.Redemption) {
	s := m.shard(seen.Hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known := s.known[seen.Hash]
	if !known || r.settled {
		return
	}
	first := ledger.First(seen)
	if !ledger.SameRedemption(r.entry, &first) {
		m.drop(s, seen.Hash) // with what it counted of a user
	}
	m.settleIn(s, &first, false)
}

// forget drops an entry that did not become a redemption: another request had its key.
func (m *memory) forget(hash models.ID) {
	s := m.shard(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.known[hash]; ok && !r.settled {
		m.drop(s, hash)
	}
}

func (s *memoryShard) set(hash models.ID, r remembered) {
	if s.known == nil {
		s.known = map[models.ID]remembered{}
	}
	s.known[hash] = r
}

func (m *memory) drop(s *memoryShard, hash models.ID) {
	if r := s.known[hash]; r.counted {
		m.users.remove(r.entry)
	}
	delete(s.known, hash)
}
