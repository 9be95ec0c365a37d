package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"tranche/internal/ledger"
	"tranche/internal/version"
	"tranche/models"
)

// LedgerID gives the ledger's id.
func (f *Fake) LedgerID(ctx context.Context) (models.ID, error) {
	return do(ctx, f, "LedgerID", func(models.Micros) (models.ID, error) { return f.ledgerID, nil })
}

// RegisterNode takes the node's next epoch.
func (f *Fake) RegisterNode(ctx context.Context, id models.ID, name string) (int64, error) {
	return do(ctx, f, "RegisterNode", func(now models.Micros) (int64, error) {
		n, ok := f.nodes[id]
		if !ok {
			n = &models.Node{ID: id}
			f.nodes[id] = n
		}
		n.Name, n.Version, n.StartedAt, n.SeenAt = name, version.Version, now, now
		n.Epoch++
		return n.Epoch, nil
	})
}

// Heartbeat notes that the node was seen.
func (f *Fake) Heartbeat(ctx context.Context, id models.ID, name string, epoch int64) error {
	_, err := do(ctx, f, "Heartbeat", func(now models.Micros) (struct{}, error) {
		if err := f.notSuperseded(id, epoch); err != nil {
			return struct{}{}, err
		}
		if f.nodes[id] == nil {
			f.nodes[id] = &models.Node{ID: id, Name: name, Version: version.Version, StartedAt: now}
		}
		f.nodes[id].SeenAt, f.nodes[id].Epoch = now, epoch
		return struct{}{}, nil
	})
	return err
}

// SignOff notes that a node has gone.
func (f *Fake) SignOff(ctx context.Context, id models.ID, epoch int64) error {
	_, err := do(ctx, f, "SignOff", func(now models.Micros) (struct{}, error) {
		if n := f.nodes[id]; n != nil && n.Epoch == epoch {
			n.LeftAt = new(max(now, n.SeenAt+1))
		}
		return struct{}{}, nil
	})
	return err
}

// Nodes lists nodes and what they hold, newest id first.
func (f *Fake) Nodes(ctx context.Context, limit int, mark models.ID) ([]models.NodeActivity, error) {
	return do(ctx, f, "Nodes", func(models.Micros) ([]models.NodeActivity, error) {
		var list []models.NodeActivity
		for id, n := range f.nodes {
			if before(id, mark) {
				list = append(list, f.activity(n))
			}
		}
		slices.SortFunc(list, func(a, b models.NodeActivity) int { return newestFirst(a.ID, b.ID) })
		return head(list, limit), nil
	})
}

func (f *Fake) activity(n *models.Node) models.NodeActivity {
	a := models.NodeActivity{Node: *n}
	for _, s := range f.offers {
		for _, l := range s.active {
			if l.NodeID == n.ID {
				a.LeasesActive++
				a.Outstanding += l.Outstanding()
			}
		}
	}
	return a
}

// CreateOffer stores a new offer; an identical repeat finds the one that is there.
func (f *Fake) CreateOffer(ctx context.Context, terms models.Offer, by models.Audit) (models.Offer, bool, error) {
	isNew := false
	created, err := do(ctx, f, "CreateOffer", func(now models.Micros) (models.Offer, error) {
		o, err := ledger.NewOffer(terms, now)
		if err != nil {
			return models.Offer{}, err
		}
		if s, ok := f.offers[o.ID]; ok {
			if !ledger.SameTerms(&s.offer, &o) {
				return models.Offer{}, fmt.Errorf("%w: %q", models.ErrOfferExists, o.ID)
			}
			return s.offer, nil
		}
		record, err := ledger.NewAudit(by, nil, &o, now)
		if err != nil {
			return models.Offer{}, err
		}
		f.offers[o.ID] = &shelf{
			offer: o, leases: map[models.ID]*models.Lease{}, active: map[models.ID]*models.Lease{}, audits: []models.Audit{record},
			histories: map[models.ID][]models.Entry{}, usages: map[string]models.Usage{}, holds: map[models.Hold]bool{},
		}
		isNew = true
		return o, nil
	})
	return created, isNew && err == nil, err
}

// Offer reads an offer.
func (f *Fake) Offer(ctx context.Context, id string) (models.Offer, error) {
	return do(ctx, f, "Offer", func(models.Micros) (models.Offer, error) {
		s, err := f.shelf(id)
		if err != nil {
			return models.Offer{}, err
		}
		return s.shown(), nil
	})
}

// shown is the offer, and whether its users are still being counted.
func (s *shelf) shown() models.Offer {
	o := s.offer
	for _, l := range s.leases {
		o.Counting = o.Counting || l.Recall < o.LimitedFrom && (l.State == models.LeaseActive || l.Exposed > 0)
	}
	return o
}

// LockedOffer reads an offer.
func (f *Fake) LockedOffer(ctx context.Context, id string) (models.Offer, error) {
	return do(ctx, f, "LockedOffer", func(models.Micros) (models.Offer, error) {
		s, err := f.shelf(id)
		if err != nil {
			return models.Offer{}, err
		}
		return s.offer, nil
	})
}

// Offers lists offers, newest first, with the clock that the filter's status was judged by.
func (f *Fake) Offers(ctx context.Context, filter models.OfferFilter) ([]models.Offer, models.Micros, error) {
	var at models.Micros
	list, err := do(ctx, f, "Offers", func(now models.Micros) ([]models.Offer, error) {
		at = now
		var list []models.Offer
		for _, s := range f.offers {
			if selects(&filter, &s.offer, now) {
				list = append(list, s.shown())
			}
		}
		slices.SortFunc(list, func(a, b models.Offer) int {
			return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(b.ID, a.ID))
		})
		return head(list, filter.Limit), nil
	})
	return list, at, err
}

