package storetest

import (
	"context"
	"time"

	"tranche/models"
)

// Store is what the suite tests: all that a ledger store does. Callers declare the part they need themselves.
type Store interface {
	LedgerID(ctx context.Context) (models.ID, error)
	RegisterNode(ctx context.Context, id models.ID, name string) (epoch int64, err error)
	Heartbeat(ctx context.Context, id models.ID, name string, epoch int64) error
	SignOff(ctx context.Context, id models.ID, epoch int64) error
	Nodes(ctx context.Context, limit int, before models.ID) ([]models.NodeActivity, error)

	CreateOffer(ctx context.Context, offer models.Offer, by models.Audit) (created models.Offer, isNew bool, err error)
	Offer(ctx context.Context, id string) (models.Offer, error)
	LockedOffer(ctx context.Context, id string) (models.Offer, error)
	Offers(ctx context.Context, filter models.OfferFilter) ([]models.Offer, models.Micros, error)
	ChangeOffer(ctx context.Context, id string, ifVersion *int64, change func(*models.Offer) error, by models.Audit) (models.Offer, error)
	Recall(ctx context.Context, offerID string, from int64) (models.Offer, error)
	Audits(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Audit, error)
	SyncOffers(ctx context.Context, window time.Duration) (models.Snapshot, error)

	Grant(ctx context.Context, req models.GrantRequest) (models.Grant, error)
	OpenPool(ctx context.Context, lease models.Lease) (models.Lease, models.Offer, error)
	Renew(ctx context.Context, nodeID models.ID, epoch int64, offerID string, ids []models.ID) (renewed []models.ID, offer models.Offer, err error)
	CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (closed models.Lease, did bool, err error)
	ReturnLeases(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error)
	ExpiringLeases(ctx context.Context, limit int) (models.ExpiringLeases, error)
	LeasesOfNode(ctx context.Context, nodeID models.ID, beforeEpoch int64, limit int) ([]models.Lease, error)
	TakeOver(ctx context.Context, offerID string, id models.ID) (did bool, err error)
	Leases(ctx context.Context, offerID string, limit int, before models.ID) ([]models.ListedLease, error)
	ActiveLeases(ctx context.Context, offerID string) ([]models.ListedLease, error)

	LeaseStates(ctx context.Context, offerID string, ids []models.ID) ([]models.Lease, error)
	MayOwe(ctx context.Context, offerID string, except models.ID) (bool, error)
	Acquit(ctx context.Context, offerID string, leaseIDs []models.ID) error
	AcquitDue(ctx context.Context, limit int) (acquitted int, err error)

	ExpiredHolds(ctx context.Context, limit int) (models.ExpiredHolds, error)

	Settle(ctx context.Context, batch models.Batch) ([]models.Verdict, error)
	Locked(ctx context.Context, batch models.Batch) ([]bool, error)
	SettleCart(ctx context.Context, cart models.Cart, items []models.Batch) ([]models.Verdict, error)
	Cart(ctx context.Context, id models.CartID) (models.Cart, error)
	Histories(ctx context.Context, offerID string, redemptions []models.ID) (map[models.ID][]models.Entry, error)
	Refunds(ctx context.Context, id models.RedemptionID, limit int, below int64) ([]models.Entry, error)
	Redemptions(ctx context.Context, filter models.RedemptionFilter) ([]models.ListedRedemption, error)
	Entries(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Entry, error)
	PlaceEntries(ctx context.Context, within time.Duration) (entries int, err error)
	FillFeed(ctx context.Context) (done bool, err error)
	Feed(ctx context.Context, offerID string, after int64, limit int) ([]models.Fed, error)
	Exceptions(ctx context.Context, offerID string, limit int, before models.ID) ([]models.Exception, error)
	Usage(ctx context.Context, offerID, userID string) (models.Usage, error)
	Balance(ctx context.Context, offerID string) (models.Balance, error)

	Ping(ctx context.Context) error
	Available() bool
}

var _ Store = (*Fake)(nil)
