package store

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorm.io/gorm"

	"tranche/internal/ledger"
	"tranche/models"
)

// Grant gives a node a lease of an offer, durable on return. It is idempotent by the id of the lease: repeated after a lost reply it finds
// what was granted, if that is still active.
//
// An offer that is not active by the database's clock, or whose totals are exceeded, gives no lease and no error: the caller sees why in the offer. Leases that
// the request returns go back all the same. ErrOfferNotFound, ErrEpochSuperseded.
func (s *Store) Grant(ctx context.Context, req models.GrantRequest) (grant models.Grant, err error) {
	err = s.write(ctx, "Grant", onDuplicate|onUnknown, func(q *query) error {
		grant, err = q.grant(&req)
		return err
	})
	if err != nil {
		return models.Grant{}, err
	}
	return grant, nil
}

// grant is the one transaction that locks the offer before a lease: its lease is new, nobody else can have it locked. Leases that go back
// with it come before the offer, as everywhere.
func (q *query) grant(req *models.GrantRequest) (models.Grant, error) {
	returned, err := q.returnLeases(req.OfferID, req.Returns)
	if err != nil {
		return models.Grant{}, err
	}
	o, err := q.lockOffer(req.OfferID)
	if err != nil {
		return models.Grant{}, err
	}
	grant := models.Grant{Offer: o.Offer, Now: o.Now, Returned: returned}
	earlier, err := q.granted(req)
	switch {
	case err != nil:
		return models.Grant{}, err
	case earlier != nil:
		if earlier.State == models.LeaseActive {
			grant.Lease = earlier
		}
		return grant, nil
	}
	nodes, err := q.activeNodes(req, o.Now)
	if err != nil {
		return models.Grant{}, err
	}
	if o.StatusAt(o.Now) != models.StatusActive || o.TotalsExceeded() {
		return grant, nil
	}
	unallocated, shown := o.Unallocated(), o.Offer
	units := req.Size(&shown, unallocated, nodes)
	if err := ledger.CheckSize(req, units, unallocated); units == 0 || err != nil {
		return grant, err
	}
	rows, err := q.exec("UPDATE offers SET allocated = allocated + ? WHERE id = ? AND allocated + ? <= budget", units, o.ID, units)
	if err := one(rows, err, "grant"); err != nil {
		return models.Grant{}, err
	}
	grant.Offer.Allocated += units
	grant.Lease = new(ledger.NewLease(req, &grant.Offer, units, o.Now))
	return grant, q.Create(grant.Lease).Error
}

// granted looks for what an earlier attempt of a grant has made: nil, if nothing. The offer's row is locked, so such an attempt has ended.
func (q *query) granted(req *models.GrantRequest) (*models.Lease, error) {
	var leases []models.Lease
	err := q.locking().Where("offer_id = ? AND id = ?", req.OfferID, req.LeaseID).Find(&leases).Error
	if err != nil || len(leases) == 0 {
		return nil, err
	}
	return &leases[0], nil
}

// activeNodes counts the nodes that were seen lately and the asking one, which must not be superseded.
func (q *query) activeNodes(req *models.GrantRequest, now models.Micros) (int64, error) {
	var seen struct{ Nodes, Newest int64 }
	err := q.scan(&seen, `SELECT COUNT(*) AS nodes, COALESCE(MAX(CASE WHEN id = ? THEN epoch END), 0) AS newest
		FROM nodes WHERE seen_at >= ? AND `+notGone+` OR id = ?`, req.NodeID, now.Add(-models.NodeSilence), req.NodeID)
	if err != nil {
		return 0, err
	}
	return seen.Nodes, notSuperseded(req.NodeID, req.Epoch, seen.Newest)
}

