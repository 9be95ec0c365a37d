package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gorm.io/gorm"

	"tranche/internal/ledger"
	"tranche/models"
)

// CreateOffer stores a new offer and its first audit, durable on return. An identical repeat finds the one that is there: isNew is
// false then. A different offer with this id: ErrOfferExists. ErrModeNotPossible.
func (s *Store) CreateOffer(ctx context.Context, terms models.Offer, by models.Audit) (created models.Offer, isNew bool, err error) {
	err = s.write(ctx, "CreateOffer", onDuplicate|onUnknown, func(q *query) error {
		now, err := q.now()
		if err != nil {
			return err
		}
		created, err = ledger.NewOffer(terms, now)
		if err != nil {
			return err
		}
		isNew = false
		existing, err := q.offer(q.DB, created.ID)
		switch {
		case errors.Is(err, models.ErrOfferNotFound):
			isNew = true
			if err := q.Create(&created).Error; err != nil {
				return err
			}
			return q.audit(by, nil, &created, now)
		case err != nil:
			return err
		case !ledger.SameTerms(&existing, &created):
			return fmt.Errorf("%w: %q", models.ErrOfferExists, created.ID)
		default:
			created = existing
			return nil
		}
	})
	if err != nil {
		return models.Offer{}, false, err
	}
	return created, isNew, nil
}

// offer reads an offer by way of db, which may lock its row.
func (q *query) offer(db *gorm.DB, id string) (o models.Offer, err error) {
	err = db.Where("id = ?", id).Take(&o).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = notFound(id)
	}
	return o, err
}

func notFound(offerID string) error { return fmt.Errorf("%w: %q", models.ErrOfferNotFound, offerID) }

// datedOffer is an offer with the clock of the statement that read it.
type datedOffer struct {
	models.Offer
	Now models.Micros `gorm:"column:as_of"`
}

// lockOffer reads an offer and keeps its row until the transaction ends. It reads the clock on the way.
func (q *query) lockOffer(id string) (o datedOffer, err error) {
	err = q.locking().Table("offers").Select("offers.*, "+q.dialect.now+" AS as_of").Where("id = ?", id).Take(&o).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		err = notFound(id)
	}
	return o, err
}

// Offer reads an offer, or gives ErrOfferNotFound.
func (s *Store) Offer(ctx context.Context, id string) (o models.Offer, err error) {
	err = s.read(ctx, "Offer", func(q *query) error {
		o, err = q.offer(q.Scopes(withCounting), id)
		return err
	})
	return o, err
}

// olderLeases is, in a query of offers, whether a lease from before an offer's limits can still bring redemptions that count no user.
const olderLeases = `(limited_from > 0 AND (
	EXISTS (SELECT 1 FROM leases l WHERE l.offer_id = offers.id AND l.state = 'active' AND l.recall < offers.limited_from) OR
	EXISTS (SELECT 1 FROM leases l WHERE l.offer_id = offers.id AND l.exposed > 0 AND l.recall < offers.limited_from)))`

func withCounting(db *gorm.DB) *gorm.DB {
	return db.Select("offers.*, " + olderLeases + " AS counting")
}

// LockedOffer is Offer by a read that locks the row, so it waits for a change that is on its way.
func (s *Store) LockedOffer(ctx context.Context, id string) (o models.Offer, err error) {
	err = s.write(ctx, "LockedOffer", onUnknown, func(q *query) error {
		o, err = q.offer(q.locking(), id)
		return err
	})
	return o, err
}

// Offers lists offers, newest first, with the database's clock by which the filter's status was judged.
func (s *Store) Offers(ctx context.Context, filter models.OfferFilter) (offers []models.Offer, now models.Micros, err error) {
	err = s.list(ctx, "Offers", func(q *query) error {
		now, err = q.now()
		if err != nil {
			return err
		}
		return q.Scopes(withCounting, withStatus(filter.Status, now), q.mentioning(filter.Query), before(filter)).
			Order("created_at DESC, id DESC").Limit(filter.Limit).Find(&offers).Error
	})
	return offers, now, err
}

// withStatus is models.Offer.StatusAt in SQL.
func withStatus(status models.Status, now models.Micros) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if status == "" {
			return db
		}
		if status == models.StatusEnded {
			return db.Where("(status = 'ended' OR ends_at <= ?)", now)
		}
		db = db.Where("(ends_at IS NULL OR ends_at > ?)", now)
		switch status {
		case models.StatusScheduled:
			return db.Where("status = 'active' AND starts_at > ?", now)
		case models.StatusActive:
			return db.Where("status = 'active' AND (starts_at IS NULL OR starts_at <= ?)", now)
		default:
			return db.Where("status = ?", status)
		}
	}
}

// mentioning selects by a part of the id or name. INSTR, because LIKE would give meaning to some characters.
func (q *query) mentioning(text string) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if text == "" {
			return db
		}
		lower := q.dialect.lower
		return db.Where("(INSTR("+lower("id")+", LOWER(?)) > 0 OR INSTR("+lower("name")+", LOWER(?)) > 0)", text, text)
	}
}