func selects(filter *models.OfferFilter, o *models.Offer, now models.Micros) bool {
	if filter.Status != "" && o.StatusAt(now) != filter.Status {
		return false
	}
	query := lowerASCII(filter.Query)
	if !strings.Contains(lowerASCII(o.ID), query) && !strings.Contains(lowerASCII(o.Name), query) {
		return false
	}
	if filter.BeforeCreated == 0 && filter.BeforeID == "" {
		return true
	}
	return cmp.Or(cmp.Compare(o.CreatedAt, filter.BeforeCreated), cmp.Compare(o.ID, filter.BeforeID)) < 0
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// ChangeOffer applies an admin's change, and audits it.
func (f *Fake) ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (models.Offer, error) {
	return do(ctx, f, "ChangeOffer", func(now models.Micros) (models.Offer, error) {
		s, err := f.shelf(id)
		if err != nil {
			return models.Offer{}, err
		}
		if ifVersion != nil && *ifVersion != s.offer.Version {
			return models.Offer{}, fmt.Errorf("%w: it is at version %d", models.ErrStaleVersion, s.offer.Version)
		}
		b := s.balance(now)
		use := ledger.InUse{NetSpent: b.NetSpent(), Started: b.LeasesActive > 0 || s.offer.Exposed > 0 || len(s.entries) > 0}
		after, differs, err := ledger.Change(s.offer, use, now, change)
		if err != nil || !differs {
			return after, err
		}
		record, err := ledger.NewAudit(by, &s.offer, &after, now)
		if err != nil {
			return models.Offer{}, err
		}
		s.offer, s.audits = after, append(s.audits, record)
		s.check()
		return after, nil
	})
}

// Recall calls the leases of an offer back, if its number still is from.
func (f *Fake) Recall(ctx context.Context, offerID string, from int64) (models.Offer, error) {
	return do(ctx, f, "Recall", func(now models.Micros) (models.Offer, error) {
		s, err := f.shelf(offerID)
		if err != nil {
			return models.Offer{}, err
		}
		if s.offer.Recall == from {
			s.offer.Recall, s.offer.UpdatedAt = from+1, now
		}
		return s.offer, nil
	})
}

// Audits lists what admins did to an offer, or to all, newest first.
func (f *Fake) Audits(ctx context.Context, offerID string, limit int, mark models.ID) ([]models.Audit, error) {
	return do(ctx, f, "Audits", func(models.Micros) ([]models.Audit, error) {
		var list []models.Audit
		for id, s := range f.offers {
			for _, a := range s.audits {
				if (offerID == "" || offerID == id) && before(a.ID, mark) {
					list = append(list, a)
				}
			}
		}
		slices.SortFunc(list, func(a, b models.Audit) int { return newestFirst(a.ID, b.ID) })
		return head(list, limit), nil
	})
}

// SyncOffers reads the offers that were changed or recalled lately; a window of 0 means all that are not over.
func (f *Fake) SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error) {
	return do(ctx, f, "SyncOffers", func(now models.Micros) (models.Snapshot, error) {
		snapshot := models.Snapshot{Now: now}
		for _, s := range f.offers {
			if window == 0 && s.offer.StatusAt(now) != models.StatusEnded || window > 0 && s.offer.UpdatedAt > now.Add(-window) {
				snapshot.Offers = append(snapshot.Offers, s.offer)
			}
		}
		return snapshot, nil
	})
}

// Grant gives a node a lease of an offer.
func (f *Fake) Grant(ctx context.Context, req models.GrantRequest) (models.Grant, error) {
	return do(ctx, f, "Grant", func(now models.Micros) (models.Grant, error) {
		s, err := f.shelf(req.OfferID)
		if err != nil {
			return models.Grant{}, err
		}
		if s.leases[req.LeaseID] == nil {
			if err := f.notSuperseded(req.NodeID, req.Epoch); err != nil {
				return models.Grant{}, err
			}
		}
		returned := s.returnLeases(req.Returns, now)
		defer s.check()
		if earlier := s.leases[req.LeaseID]; earlier != nil {
			grant := models.Grant{Offer: s.offer, Now: now, Returned: returned}
			if earlier.State == models.LeaseActive {
				grant.Lease = new(*earlier)
			}
			return grant, nil
		}
		if s.offer.StatusAt(now) != models.StatusActive || s.offer.TotalsExceeded() {
			return models.Grant{Offer: s.offer, Now: now, Returned: returned}, nil
		}
		copied := s.offer
		units := req.Size(&copied, s.offer.Unallocated(), f.activeNodes(req.NodeID, now))
		if err := ledger.CheckSize(&req, units, s.offer.Unallocated()); units == 0 || err != nil {
			return models.Grant{Offer: s.offer, Now: now, Returned: returned}, err
		}
		s.offer.Allocated += units
		l := ledger.NewLease(&req, &s.offer, units, now)
		s.open(&l)
		return models.Grant{Offer: s.offer, Now: now, Lease: new(l), Returned: returned}, nil
	})
}

func (f *Fake) activeNodes(asking models.ID, now models.Micros) (n int64) {
	for id, node := range f.nodes {
		if id == asking || node.ActiveAt(now) {
			n++
		}
	}
	return n
}