// OpenPool opens a refund pool, empty, for the caller's OfferID, ID, NodeID, Epoch and TTLSeconds. It gives the offer, too, as it was after the
// pool was there: who recalls the offer's leases later sees the pool among them. Durable on return, idempotent by id.
// ErrOfferNotFound, ErrEpochSuperseded.
//
// It inserts before it looks: to look for a row that isn't there first, and lock the gap, would make two openers block each other.
func (s *Store) OpenPool(ctx context.Context, lease models.Lease) (opened models.Lease, offer models.Offer, err error) {
	err = s.write(ctx, "OpenPool", onUnknown, func(q *query) error {
		opened, err = q.openPool(&lease)
		return err
	})
	if err == nil {
		offer, err = s.Offer(ctx, lease.OfferID)
	}
	if err != nil {
		return models.Lease{}, models.Offer{}, err
	}
	return opened, offer, nil
}

func (q *query) openPool(lease *models.Lease) (models.Lease, error) {
	var at struct {
		models.Offer
		Now    models.Micros `gorm:"column:as_of"`
		Newest int64
	}
	result := q.Raw("SELECT o.*, "+q.dialect.now+` AS as_of, COALESCE((SELECT epoch FROM nodes WHERE id = ?), 0) AS newest
		FROM offers o WHERE o.id = ?`, lease.NodeID, lease.OfferID).Scan(&at)
	if result.Error != nil {
		return models.Lease{}, result.Error
	}
	if result.RowsAffected == 0 {
		return models.Lease{}, notFound(lease.OfferID)
	}
	if err := notSuperseded(lease.NodeID, lease.Epoch, at.Newest); err != nil {
		return models.Lease{}, err
	}
	opened := ledger.NewPool(*lease, &at.Offer, at.Now)
	err := q.Create(&opened).Error
	if classify(err) != duplicate {
		return opened, err
	}
	return q.lockLease(lease.OfferID, lease.ID)
}

// lockLease reads a lease and keeps its row until the transaction ends.
func (q *query) lockLease(offerID string, id models.ID) (l models.Lease, err error) {
	err = q.locking().Where("offer_id = ? AND id = ?", offerID, id).Take(&l).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = fmt.Errorf("%w: %s of offer %q was never granted", models.ErrLeaseClosed, id, offerID)
	}
	return l, err
}

// Renew lets those of the node's leases that are still active expire a ttl from now, and gives their ids. It gives the offer, too, as
// it was afterwards: whatever lengthens a lease tells its owner of a recall. Durable on return. ErrOfferNotFound, ErrEpochSuperseded.
//
// The offer is read after the commit, without a lock. A recall before that read is in the answer; who recalls after it sees when the
// renewed leases expire.
func (s *Store) Renew(ctx context.Context, nodeID models.ID, epoch int64, offerID string, ids []models.ID) (renewed []models.ID, offer models.Offer, err error) {
	err = s.write(ctx, "Renew", onUnknown, func(q *query) error {
		renewed = nil
		newest, err := q.newest(nodeID)
		if err == nil {
			err = notSuperseded(nodeID, epoch, newest)
		}
		if err != nil {
			return err
		}
		for chunk := range slices.Chunk(ids, chunkSize) {
			some, err := q.renew(nodeID, epoch, offerID, chunk)
			if err != nil {
				return err
			}
			renewed = append(renewed, some...)
		}
		return nil
	})
	if err == nil {
		offer, err = s.Offer(ctx, offerID)
	}
	if err != nil {
		return nil, models.Offer{}, err
	}
	return renewed, offer, nil
}

// renew writes before it reads: a locking read of several leases could wait for those of others, see current.
func (q *query) renew(nodeID models.ID, epoch int64, offerID string, ids []models.ID) (renewed []models.ID, err error) {
	const mine = "offer_id = ? AND id IN ? AND node_id = ? AND epoch = ? AND state = 'active'"
	rows, err := q.exec("UPDATE leases SET expires_at = "+q.dialect.now+" + ttl_seconds * 1000000 WHERE "+mine, offerID, ids, nodeID, epoch)
	if err != nil || rows == 0 {
		return nil, err
	}
	err = q.current().Model(&models.Lease{}).Where(mine, offerID, ids, nodeID, epoch).Order("id").Pluck("id", &renewed).Error
	return renewed, err
}

