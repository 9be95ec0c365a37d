package store

import (
	"fmt"
	"slices"
	"strings"

	"tranche/internal/ledger"
	"tranche/models"
)

// count adds the plan to the user counters, and takes off again what the limits refuse. The rows stay locked, so that of two
// transactions that see the same new user one waits and then counts on top of the other. It reports whether anything was refused.
func (q *query) count(offerID string, plan *ledger.Planned) (refused bool, err error) {
	users := plan.UserIDs()
	if len(users) == 0 {
		return false, nil
	}
	allNew, err := q.addUsages(offerID, users, plan.Users)
	if err != nil {
		return false, err
	}
	var after map[string]models.Usage
	if allNew {
		after = firstUsages(offerID, plan.Users)
	} else if after, err = q.lockUsages(offerID, users); err != nil {
		return false, err
	}
	corrections, err := plan.Limit(after)
	if err != nil {
		return false, err
	}
	for _, user := range users {
		if d, corrected := corrections[user]; corrected {
			if err := q.addUsage(offerID, user, d.Negated()); err != nil {
				return false, err
			}
		}
	}
	return len(corrections) > 0, nil
}

// addUsages counts all users up by upserts, and those with something to take off one by one: MySQL holds the row that an upsert
// would have inserted against the CHECKs, and negative counters are none.
//
// allNew says that none of the users had a row before, so that their counters are what was added, and need not be read back. It is
// false where that can't be told.
func (q *query) addUsages(offerID string, users []string, deltas map[string]ledger.UserDelta) (allNew bool, err error) {
	up := make([]string, 0, len(users))
	for _, user := range users {
		if !takesOff(deltas[user]) {
			up = append(up, user)
		}
	}
	allNew = q.dialect.upsertsTellNew && len(up) == len(users)
	for chunk := range slices.Chunk(up, chunkSize) {
		args := make([]any, 0, len(chunk)*5)
		for _, user := range chunk {
			d := deltas[user]
			args = append(args, offerID, user, d.Redemptions, d.Units, d.HeldUnits)
			allNew = allNew && d != (ledger.UserDelta{}) // a row that stays as it is counts as none
		}
		rows, err := q.run(insertStatement("usages", usageColumns, len(chunk))+q.dialect.addToUsage(), args)
		if err != nil {
			return false, err
		}
		allNew = allNew && rows == int64(len(chunk))
	}
	for _, user := range users {
		if d := deltas[user]; takesOff(d) {
			if err := q.addUsage(offerID, user, d); err != nil {
				return false, err
			}
		}
	}
	return allNew, nil
}

var (
	usageColumns  = append([]string{"offer_id", "user_id"}, usageCounters...) // both are read only
	usageCounters = []string{"redemptions", "units", "held_units"}
)

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
		usages[user] = d.ApplyTo(models.Usage{OfferID: offerID, UserID: user})
	}
	return usages
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

func (q *query) lockUsages(offerID string, users []string) (map[string]models.Usage, error) {
	usages := make(map[string]models.Usage, len(users))
	for chunk := range slices.Chunk(users, chunkSize) {
		var rows []models.Usage
		err := q.locking().Where("offer_id = ? AND user_id IN ?", offerID, chunk).Order("user_id").Find(&rows).Error
		if err != nil {
			return nil, err
		}
		for _, u := range rows {
			usages[u.UserID] = u
		}
	}
	return usages, nil
}
