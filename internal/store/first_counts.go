package store

import (
	"slices"

	"tranche/models"
)

// provisional marks counters that may lack redemptions from leases that are older than the limits.
const provisional = -1

// countFirst sees to it that users have counters that fit the offer's limits, before anything is added. Limits may have come after
// redemptions: then the batch that meets a user first counts the user from the ledger.
//
// While a lease from before the limits is active or exposes units, entries may come that counted nobody. So counters made meanwhile are
// provisional, and the next batch makes them anew.
func (q *query) countFirst(offer *models.Offer, users []string) error {
	if offer.LimitedFrom == 0 { // the limits are as old as the offer
		return nil
	}
	for chunk := range slices.Chunk(users, chunkSize) {
		var final []string
		err := q.Model(&models.Usage{}).Where("offer_id = ? AND user_id IN ? AND counted = ?", offer.ID, chunk, offer.LimitedFrom).
			Pluck("user_id", &final).Error
		if err != nil {
			return err
		}
		rest := slices.DeleteFunc(slices.Clone(chunk), func(user string) bool { return slices.Contains(final, user) })
		if len(rest) == 0 {
			continue
		}
		if err := q.lockCounters(offer.ID, chunk); err != nil {
			return err
		}
		if err := q.countFromLedger(offer, rest); err != nil {
			return err
		}
	}
	return nil
}

// lockCounters locks the counters of users, all in the order of every transaction, and makes those that are not there. Others who count
// these users wait for the lock.
func (q *query) lockCounters(offerID string, users []string) error {
	counters := make([]models.Usage, len(users))
	for i, user := range users {
		counters[i] = models.Usage{OfferID: offerID, UserID: user, Counted: provisional}
	}
	_, err := insert(q, counters, nil, q.dialect.onDuplicate("offer_id, user_id")+"counted = counted")
	return err
}

// countFromLedger sets the counters of users, which are locked, to what the ledger says. The leases are looked at before the entries: what
// an older lease has brought by then, the sums have.
func (q *query) countFromLedger(offer *models.Offer, users []string) error {
	counters := make([]models.Usage, len(users))
	var older bool
	if err := q.scan(&older, "SELECT "+olderLeases+" FROM offers WHERE id = ?", offer.ID); err != nil {
		return err
	}
	sums, err := q.usagesFromEntries(q.current(), offer.ID, users)
	if err != nil {
		return err
	}
	for i, user := range users {
		c := &counters[i]
		c.OfferID, c.UserID, c.Counted = offer.ID, user, provisional
		if j := slices.IndexFunc(sums, func(s models.Usage) bool { return s.UserID == user }); j >= 0 {
			c.Redemptions, c.Units, c.HeldUnits = sums[j].Redemptions, sums[j].Units, sums[j].HeldUnits
		}
		if !older {
			c.Counted = offer.LimitedFrom
		}
	}
	set := ""
	for _, column := range append(slices.Clone(usageCounters), "counted") {
		set += "," + column + " = " + q.dialect.incoming(column)
	}
	_, err = insert(q, counters, nil, q.dialect.onDuplicate("offer_id, user_id")+set[1:])
	return err
}
