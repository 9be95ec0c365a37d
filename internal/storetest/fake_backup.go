package storetest

import (
	"maps"
	"slices"

	"tranche/models"
)

// Backup copies all that the store holds. restore puts the copy back, as often as it is called: all later commits are lost.
func (f *Fake) Backup() (restore func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes, offers, carts := f.copy()
	feed := len(f.feed)
	return func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.nodes, f.offers, f.carts = nodes, offers, carts
		f.feed = slices.Clip(f.feed[:feed])
		nodes, offers, carts = f.copy()
	}
}

func (f *Fake) copy() (map[models.ID]*models.Node, map[string]*shelf, map[models.CartID]models.Cart) {
	nodes, offers := map[models.ID]*models.Node{}, map[string]*shelf{}
	for id, n := range f.nodes {
		nodes[id] = new(*n)
	}
	for id, s := range f.offers {
		offers[id] = s.copy()
	}
	return nodes, offers, maps.Clone(f.carts)
}

// copy shares rows that are never changed.
func (s *shelf) copy() *shelf {
	c := *s
	c.leases, c.active, c.histories = map[models.ID]*models.Lease{}, map[models.ID]*models.Lease{}, map[models.ID][]models.Entry{}
	for id, l := range s.leases {
		c.leases[id] = new(*l)
		if s.active[id] != nil {
			c.active[id] = c.leases[id]
		}
	}
	for id, history := range s.histories {
		c.histories[id] = slices.Clone(history)
	}
	c.entries, c.exceptions, c.audits = slices.Clone(s.entries), slices.Clone(s.exceptions), slices.Clone(s.audits)
	c.usages, c.holds = maps.Clone(s.usages), maps.Clone(s.holds)
	return &c
}