func before(filter models.OfferFilter) func(*gorm.DB) *gorm.DB {
	return func(db *gorm.DB) *gorm.DB {
		if filter.BeforeCreated == 0 && filter.BeforeID == "" {
			return db
		}
		at, id := filter.BeforeCreated, filter.BeforeID
		return db.Where("(created_at < ? OR (created_at = ? AND id < ?))", at, at, id)
	}
}

// ChangeOffer applies an admin's change to the offer under its row's lock, and audits it, durable on return; package ledger has the
// rules. Of by, the Actor, NodeID, Action, Reason and RequestID are the caller's.
// ifVersion, unless nil, is the version that the admin saw, else ErrStaleVersion. change may be called more than once.
// With ErrOutcomeUnknown the caller has to look.
func (s *Store) ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (changed models.Offer, err error) {
	var refused error // by change itself: not the store's to judge
	err = s.write(ctx, "ChangeOffer", 0, func(q *query) error {
		refused = nil
		o, err := q.lockOffer(id)
		if err != nil {
			return err
		}
		if ifVersion != nil && *ifVersion != o.Version {
			return fmt.Errorf("%w: it is at version %d", models.ErrStaleVersion, o.Version)
		}
		use, err := q.inUse(&o.Offer)
		if err != nil {
			return err
		}
		after, differs, err := ledger.Change(o.Offer, use, o.Now, func(o *models.Offer) error {
			refused = change(o)
			return refused
		})
		switch {
		case refused != nil:
			return nil
		case err != nil:
			return err
		}
		changed = after
		if !differs {
			return nil
		}
		result := q.Select("*").Omit("id", "created_at", "redeemed", "held", "refunded", "forfeited", "allocated", "late_units", "exposed").
			Where("version = ?", o.Version).Updates(&after)
		if err := one(result.RowsAffected, result.Error, "change offer"); err != nil {
			return err
		}
		return q.audit(by, &o.Offer, &after, o.Now)
	})
	switch {
	case err != nil:
		return models.Offer{}, err
	case refused != nil:
		return models.Offer{}, refused
	default:
		return changed, nil
	}
}

// inUse adds up what active leases say, and looks whether anything was ever booked. The offer's row is locked, so no lease can be folded
// into it meanwhile, and nothing is booked late.
func (q *query) inUse(o *models.Offer) (ledger.InUse, error) {
	var active struct {
		models.Totals
		Leases int64
		Booked bool
	}
	err := q.scan(&active, `SELECT COALESCE(SUM(redeemed), 0) AS redeemed, COALESCE(SUM(held), 0) AS held,
			COALESCE(SUM(refunded), 0) AS refunded, COALESCE(SUM(forfeited), 0) AS forfeited, COUNT(*) AS leases,
			EXISTS (SELECT 1 FROM entries WHERE offer_id = ?) AS booked
		FROM leases WHERE offer_id = ? AND state = 'active'`, o.ID, o.ID)
	netSpent := o.Folded.Add(active.Totals).NetSpent()
	return ledger.InUse{NetSpent: netSpent, Started: active.Leases > 0 || o.Exposed > 0 || active.Booked}, err
}

// Recall calls the leases of an offer back, if its number still is from: of many who saw the same books, one does. It gives the offer
// as it is then. Durable on return. ErrOfferNotFound.
func (s *Store) Recall(ctx context.Context, offerID string, from int64) (offer models.Offer, err error) {
	err = s.write(ctx, "Recall", onUnknown, func(q *query) error {
		_, err := q.exec("UPDATE offers SET recall = recall + 1, updated_at = "+q.dialect.now+" WHERE id = ? AND recall = ?", offerID, from)
		if err == nil {
			offer, err = q.offer(q.DB, offerID)
		}
		return err
	})
	return offer, err
}

// SyncOffers reads the offers that were changed or recalled within the window before now; a window of 0 means all that are not over.
// When nothing changed, which is the rule, it is one query.
func (s *Store) SyncOffers(ctx context.Context, window time.Duration) (snapshot models.Snapshot, err error) {
	err = s.read(ctx, "SyncOffers", func(q *query) error {
		if window == 0 {
			snapshot, err = q.openOffers()
		} else {
			snapshot, err = q.changedOffers(window.Microseconds())
		}
		return err
	})
	return snapshot, err
}

// openOffers leaves out what is over: promotions of years may have piled up, and nobody redeems them.
func (q *query) openOffers() (snapshot models.Snapshot, err error) {
	if snapshot.Now, err = q.now(); err != nil {
		return snapshot, err
	}
	err = q.Where("status IN ('active', 'paused') AND (ends_at IS NULL OR ends_at > ?)", snapshot.Now).Order("id").Find(&snapshot.Offers).Error
	return snapshot, err
}

func (q *query) changedOffers(micros int64) (snapshot models.Snapshot, err error) {
	var head struct {
		Now     models.Micros `gorm:"column:as_of"`
		Changed int64
	}
	now := q.dialect.now
	err = q.scan(&head, "SELECT "+now+" AS as_of, (SELECT COUNT(*) FROM offers WHERE updated_at > "+now+" - ?) AS changed", micros)
	snapshot.Now = head.Now
	if err != nil || head.Changed == 0 {
		return snapshot, err
	}
	err = q.Where("updated_at > ?", head.Now-models.Micros(micros)).Order("id").Find(&snapshot.Offers).Error
	return snapshot, err
}
