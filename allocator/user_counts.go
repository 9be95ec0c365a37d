package allocator

import (
	"sync"

	"tranche/models"
)

// userCounts is how much of offers that limit users has been redeemed by whom, as far as this node remembers. While the ledger is away,
// nothing better is known. A redemption that goes over a limit then is found when it is settled, and listed.
type userCounts struct {
	mu   sync.Mutex
	used map[userKey]use
}

type userKey struct{ offerID, userID string }

type use struct{ redemptions, units int64 }

// addWithin counts a redemption, unless it goes over the user's limit. An offer without limits counts nothing.
func (u *userCounts) addWithin(offer *models.Offer, e *models.Entry) error {
	if !offer.LimitsUsers() {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used[userKey{e.OfferID, e.UserID}]
	if over(used.redemptions+1, offer.UserLimitRedemptions) || over(used.units+e.Units, offer.UserLimitUnits) {
		return &models.UserLimitError{
			Wanted:           e.Units,
			Usage:            models.Usage{OfferID: e.OfferID, UserID: e.UserID, Redemptions: used.redemptions, Units: used.units},
			LimitRedemptions: offer.UserLimitRedemptions, LimitUnits: offer.UserLimitUnits,
		}
	}
	u.change(e, 1)
	return nil
}

func over(used int64, limit *int64) bool { return limit != nil && used > *limit }

// add counts a redemption that the ledger has.
func (u *userCounts) add(e *models.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.change(e, 1)
}

// remove takes a redemption off again.
func (u *userCounts) remove(e *models.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.change(e, -1)
}

// change adds or removes redemptions like e. mu is held.
func (u *userCounts) change(e *models.Entry, redemptions int64) {
	if u.used == nil {
		u.used = map[userKey]use{}
	}
	key := userKey{e.OfferID, e.UserID}
	used := u.used[key]
	used.redemptions += redemptions
	used.units += redemptions * e.Units
	if used.redemptions <= 0 {
		delete(u.used, key)
		return
	}
	u.used[key] = used
}
