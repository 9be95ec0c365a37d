package allocator

import (
	"sync"

	"tranche/models"
)

// users counts what this node remembers that users have redeemed, for offers that limit them. While the ledger is away, nothing
// better is known; what goes over a limit then is found when it is settled, and listed.
type users struct {
	mu   sync.Mutex
	used map[userKey]use
}

type userKey struct{ offerID, userID string }

type use struct{ redemptions, units int64 }

// reserve counts a redemption, unless it goes over the user's limit as far as this node knows.
func (u *users) reserve(offer *models.Offer, e *models.Entry) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used[userKey{e.OfferID, e.UserID}]
	more := use{used.redemptions + 1, used.units + e.Units}
	if over(more.redemptions, offer.UserLimitRedemptions) || over(more.units, offer.UserLimitUnits) {
		return &models.UserLimitError{
			Usage:            models.Usage{OfferID: e.OfferID, UserID: e.UserID, Redemptions: used.redemptions, Units: used.units},
			LimitRedemptions: offer.UserLimitRedemptions, LimitUnits: offer.UserLimitUnits,
		}
	}
	u.set(e, more)
	return nil
}

func over(used int64, limit *int64) bool { return limit != nil && used > *limit }

// add counts a redemption that the ledger has.
func (u *users) add(e *models.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used[userKey{e.OfferID, e.UserID}]
	u.set(e, use{used.redemptions + 1, used.units + e.Units})
}

// release takes a redemption off again.
func (u *users) release(e *models.Entry) {
	u.mu.Lock()
	defer u.mu.Unlock()
	used := u.used[userKey{e.OfferID, e.UserID}]
	u.set(e, use{used.redemptions - 1, used.units - e.Units})
}

// set is called with mu held.
func (u *users) set(e *models.Entry, used use) {
	if u.used == nil {
		u.used = map[userKey]use{}
	}
	if used.redemptions <= 0 {
		delete(u.used, userKey{e.OfferID, e.UserID})
		return
	}
	u.used[userKey{e.OfferID, e.UserID}] = used
}
