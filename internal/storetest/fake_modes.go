package storetest

import (
	"context"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// MayOwe reports whether another node may have redemptions of an offer in its journal.
func (f *Fake) MayOwe(ctx context.Context, offerID string, except models.ID) (bool, error) {
	return do(ctx, f, "MayOwe", func(models.Micros) (bool, error) {
		s, ok := f.offers[offerID]
		if !ok {
			return false, nil
		}
		for _, l := range s.leases {
			if l.NodeID != except && l.Mode.Outlives() && (l.State == models.LeaseActive || l.Exposed > 0) {
				return true, nil
			}
		}
		return false, nil
	})
}

// foldLate corrects the fold of a closed lease by what is booked on it late.
func (s *shelf) foldLate(l *models.Lease, d *ledger.Delta) {
	o, covered := &s.offer, ledger.Covered(l, d)
	l.Exposed -= covered
	o.Exposed -= covered
	o.Allocated += d.Spent
	o.Folded = o.Folded.Add(d.Totals)
	o.LateUnits += d.Spent
}

// except lists exceptions, once per entry and reason.
func (s *shelf) except(exceptions []models.Exception, now models.Micros) {
	for _, e := range exceptions {
		listed := slices.ContainsFunc(s.exceptions, func(o models.Exception) bool { return o.EntryID == e.EntryID && o.Reason == e.Reason })
		if !listed {
			e.ID, e.CreatedAt = models.NewID(), now
			s.exceptions = append(s.exceptions, e)
		}
	}
}

// Acquit says that nothing is unsettled on these leases any more.
func (f *Fake) Acquit(ctx context.Context, offerID string, leaseIDs []models.ID) error {
	_, err := do(ctx, f, "Acquit", func(models.Micros) (struct{}, error) {
		s, ok := f.offers[offerID]
		if !ok {
			return struct{}{}, nil
		}
		for _, id := range leaseIDs {
			if l, ok := s.leases[id]; ok {
				s.acquit(l)
			}
		}
		s.check()
		return struct{}{}, nil
	})
	return err
}

func (s *shelf) acquit(l *models.Lease) {
	s.offer.Exposed -= l.Exposed
	l.Exposed, l.AcquitAt = 0, nil
}

// AcquitDue acquits leases whose ends have come since they were taken over.
func (f *Fake) AcquitDue(ctx context.Context, limit int) (int, error) {
	return do(ctx, f, "AcquitDue", func(now models.Micros) (acquitted int, err error) {
		for _, s := range f.offers {
			for _, l := range s.leases {
				if acquitted < limit && l.AcquitAt != nil && *l.AcquitAt <= now {
					s.acquit(l)
					acquitted++
				}
			}
			s.check()
		}
		return acquitted, nil
	})
}

// LeaseStates reads leases by id, in any state.
func (f *Fake) LeaseStates(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error) {
	return do(ctx, f, "LeaseStates", func(models.Micros) (leases []models.Lease, err error) {
		s, ok := f.offers[offerID]
		if !ok {
			return nil, nil
		}
		for _, id := range ids {
			if l, ok := s.leases[id]; ok {
				leases = append(leases, *l)
			}
		}
		return leases, nil
	})
}
