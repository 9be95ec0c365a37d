package store

import (
	"context"
	"slices"

	"gorm.io/gorm"

	"tranche/internal/ledger"
	"tranche/models"
)

// Histories reads the entries of redemptions by their hash, ordered by seq, with their refunds folded into one. A redemption that isn't there
// has no key in the map.
func (s *Store) Histories(ctx context.Context, offerID string, redemptions []models.ID) (histories map[models.ID][]models.Entry, err error) {
	err = s.read(ctx, "Histories", func(q *query) error {
		histories, _, err = q.histories(offerID, redemptions, nil)
		return err
	})
	return histories, err
}

// Refunds lists the refunds of a redemption, newest first, those with a seq below one.
func (s *Store) Refunds(ctx context.Context, id models.RedemptionID, limit int, below int64) (refunds []models.Entry, err error) {
	err = s.list(ctx, "Refunds", func(q *query) error {
		return q.Where("offer_id = ? AND redemption = ? AND kind = ? AND seq < ?", id.OfferID, id.Hash, models.KindRefund, below).
			Order("seq DESC").Limit(limit).Find(&refunds).Error
	})
	return refunds, err
}

// histories reads entries as Histories says. Each redemption has its first two entries as they are; all later ones are refunds. Most
// redemptions have none, and one plain statement reads those. It also gives the database's clock, which is nil if there is no entry.
func (q *query) histories(offerID string, redemptions []models.ID, wanted []models.Wanted) (histories map[models.ID][]models.Entry, now *models.Micros, err error) {
	histories = make(map[models.ID][]models.Entry, len(redemptions))
	var refunded []models.ID
	for chunk := range slices.Chunk(redemptions, chunkSize) {
		entries, at, err := clocked[models.Entry](q, q.Where("offer_id = ? AND redemption IN ? AND seq <= 2", offerID, chunk).Order("redemption, seq"))
		if err != nil {
			return nil, nil, err
		}
		for _, e := range entries {
			histories[e.Redemption] = append(histories[e.Redemption], e)
			if e.Seq == 2 {
				refunded = append(refunded, e.Redemption)
			}
			now = &at
		}
	}
	return histories, now, q.foldRefunds(histories, offerID, refunded, wanted)
}

// foldRefunds puts the whole histories of redemptions that have refunds. The refunds that are wanted, by id or by key, stay as they are, and
// the database folds the others into one: there may be a thousand. One statement reads a history, so that entries and sums are of one moment.
func (q *query) foldRefunds(histories map[models.ID][]models.Entry, offerID string, refunded []models.ID, wanted []models.Wanted) error {
	kept, args := refundsOf(wanted)
	for chunk := range slices.Chunk(refunded, chunkSize) {
		var read []struct {
			Row       models.Entry `gorm:"embedded"`
			Refunds   int64        // that are folded
			FoldUnits int64
			FoldSeq   int64
		}
		err := q.scan(&read, `
			SELECT e.*, COALESCE(f.refunds, 0) AS refunds, COALESCE(f.fold_units, 0) AS fold_units, COALESCE(f.fold_seq, 0) AS fold_seq
			FROM entries e LEFT JOIN (
				SELECT redemption, COUNT(*) AS refunds, SUM(units) AS fold_units, MAX(seq) AS fold_seq FROM entries
				WHERE offer_id = ? AND redemption IN ? AND seq > 1 AND NOT `+kept+` GROUP BY redemption
			) AS f ON f.redemption = e.redemption
			WHERE e.offer_id = ? AND e.redemption IN ? AND (e.seq <= 1 OR `+kept+`) ORDER BY e.redemption, e.seq`,
			slices.Concat([]any{offerID, chunk}, args, []any{offerID, chunk}, args)...)
		if err != nil {
			return err
		}
		for i := range read {
			at := &read[i]
			if at.Row.Seq == 0 {
				histories[at.Row.Redemption] = nil
			}
			history := append(histories[at.Row.Redemption], at.Row)
			isLast := i == len(read)-1 || read[i+1].Row.Redemption != at.Row.Redemption
			if at.Refunds > 0 && at.Row.Seq <= 1 && (isLast || read[i+1].Row.Seq > 1) {
				history = append(history, models.Entry{
					OfferID: offerID, Redemption: at.Row.Redemption, Kind: models.KindRefund, Units: at.FoldUnits, Seq: at.FoldSeq, Folds: at.Refunds,
				})
			}
			histories[at.Row.Redemption] = history
		}
	}
	return nil
}

// refundsOf gives a condition on refunds: that they have the id or the key of one that is wanted.
func refundsOf(wanted []models.Wanted) (condition string, args []any) {
	var ids []models.ID
	var keys []string
	for i := range wanted {
		if w := &wanted[i]; w.Kind == models.KindRefund {
			ids, keys = append(ids, w.ID), append(keys, w.IdempotencyKey)
		}
	}
	if len(ids) == 0 {
		return "(1 = 0)", nil
	}
	return "(id IN ? OR idempotency_key IN ?)", []any{ids, keys}
}

