package storetest

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// OpenPool opens a refund pool, empty, and gives the offer as it is.
func (f *Fake) OpenPool(ctx context.Context, lease models.Lease) (opened models.Lease, offer models.Offer, err error) {
	opened, err = do(ctx, f, "OpenPool", func(now models.Micros) (models.Lease, error) {
		s, err := f.shelf(lease.OfferID)
		if err != nil {
			return models.Lease{}, err
		}
		offer = s.offer
		if l, ok := s.leases[lease.ID]; ok {
			return *l, nil
		}
		if err := f.notSuperseded(lease.NodeID, lease.Epoch); err != nil {
			return models.Lease{}, err
		}
		l := ledger.NewPool(lease, &s.offer, now)
		s.open(&l)
		s.check()
		return l, nil
	})
	return opened, offer, err
}

// Renew lengthens those of the node's leases that are still active, and gives the offer as it is.
func (f *Fake) Renew(ctx context.Context, nodeID models.ID, epoch int64, offerID string, ids []models.ID) (renewed []models.ID, offer models.Offer, err error) {
	renewed, err = do(ctx, f, "Renew", func(now models.Micros) ([]models.ID, error) {
		if err := f.notSuperseded(nodeID, epoch); err != nil {
			return nil, err
		}
		s, err := f.shelf(offerID)
		if err != nil {
			return nil, err
		}
		offer = s.offer
		var renewed []models.ID
		for _, id := range ids {
			l, ok := s.leases[id]
			if ok && l.State == models.LeaseActive && l.NodeID == nodeID && l.Epoch == epoch {
				l.ExpiresAt = now.Add(l.TTL())
				renewed = append(renewed, id)
			}
		}
		return renewed, nil
	})
	return renewed, offer, err
}

// CloseLease gives back what a lease still holds.
func (f *Fake) CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (models.Lease, bool, error) {
	did := false
	closed, err := do(ctx, f, "CloseLease", func(now models.Micros) (models.Lease, error) {
		s, err := f.shelf(offerID)
		if err != nil {
			return models.Lease{}, fmt.Errorf("%w: %w", models.ErrLeaseClosed, err)
		}
		l, ok := s.leases[id]
		if !ok {
			return models.Lease{}, fmt.Errorf("%w: %s of offer %q was never granted", models.ErrLeaseClosed, id, offerID)
		}
		if l.State != models.LeaseActive || ifExpiresAt != nil && *ifExpiresAt != l.ExpiresAt {
			return *l, nil
		}
		s.close(l, to, now)
		did = true
		s.check()
		return *l, nil
	})
	return closed, did && err == nil, err
}

// ReturnLeases closes leases together.
func (f *Fake) ReturnLeases(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error) {
	return do(ctx, f, "ReturnLeases", func(now models.Micros) (closed []models.Lease, err error) {
		s, err := f.shelf(offerID)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", models.ErrLeaseClosed, err)
		}
		closed = s.returnLeases(ids, now)
		s.check()
		return closed, nil
	})
}

func (s *shelf) returnLeases(ids []models.ID, now models.Micros) (closed []models.Lease) {
	for _, id := range slices.Backward(slices.SortedFunc(slices.Values(ids), newestFirst)) {
		l := s.leases[id]
		if l == nil {
			continue
		}
		if l.State == models.LeaseActive {
			s.close(l, models.LeaseReturned, now)
		}
		closed = append(closed, *l)
	}
	return closed
}

// open adds a lease, or a pool, which may be closed from the beginning.
func (s *shelf) open(l *models.Lease) {
	s.leases[l.ID] = l
	if l.State == models.LeaseActive {
		s.active[l.ID] = l
	}
}

func (s *shelf) close(l *models.Lease, to models.LeaseState, now models.Micros) {
	s.fold(l)
	ledger.Close(l, to, now)
	delete(s.active, l.ID)
	s.offer.Exposed += l.Exposed
}

// fold moves the totals of a closing lease into the offer.
func (s *shelf) fold(l *models.Lease) {
	o := &s.offer
	o.Allocated -= l.Outstanding()
	o.Folded = o.Folded.Add(l.Totals)
	if o.Budget > o.BudgetTarget {
		o.Budget = min(o.Budget, max(o.BudgetTarget, o.Allocated))
	}
}

