package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"tranche/internal/ledger"
	"tranche/models"
)

// chunkSize bounds IN lists and the rows of one INSERT.
const chunkSize = 500

// Settle books a batch on its lease: its entries, the user counters, and the lease's sums change in one transaction or not at all.
// Durable on return. One verdict for each wanted entry, in order.
//
// The lease's row fences the batch by its number. A batch that an earlier call with the same number has booked is looked up
// instead, and what that one did not book is ErrNotSettled. ErrLeaseClosed: nothing of it was or will ever be booked, and its number
// is free. A batch with acknowledged entries is never refused so: these are booked late, and the others are ErrLeaseClosed one by one.
// ErrOutcomeUnknown: call again with the same number and entries until it is decided.
//
// A lease that does not have the batches before this one, or not the units for it, is of a ledger that has lost commits. It is closed,
// and what it has left may still come late. Entries that no lease has room for are booked late on one
// that is made for them.
func (s *Store) Settle(ctx context.Context, batch models.Batch) (verdicts []models.Verdict, err error) {
	err = s.call(ctx, "Settle", writeTimeout, func(ctx context.Context) error {
		verdicts, err = s.book(ctx, &batch, (*query).settle)
		if errors.Is(err, errOnlyLate) {
			verdicts, err = s.book(ctx, &batch, (*query).settleLate)
		}
		if errors.Is(err, errNoRoom) {
			elsewhere := batch
			elsewhere.LeaseID = models.NewID()
			verdicts, err = s.book(ctx, &elsewhere, (*query).settleLate)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return verdicts, nil
}

// Why a lease's row did not take a batch.
var (
	errFenced   = errors.New("the lease does not take this batch") // the reason is to be read with a lock, in a transaction of its own
	errOnlyLate = errors.New("the lease is closed, and the batch was acknowledged")
	errNoRoom   = errors.New("the lease is closed, and was granted less than was acknowledged on it")
	errLost     = errors.New("the ledger has lost commits")
)

// book runs the transaction that settles a batch, and if it was fenced, the one that says why.
//
// Nearly all entries begin a redemption that is new. So the first run does not look for them: the unique key finds those that are
// there already. The next run looks first.
func (s *Store) book(ctx context.Context, batch *models.Batch, settle func(q *query, batch *models.Batch, lookFirst bool) ([]models.Verdict, error)) (verdicts []models.Verdict, err error) {
	lookFirst := false
	var refused error // by a transaction that has committed
	err = s.transact(ctx, onDuplicate|divisible, func(q *query) error {
		verdicts, err = settle(q, batch, lookFirst)
		lookFirst = true
		return err
	})
	if errors.Is(err, errFenced) {
		err = s.transact(ctx, onUnknown, func(q *query) error {
			verdicts, refused, err = q.settled(batch)
			return err
		})
		if err == nil && errors.Is(refused, errLost) {
			s.log.Warn().Err(refused).Str("offer_id", batch.Offer.ID).Msg("a lease is not as this node has left it; the node goes on with another")
			if s.lost != nil {
				s.lost()
			}
		}
	}
	return verdicts, cmp.Or(err, refused)
}

// settle books a batch on its active lease. It locks in the order of all transactions: user counters, entries, the lease.
func (q *query) settle(batch *models.Batch, lookFirst bool) ([]models.Verdict, error) {
	decision, err := q.write(batch, lookFirst, ledger.Decide)
	if err != nil {
		return nil, err
	}
	return decision.Verdicts, q.move(batch, &decision.Lease)
}

// write brings a batch into the ledger: the user counters, the entries, and the lists of holds and of exceptions.
func (q *query) write(batch *models.Batch, lookFirst bool, decide func(*models.Batch, map[models.ID][]models.Entry) (*ledger.Decision, error)) (*ledger.Decision, error) {
	histories, now, err := q.histories(batch.Offer.ID, redemptionsOf(batch, lookFirst), batch.Wanted)
	if err != nil {
		return nil, err
	}
	batch.BookedAt = now
	decision, err := decide(batch, histories)
	if err != nil {
		return nil, err
	}
	if err := q.count(batch.Offer, decision, lookFirst); err != nil {
		return nil, err
	}
	if err := q.append(decision.Appends); err != nil {
		return nil, err
	}
	if err := q.hold(decision.Held, decision.Ended); err != nil {
		return nil, err
	}
	return decision, q.except(batch.Offer.ID, decision.Exceptions)
}

// redemptionsOf gives the redemptions of a batch whose entries have to be read before it can be decided.
func redemptionsOf(batch *models.Batch, all bool) []models.ID {
	ids := make([]models.ID, 0, len(batch.Wanted))
	for i := range batch.Wanted {
		w := &batch.Wanted[i]
		begins := w.Kind.Spends() && !w.CheckOnly
		if all || !begins {
			ids = append(ids, w.Redemption)
		}
	}
	slices.SortFunc(ids, compareIDs)
	return slices.Compact(ids)
}

func compareIDs(a, b models.ID) int { return bytes.Compare(a[:], b[:]) }

// move takes the lease on to this batch. It runs with nothing to add as well: it keeps earlier attempts of this number out.
func (q *query) move(batch *models.Batch, d *ledger.Delta) error {
	rows, err := q.exec(`UPDATE leases SET granted = granted + ?, spent = spent + ?,
			redeemed = redeemed + ?, held = held + ?, refunded = refunded + ?, forfeited = forfeited + ?, batch = ?
		WHERE offer_id = ? AND id = ? AND state = 'active' AND batch = ? AND spent + ? <= granted + ?`,
		d.Granted, d.Spent, d.Redeemed, d.Held, d.Refunded, d.Forfeited, batch.Number,
		batch.Offer.ID, batch.LeaseID, batch.Number-1, d.Spent, d.Granted)
	if err == nil && rows != 1 {
		return errFenced
	}
	return err
}

// settled says why the lease's row did not take a batch: the batch was booked before, or it is refused. The locking read waits for a
// commit that is still on its way.
//
// A lease that is active and not where the node has left it is closed. That is the proof that commits are lost: on a member of a cluster
// that only lags behind, a transaction which writes the row that it has read so can't commit.
func (q *query) settled(batch *models.Batch) (verdicts []models.Verdict, refused, err error) {
	l, err := q.lockLease(batch.Offer.ID, batch.LeaseID)
	switch {
	case errors.Is(err, models.ErrLeaseClosed):
		refused = fmt.Errorf("%w: %w", err, errLost)
	case err != nil:
		return nil, nil, err
	case l.Batch >= batch.Number:
		histories, _, err := q.histories(batch.Offer.ID, redemptionsOf(batch, true), batch.Wanted)
		if err != nil {
			return nil, nil, err
		}
		verdicts, err = ledger.LookUp(batch, histories)
		return verdicts, nil, err
	case l.State == models.LeaseActive && !ledger.HasLost(&l, batch):
		return nil, nil, misfit(batch, &l)
	case l.State == models.LeaseActive:
		refused = fmt.Errorf("%w: %w: %w", models.ErrLeaseClosed, errLost, misfit(batch, &l))
		if err := q.closeLease(&l, models.LeaseReclaimed); err != nil {
			return nil, nil, err
		}
	default:
		refused = fmt.Errorf("%w: %s", models.ErrLeaseClosed, l.ID)
	}
	if batch.Acknowledged() {
		refused = fmt.Errorf("%w: %w", errOnlyLate, refused)
	}
	return nil, refused, nil
}

func misfit(batch *models.Batch, l *models.Lease) error {
	return fmt.Errorf("settle: batch %d does not fit lease %s: it is %s at batch %d, %d of %d spent",
		batch.Number, l.ID, l.State, l.Batch, l.Spent, l.Granted)
}