// CloseLease gives back what a lease still holds and folds its totals into the offer, durable on return. A reclaimed lease that its
// owner may have spent from unseen exposes its rest from then on. ifExpiresAt, unless
// nil, is the expiry that the caller saw: a lease that was renewed since stays open. did says whether this call closed it;
// after a lost reply the next call says false. A lease that was never granted: ErrLeaseClosed.
func (s *Store) CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (closed models.Lease, did bool, err error) {
	err = s.write(ctx, "CloseLease", onUnknown, func(q *query) error {
		did = false
		closed, err = q.lockLease(offerID, id)
		if err != nil || closed.State != models.LeaseActive || ifExpiresAt != nil && *ifExpiresAt != closed.ExpiresAt {
			return err
		}
		did = true
		return q.closeLease(&closed, to)
	})
	if err != nil {
		return models.Lease{}, false, err
	}
	return closed, did, nil
}

// ReturnLeases closes the owner's leases of one offer, in one transaction on the offer's row, and gives them as they are now, by id. One that was
// closed before stays as it is. One that the ledger does not have, because it has lost the grant, is left out. Durable on return, idempotent.
func (s *Store) ReturnLeases(ctx context.Context, offerID string, ids []models.ID) (closed []models.Lease, err error) {
	err = s.write(ctx, "ReturnLeases", onUnknown, func(q *query) error {
		closed, err = q.returnLeases(offerID, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return closed, nil
}

// returnLeases locks the leases that are there, closes those that are active, and folds them into the offer.
func (q *query) returnLeases(offerID string, ids []models.ID) (leases []models.Lease, err error) {
	if len(ids) == 0 {
		return nil, nil
	}
	for _, id := range slices.SortedFunc(slices.Values(ids), compareIDs) { // one by one: see current
		var some []models.Lease
		if err := q.locking().Where("offer_id = ? AND id = ?", offerID, id).Find(&some).Error; err != nil {
			return nil, err
		}
		leases = append(leases, some...)
	}
	now, err := q.now()
	if err != nil {
		return nil, err
	}
	var sum fold
	for i := range leases {
		if leases[i].State != models.LeaseActive {
			continue
		}
		f, err := q.close(&leases[i], models.LeaseReturned, now)
		if err != nil {
			return nil, err
		}
		sum = sum.add(f)
	}
	return leases, q.foldInto(offerID, sum)
}

// closeLease closes a lease whose row is locked, and then takes the offer's.
func (q *query) closeLease(l *models.Lease, to models.LeaseState) error {
	now, err := q.now()
	if err != nil {
		return err
	}
	f, err := q.close(l, to, now)
	if err != nil {
		return err
	}
	return q.foldInto(l.OfferID, f)
}

// fold is what closing leases changes in their offer.
type fold struct {
	rest, exposed int64
	sums          models.Totals
}

func (f fold) add(g fold) fold {
	return fold{f.rest + g.rest, f.exposed + g.exposed, f.sums.Add(g.sums)}
}

func (q *query) close(l *models.Lease, to models.LeaseState, now models.Micros) (fold, error) {
	f := fold{rest: l.Outstanding(), sums: l.Totals}
	ledger.Close(l, to, now)
	f.exposed = l.Exposed
	rows, err := q.exec("UPDATE leases SET state = ?, closed_at = ?, exposed = ? WHERE offer_id = ? AND id = ? AND state = 'active'",
		l.State, l.ClosedAt, l.Exposed, l.OfferID, l.ID)
	return f, one(rows, err, "close lease")
}

func (q *query) foldInto(offerID string, f fold) error {
	if f == (fold{}) {
		return nil // leave the hot row alone
	}
	// The budget is assigned first: MySQL would let it see the new value of allocated, SQLite the old one.
	rows, err := q.exec(`UPDATE offers SET
			budget = CASE
				WHEN budget <= budget_target OR budget <= allocated - ? THEN budget
				WHEN allocated - ? > budget_target THEN allocated - ?
				ELSE budget_target END,
			allocated = allocated - ?, redeemed = redeemed + ?, held = held + ?, refunded = refunded + ?, forfeited = forfeited + ?,
			exposed = exposed + ?
		WHERE id = ?`, f.rest, f.rest, f.rest, f.rest, f.sums.Redeemed, f.sums.Held, f.sums.Refunded, f.sums.Forfeited, f.exposed, offerID)
	return one(rows, err, "fold leases")
}

// ExpiringLeases lists active leases in the last quarter of their ttl or past it, oldest first, without locks.
func (s *Store) ExpiringLeases(ctx context.Context, limit int) (expiring models.ExpiringLeases, err error) {
	err = s.read(ctx, "ExpiringLeases", func(q *query) error {
		expiring.Leases, expiring.Now, err = clocked[models.Lease](q, q.
			Where("state = 'active' AND watched_from <= "+q.dialect.now).Order("expires_at").Limit(limit))
		return err
	})
	return expiring, err
}

// LeasesOfNode lists what the node still owes an answer about of its epochs before one: active leases, and reclaimed ones that expose
// units and that nobody has taken over.
func (s *Store) LeasesOfNode(ctx context.Context, nodeID models.ID, beforeEpoch int64, limit int) (leases []models.Lease, err error) {
	err = s.read(ctx, "LeasesOfNode", func(q *query) error {
		return q.Where("node_id = ? AND (state = 'active' OR exposed > 0 AND acquit_at IS NULL) AND epoch < ?", nodeID, beforeEpoch).
			Limit(limit).Find(&leases).Error
	})
	return leases, err
}

// TakeOver closes a lease of an earlier epoch as reclaimed, for an epoch that has settled its journal. Another process may spend from the
// lease on a copy of the data directory, so it exposes its rest until its end. Then AcquitDue acquits it. Durable on return, idempotent. did says
// whether this call closed the lease. One that was never granted: ErrLeaseClosed.
func (s *Store) TakeOver(ctx context.Context, offerID string, id models.ID) (did bool, err error) {
	err = s.write(ctx, "TakeOver", onUnknown, func(q *query) error {
		l, err := q.lockLease(offerID, id)
		if err != nil {
			return err
		}
		did = l.State == models.LeaseActive
		if did {
			if err := q.closeLease(&l, models.LeaseReclaimed); err != nil {
				return err
			}
		}
		if l.Exposed == 0 || l.AcquitAt != nil {
			return nil
		}
		now, err := q.now()
		if err != nil {
			return err
		}
		if now >= l.ExpiresAt {
			return q.acquitAll(offerID, []models.ID{id})
		}
		rows, err := q.exec("UPDATE leases SET acquit_at = expires_at WHERE offer_id = ? AND id = ?", offerID, id)
		return one(rows, err, "take over")
	})
	return did, err
}

// Leases lists an offer's leases in any state, newest first, with their owners' names.
func (s *Store) Leases(ctx context.Context, offerID string, limit int, before models.ID) (leases []models.ListedLease, err error) {
	err = s.list(ctx, "Leases", func(q *query) error {
		return q.leasesOf(offerID).Scopes(page("l.id", limit, before)).Scan(&leases).Error
	})
	return leases, err
}

// ActiveLeases lists all active leases of an offer, newest first, with their owners' names.
func (s *Store) ActiveLeases(ctx context.Context, offerID string) (leases []models.ListedLease, err error) {
	err = s.read(ctx, "ActiveLeases", func(q *query) error {
		return q.leasesOf(offerID).Where("l.state = 'active'").Order("l.id DESC").Scan(&leases).Error
	})
	return leases, err
}

func (q *query) leasesOf(offerID string) *gorm.DB {
	return q.Table("leases AS l").Select("l.*, COALESCE(n.name, '') AS node_name").
		Joins("LEFT JOIN nodes n ON n.id = l.node_id").
		Where("l.offer_id = ?", offerID)
}