// ExpiringLeases lists active leases near or past their end, oldest first.
func (f *Fake) ExpiringLeases(ctx context.Context, limit int) (models.ExpiringLeases, error) {
	return do(ctx, f, "ExpiringLeases", func(now models.Micros) (models.ExpiringLeases, error) {
		var list []models.Lease
		for _, s := range f.offers {
			for _, l := range s.active {
				if l.ExpiresAt.Add(-l.TTL()/4) <= now {
					list = append(list, *l)
				}
			}
		}
		slices.SortFunc(list, func(a, b models.Lease) int { return cmp.Compare(a.ExpiresAt, b.ExpiresAt) })
		if len(list) == 0 {
			return models.ExpiringLeases{}, nil
		}
		return models.ExpiringLeases{Leases: head(list, limit), Now: now}, nil
	})
}

// LeasesOfNode lists what a node's earlier epochs still owe an answer about.
func (f *Fake) LeasesOfNode(ctx context.Context, nodeID models.ID, beforeEpoch int64, limit int) ([]models.Lease, error) {
	return do(ctx, f, "LeasesOfNode", func(models.Micros) ([]models.Lease, error) {
		var list []models.Lease
		for _, s := range f.offers {
			for _, l := range s.leases {
				owes := l.State == models.LeaseActive || l.Exposed > 0 && l.AcquitAt == nil
				if owes && l.NodeID == nodeID && l.Epoch < beforeEpoch {
					list = append(list, *l)
				}
			}
		}
		return head(list, limit), nil
	})
}

// TakeOver closes a lease of an earlier epoch.
func (f *Fake) TakeOver(ctx context.Context, offerID string, id models.ID) (did bool, err error) {
	return do(ctx, f, "TakeOver", func(now models.Micros) (bool, error) {
		s, err := f.shelf(offerID)
		if err != nil || s.leases[id] == nil {
			return false, fmt.Errorf("%w: %s of offer %q was never granted", models.ErrLeaseClosed, id, offerID)
		}
		l := s.leases[id]
		did := l.State == models.LeaseActive
		if did {
			s.close(l, models.LeaseReclaimed, now)
		}
		switch {
		case l.Exposed > 0 && now >= l.ExpiresAt:
			s.acquit(l)
		case l.Exposed > 0:
			l.AcquitAt = new(l.ExpiresAt)
		}
		s.check()
		return did, nil
	})
}

// Leases lists an offer's leases in any state, newest first.
func (f *Fake) Leases(ctx context.Context, offerID string, limit int, mark models.ID) ([]models.ListedLease, error) {
	return do(ctx, f, "Leases", func(models.Micros) ([]models.ListedLease, error) {
		return head(f.list(offerID, func(l *models.Lease) bool { return before(l.ID, mark) }), limit), nil
	})
}

// ActiveLeases lists all active leases of an offer, newest first.
func (f *Fake) ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error) {
	return do(ctx, f, "ActiveLeases", func(models.Micros) ([]models.ListedLease, error) {
		return f.list(offerID, func(l *models.Lease) bool { return l.State == models.LeaseActive }), nil
	})
}

// list copies the wanted leases of an offer, newest first.
func (f *Fake) list(offerID string, wanted func(*models.Lease) bool) (list []models.ListedLease) {
	s, ok := f.offers[offerID]
	if !ok {
		return nil
	}
	for _, l := range s.leases {
		if !wanted(l) {
			continue
		}
		listed := models.ListedLease{Lease: *l}
		if n, ok := f.nodes[l.NodeID]; ok {
			listed.NodeName = n.Name
		}
		list = append(list, listed)
	}
	slices.SortFunc(list, func(a, b models.ListedLease) int { return newestFirst(a.ID, b.ID) })
	return list
}

// Settle books a batch on its lease.
func (f *Fake) Settle(ctx context.Context, batch models.Batch) ([]models.Verdict, error) {
	return do(ctx, f, "Settle", func(now models.Micros) ([]models.Verdict, error) {
		s, err := f.shelf(batch.Offer.ID)
		if err != nil {
			return nil, err
		}
		l, ok := s.leases[batch.LeaseID]
		if ok && l.Batch >= batch.Number {
			return ledger.LookUp(&batch, s.histories)
		}
		batch.BookedAt = &now
		if ok && l.State == models.LeaseActive {
			verdicts, fits, err := s.settle(&batch, l, now)
			if fits || err != nil {
				return verdicts, err
			}
			s.close(l, models.LeaseReclaimed, now) // it is not as its node has left it
			s.check()
		}
		if !batch.Acknowledged() {
			return nil, fmt.Errorf("%w: %s of offer %q", models.ErrLeaseClosed, batch.LeaseID, batch.Offer.ID)
		}
		return s.settleLate(&batch, l, now)
	})
}

