package lease

import (
	"context"
	"slices"
	"time"

	"tranche/internal/run"
	"tranche/models"
)

// Legacy is what a Successor needs of the database.
type Legacy interface {
	LeasesOfNode(ctx context.Context, nodeID models.ID, beforeEpoch int64, limit int, after models.ID) (models.DatedLeases, error)
	CloseLease(ctx context.Context, offerID string, id models.ID, to models.LeaseState, ifExpiresAt *models.Micros) (models.Lease, bool, error)
	Acquit(ctx context.Context, offerID string, leaseIDs []models.ID) error
}

// Successor takes over from the earlier epochs of its node. It closes their leases at once, so that the units can be leased again.
//
// Another process may still spend from them: one that is cut off from the database, on another copy of the data directory. So what the
// leases had left stays exposed until their deadlines have passed. Then the Successor acquits them.
type Successor struct {
	cfg     Config // but for Metrics
	legacy  Legacy
	exposed []exposure // in the order of their ends
}

// exposure is a closed lease that an earlier epoch may spend from until its end.
type exposure struct {
	offerID string
	leaseID models.ID
	end     time.Time // monotonic, and not before the lease's end by the database's clock
}

// NewSuccessor makes a Successor. It is for one goroutine.
func NewSuccessor(cfg Config, legacy Legacy) *Successor { return &Successor{cfg: cfg, legacy: legacy} }

// takeOverAtOnce bounds one read of earlier leases.
const takeOverAtOnce = 200

// TakeOver closes the leases of all epochs before one, and gives the number of those that were open. The journal
// must be settled before. TakeOver acquits the leases that nobody can spend from any more; Run does that for the others. After an error
// it may be called again.
func (s *Successor) TakeOver(ctx context.Context, epoch int64) (closed int, err error) {
	s.exposed = nil
	for last := (models.ID{}); ; {
		owed, err := s.legacy.LeasesOfNode(ctx, s.cfg.NodeID, epoch, takeOverAtOnce, last)
		if err != nil {
			return closed, err
		}
		read := s.cfg.Now()
		for i := range owed.Leases {
			l, did, err := s.legacy.CloseLease(ctx, owed.Leases[i].OfferID, owed.Leases[i].ID, models.LeaseReclaimed, nil)
			if err != nil {
				return closed, err
			}
			if did {
				closed++
			}
			if l.Exposed > 0 {
				s.exposed = append(s.exposed, exposure{l.OfferID, l.ID, read.Add(l.ExpiresAt.Sub(owed.Now))})
			}
			last = l.ID
		}
		if len(owed.Leases) < takeOverAtOnce {
			break
		}
	}
	slices.SortFunc(s.exposed, func(a, b exposure) int { return a.end.Compare(b.end) })
	return closed, s.acquit(ctx)
}

// Run acquits the leases of earlier epochs, each after its end, until all are or ctx ends. It gives the number of those that are left.
func (s *Successor) Run(ctx context.Context) (left int) {
	if n := len(s.exposed); n > 0 {
		s.cfg.Logger.Info().Int("leases", n).Time("until", s.exposed[n-1].end).
			Msg("leases of an earlier run stay in the overspend bound until nobody can spend from them")
	}
	backoff := run.Backoff{Min: reapEvery, Max: 10 * time.Second}
	for len(s.exposed) > 0 {
		if !run.Pause(ctx, s.exposed[0].end.Sub(s.cfg.Now())) {
			break
		}
		if s.acquit(ctx) != nil && !backoff.Wait(ctx) { // the store reports an outage
			break
		}
	}
	return len(s.exposed)
}

// acquit acquits the leases whose ends have passed, offer by offer.
func (s *Successor) acquit(ctx context.Context) error {
	now := s.cfg.Now()
	due := map[string][]models.ID{}
	for _, e := range s.exposed {
		if !now.Before(e.end) {
			due[e.offerID] = append(due[e.offerID], e.leaseID)
		}
	}
	for offer, ids := range due {
		if err := s.legacy.Acquit(ctx, offer, ids); err != nil {
			return err
		}
		s.exposed = slices.DeleteFunc(s.exposed, func(e exposure) bool { return e.offerID == offer && !now.Before(e.end) })
	}
	return nil
}
