package store

import (
	"fmt"
	"slices"
	"strings"

	"tranche/internal/ledger"
	"tranche/models"
)

// count adds the decision to the user counters, and takes off again what the limits refuse. The rows stay locked, so that of two
// transactions that see the same new user one waits and then counts on top of the other.
func (q *query) count(offer *models.Offer, decision *ledger.Decision, lookedFirst bool) error {
	users, offerID := decision.UserIDs(), offer.ID
	if len(users) == 0 {
		return nil
	}
	if err := q.countFirst(offer, users); err != nil {
		return err
	}
	added := decision.Users
	allNew, err := q.addUsages(offerID, users, added)
	if err != nil {
		return err
	}
	var after map[string]models.Usage
	if allNew {
		after = firstUsages(offerID, added)
	} else if after, err = q.usagesAfter(offerID, users); err != nil {
		return err
	}
	corrections, err := decision.Limit(after)
	if err != nil {
		return err
	}
	if decision.OverLimit() && !lookedFirst {
		return errOvertaken // the redemption that goes over the limit may be there already: then it is repeated, not refused
	}
	return q.takeOff(offerID, users, corrections)
}

// takeOff takes corrections off again, equal ones by one statement. This transaction has locked the rows already.
func (q *query) takeOff(offerID string, users []string, corrections map[string]ledger.UserDelta) error {
	equal := map[ledger.UserDelta][]string{}
	for _, user := range users {
		if d, corrected := corrections[user]; corrected {
			equal[d] = append(equal[d], user)
		}
	}
	for d, users := range equal {
		rows, err := q.exec(`UPDATE usages SET redemptions = redemptions - ?, units = units - ?, held_units = held_units - ?
			WHERE offer_id = ? AND user_id IN ?`, d.Redemptions, d.Units, d.HeldUnits, offerID, users)
		if err != nil {
			return err
		}
		if rows != int64(len(users)) {
			return fmt.Errorf("%w: %d of %d users have a counter", errOvertaken, rows, len(users))
		}
	}
	return nil
}

// addUsages counts all users up by upserts, and those with something to take off one by one: MySQL holds the row that an upsert
// would have inserted against the CHECKs, and negative counters are none.
//
// allNew says that no user had a row before: then the counters are what was added, and need not be read back. It is false where
// that can't be known.
func (q *query) addUsages(offerID string, users []string, deltas map[string]ledger.UserDelta) (allNew bool, err error) {
	up := make([]string, 0, len(users))
	var down []string
	for _, user := range users {
		if takesOff(deltas[user]) {
			down = append(down, user)
		} else {
			up = append(up, user)
		}
	}
	allNew = q.dialect.upsertsTellNew && len(down) == 0
	for chunk := range slices.Chunk(up, chunkSize) {
		rows := make([]models.Usage, len(chunk))
		for i, user := range chunk {
			rows[i] = first(offerID, user, deltas[user])
			allNew = allNew && deltas[user] != (ledger.UserDelta{}) // a row that stays as it is counts as none
		}
		changed, err := insert(q, rows, nil, q.dialect.addToUsage())
		if err != nil {
			return false, err
		}
		allNew = allNew && changed == int64(len(chunk))
	}
	for _, user := range down {
		if err := q.addUsage(offerID, user, deltas[user]); err != nil {
			return false, err
		}
	}
	return allNew, nil
}

var usageCounters = []string{"redemptions", "units", "held_units"} // read only

// addToUsage ends an INSERT of usages: what a row would have been inserted with is added to one that is there.
func (d *dialect) addToUsage() string {
	sums := make([]string, len(usageCounters))
	for i, counter := range usageCounters {
		sums[i] = counter + " = " + counter + " + " + d.incoming(counter)
	}
	return d.onDuplicate("offer_id, user_id") + strings.Join(sums, ", ")
}

func takesOff(d ledger.UserDelta) bool { return d.Redemptions < 0 || d.Units < 0 || d.HeldUnits < 0 }

// firstUsages are the counters of users who had none.
func firstUsages(offerID string, deltas map[string]ledger.UserDelta) map[string]models.Usage {
	usages := make(map[string]models.Usage, len(deltas))
	for user, d := range deltas {
		usages[user] = first(offerID, user, d)
	}
	return usages
}

// first is the counter of a user who had none.
func first(offerID, userID string, d ledger.UserDelta) models.Usage {
	return d.ApplyTo(models.Usage{OfferID: offerID, UserID: userID})
}

// addUsage never takes off more than there is: who wants to has waited for the row, and others have taken it off meanwhile.
func (q *query) addUsage(offerID, userID string, d ledger.UserDelta) error {
	rows, err := q.exec(`UPDATE usages SET redemptions = redemptions + ?, units = units + ?, held_units = held_units + ?
		WHERE offer_id = ? AND user_id = ? AND redemptions + ? >= 0 AND units + ? >= 0 AND held_units + ? >= 0`,
		d.Redemptions, d.Units, d.HeldUnits, offerID, userID, d.Redemptions, d.Units, d.HeldUnits)
	if err == nil && rows != 1 {
		return fmt.Errorf("%w: user %q has less than %+v", errOvertaken, userID, d.Negated())
	}
	return err
}

// usagesAfter reads counters that this transaction has just added to. It has locked their rows already.
func (q *query) usagesAfter(offerID string, users []string) (map[string]models.Usage, error) {
	usages := make(map[string]models.Usage, len(users))
	for chunk := range slices.Chunk(users, chunkSize) {
		var rows []models.Usage
		if err := q.current().Where("offer_id = ? AND user_id IN ?", offerID, chunk).Find(&rows).Error; err != nil {
			return nil, err
		}
		for _, u := range rows {
			usages[u.UserID] = u
		}
	}
	return usages, nil
}