// Redemptions lists redemptions of an offer, newest first, each as it is now.
func (s *Store) Redemptions(ctx context.Context, filter models.RedemptionFilter) (list []models.ListedRedemption, err error) {
	err = s.list(ctx, "Redemptions", func(q *query) error {
		firsts, err := q.firstEntries(filter)
		if err != nil {
			return err
		}
		ids := make([]models.ID, len(firsts))
		for i := range firsts {
			ids[i] = firsts[i].Redemption
		}
		histories, _, err := q.histories(filter.OfferID, ids, nil)
		if err != nil {
			return err
		}
		list = make([]models.ListedRedemption, len(firsts))
		for i := range firsts {
			r, err := ledger.Fold(histories[firsts[i].Redemption])
			if err != nil {
				return err
			}
			list[i] = models.ListedRedemption{Redemption: r, EntryID: firsts[i].ID}
		}
		return nil
	})
	return list, err
}

// firstEntries finds the entries that brought the wanted redemptions into being: only their ids, for the histories have the rest.
func (q *query) firstEntries(filter models.RedemptionFilter) (entries []models.Entry, err error) {
	db := q.Select("id, redemption").Where("offer_id = ? AND seq = 0", filter.OfferID)
	if filter.UserID != "" {
		db = db.Where("user_id = ?", filter.UserID)
	}
	if filter.OrderID != "" {
		db = db.Where("order_id = ?", filter.OrderID)
	}
	if filter.IdempotencyKey != "" {
		db = db.Where("redemption = ?", models.RedemptionIDOf(filter.OfferID, filter.IdempotencyKey).Hash)
	}
	err = db.Scopes(page("id", filter.Limit, filter.Before)).Find(&entries).Error
	return entries, err
}

// Entries lists an offer's ledger, newest first.
func (s *Store) Entries(ctx context.Context, offerID string, limit int, before models.ID) (entries []models.Entry, err error) {
	err = s.list(ctx, "Entries", func(q *query) error {
		return q.Where("offer_id = ?", offerID).Scopes(page("id", limit, before)).Find(&entries).Error
	})
	return entries, err
}

// Usage reads what a user has used of an offer: from the counters of an offer that limits users, else from the ledger.
func (s *Store) Usage(ctx context.Context, offerID, userID string) (usage models.Usage, err error) {
	err = s.list(ctx, "Usage", func(q *query) error {
		o, err := q.offer(q.DB, offerID)
		if err != nil {
			return err
		}
		if o.LimitsUsers() {
			err = q.scan(&usage, "SELECT * FROM usages WHERE offer_id = ? AND user_id = ? AND counted = ?", offerID, userID, o.LimitedFrom)
		}
		noCounter := usage.UserID == "" && (o.LimitedFrom > 0 || !o.LimitsUsers())
		if err == nil && noCounter {
			var sums []models.Usage
			sums, err = q.usagesFromEntries(q.DB, offerID, []string{userID})
			if len(sums) > 0 {
				usage = sums[0]
			}
		}
		usage.OfferID, usage.UserID = offerID, userID
		return err
	})
	return usage, err
}

// usagesFromEntries adds up what users have used, by way of db, which may lock their entries. It counts as package ledger does: a hold
// counts until it is cancelled or expires, and as much of it as was confirmed; a refund that restores the limit takes its units off, and if
// it was the one that took the last unit, the redemption too. Users without entries are left out.
func (q *query) usagesFromEntries(db *gorm.DB, offerID string, users []string) (usages []models.Usage, err error) {
	redemptions := db.Table("entries").Select(`user_id,
		COALESCE(MAX(CASE WHEN kind = 'confirm' THEN units END), MAX(CASE WHEN seq = 0 THEN units END)) AS final,
		MAX(CASE WHEN kind = 'confirm' THEN units END) AS confirmed,
		MAX(CASE WHEN kind = 'hold' THEN 1 ELSE 0 END) AS hold,
		MAX(CASE WHEN kind IN ('cancel', 'expire') THEN 1 ELSE 0 END) AS ended,
		SUM(CASE WHEN kind = 'refund' THEN units ELSE 0 END) AS refunded,
		SUM(CASE WHEN kind = 'refund' AND restores_user_limit THEN units ELSE 0 END) AS restored,
		MAX(CASE WHEN kind = 'refund' AND restores_user_limit THEN seq ELSE -1 END) AS last_restoring,
		MAX(seq) AS last_seq`).
		Where("offer_id = ? AND user_id IN ?", offerID, users).Group("user_id, redemption")
	err = q.Table("(?) AS redemptions_of_users", redemptions).Select(`user_id,
		SUM(CASE WHEN ended = 1 OR final = refunded AND last_restoring = last_seq THEN 0 ELSE 1 END) AS redemptions,
		SUM(CASE WHEN ended = 1 THEN 0 ELSE final - restored END) AS units,
		SUM(CASE WHEN hold = 1 AND confirmed IS NULL AND ended = 0 THEN final ELSE 0 END) AS held_units`).
		Group("user_id").Scan(&usages).Error
	return usages, err
}