// settle books a batch on its active lease, if it fits.
func (s *shelf) settle(batch *models.Batch, l *models.Lease, now models.Micros) (verdicts []models.Verdict, fits bool, err error) {
	decision, err := s.decide(batch, ledger.Decide)
	if err != nil {
		return nil, false, err
	}
	d := decision.Lease
	if l.Batch != batch.Number-1 || l.Spent+d.Spent > l.Granted+d.Granted {
		return nil, false, nil
	}
	s.move(l, batch, decision, now)
	return decision.Verdicts, true, nil
}

// settleLate books a batch on its closed lease, or on one that is made for it. l is nil when there is none.
func (s *shelf) settleLate(batch *models.Batch, l *models.Lease, now models.Micros) ([]models.Verdict, error) {
	decision, err := s.decide(batch, ledger.DecideLate)
	if err != nil {
		return nil, err
	}
	d := decision.Lease
	if l != nil && l.Epoch > 0 && ledger.Missing(l, &d) > 0 {
		elsewhere := *batch
		elsewhere.LeaseID = models.NewID()
		return s.settleLate(&elsewhere, nil, now)
	}
	if l == nil && d.Spent == 0 {
		return decision.Verdicts, nil
	}
	if l == nil {
		l = new(ledger.NewLost(batch, now))
		s.open(l)
	}
	l.Granted += ledger.Missing(l, &d)
	s.foldLate(l, &d)
	s.move(l, batch, decision, now)
	return decision.Verdicts, nil
}

// move takes a lease on to a batch, and writes what was decided.
func (s *shelf) move(l *models.Lease, batch *models.Batch, decision *ledger.Decision, now models.Micros) {
	d := decision.Lease
	l.Granted += d.Granted
	l.Spent += d.Spent
	l.Totals = l.Totals.Add(d.Totals)
	l.Batch = batch.Number
	s.write(decision, now)
	s.check()
}

// decide decides on the batch, user limits included.
func (s *shelf) decide(batch *models.Batch, decide func(*models.Batch, map[models.ID][]models.Entry) (*ledger.Decision, error)) (*ledger.Decision, error) {
	decision, err := decide(batch, s.histories)
	if err != nil {
		return nil, err
	}
	after := map[string]models.Usage{}
	for user, d := range decision.Users {
		used, err := s.used(batch.Offer, user)
		if err != nil {
			return nil, err
		}
		after[user] = d.ApplyTo(used)
	}
	_, err = decision.Limit(after)
	return decision, err
}

// used is what a user has used so far: by the counter, if the limits are as old as the offer, else by the ledger.
func (s *shelf) used(offer *models.Offer, user string) (models.Usage, error) {
	if offer.LimitsUsers() && offer.LimitedFrom == 0 {
		return s.usages[user], nil
	}
	own := map[models.ID][]models.Entry{}
	for r, history := range s.histories {
		if history[0].UserID == user {
			own[r] = history
		}
	}
	sum, err := ledger.UsageOf(own)
	return sum.ApplyTo(models.Usage{}), err
}

// write appends the decision's entries, counts them, and lists its holds and exceptions.
func (s *shelf) write(decision *ledger.Decision, now models.Micros) {
	s.except(decision.Exceptions, now)
	s.hold(decision)
	for _, e := range decision.Appends {
		if e.Seq != int64(len(s.histories[e.Redemption])) {
			panic(fmt.Sprintf("offer %q: entry %s has seq %d", s.offer.ID, e.ID, e.Seq))
		}
		e.Fed = true
		s.histories[e.Redemption] = append(s.histories[e.Redemption], e)
		s.entries = append(s.entries, e)
	}
	for user, d := range decision.Users {
		if s.offer.LimitedFrom > 0 {
			break
		}
		u := d.ApplyTo(s.usages[user])
		u.OfferID, u.UserID = s.offer.ID, user
		if u.Redemptions < 0 || u.Units < 0 || u.HeldUnits < 0 {
			panic(fmt.Sprintf("offer %q: user %q has used %+v", s.offer.ID, user, u))
		}
		s.usages[user] = u
	}
}

// Locked says which wanted entries of a batch others keep from being booked: none, for the Fake has one mutex.
func (f *Fake) Locked(ctx context.Context, batch models.Batch) ([]bool, error) {
	return do(ctx, f, "Locked", func(models.Micros) ([]bool, error) { return make([]bool, len(batch.Wanted)), nil })
}
