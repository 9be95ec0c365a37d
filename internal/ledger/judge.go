package ledger

import (
	"slices"

	"tranche/models"
)

func own(history []models.Entry, id models.ID) bool {
	return slices.ContainsFunc(history, func(e models.Entry) bool { return e.ID == id })
}

// judge decides on one wanted entry. A verdict without error and without Replayed asks for the entry to be appended.
func (p *Decision) judge(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	switch {
	case p.as == late && !wanted.Acknowledged:
		return models.Verdict{Err: models.ErrLeaseClosed}
	case wanted.Kind.Spends():
		return p.judgeFirst(wanted, history, r)
	case wanted.Kind == models.KindRefund:
		return p.judgeRefund(wanted, history, r)
	default:
		return p.judgeEnd(wanted, history, r)
	}
}

// asksOnly reports whether an entry that is not there must stay so.
func (p *Decision) asksOnly(w *models.Wanted) bool {
	return p.as == lookedUp || w.CheckOnly && !w.Acknowledged
}

// judgeFirst decides on a redeem or a hold.
func (p *Decision) judgeFirst(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	if len(history) > 0 {
		same := SameRequest
		if wanted.Acknowledged { // a client has its answer, so it stays one redemption if it can
			same = SameRedemption
		}
		v := replay(&history[0], &wanted.Entry, r, same(&history[0], &wanted.Entry))
		if p.as == lookedUp && wanted.Acknowledged && v.Err != nil {
			return models.Verdict{Err: models.ErrNotSettled} // it has to be listed, and here nothing is written
		}
		return v
	}
	if p.asksOnly(wanted) {
		return models.Verdict{Err: models.ErrNotSettled}
	}
	e := wanted.Entry
	e.Seq, e.LeaseID, e.Late, e.BookedAt = 0, p.batch.LeaseID, p.as == late, p.batch.BookedAt
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

// judgeEnd decides on what ends a hold: a confirm, cancel or expire. The first of them ends it, and is its second entry. A request that then
// asks for just that is answered with it.
func (p *Decision) judgeEnd(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	switch {
	case len(history) > 0 && history[0].Kind != models.KindHold:
		return models.Verdict{Err: models.ErrNotAHold, Redemption: r}
	case len(history) > 1 && sameEnd(&history[1], wanted, &r):
		return models.Verdict{Entry: history[1], Redemption: r, Replayed: true}
	case len(history) > 1:
		return models.Verdict{Err: &models.HoldResolvedError{Redemption: r}, Redemption: r}
	case p.asksOnly(wanted):
		return models.Verdict{Err: models.ErrNotSettled}
	case len(history) == 0:
		return models.Verdict{Err: models.ErrRedemptionNotFound}
	}
	e := wanted.Entry
	if e.Units == 0 {
		e.Units = r.Taken
	}
	if e.Units > r.Taken {
		return models.Verdict{Err: &models.ConfirmExceedsError{Held: r.Taken}, Redemption: r}
	}
	return p.next(e, r)
}

// sameEnd reports whether a hold ended by what is wanted. No number of units means all.
func sameEnd(end *models.Entry, wanted *models.Wanted, r *models.Redemption) bool {
	units := wanted.Units
	if units == 0 {
		units = r.Taken
	}
	return end.ID == wanted.ID || end.Kind == wanted.Kind && end.Units == units
}

// next is the verdict that appends an entry to its redemption.
func (p *Decision) next(e models.Entry, r models.Redemption) models.Verdict {
	e.Seq, e.LeaseID, e.BookedAt = r.LastSeq+1, p.batch.LeaseID, p.batch.BookedAt
	e.UserID, e.OrderID = r.UserID, r.OrderID
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

func (p *Decision) judgeRefund(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	for i := range r.Refunds {
		if earlier := &r.Refunds[i]; earlier.IdempotencyKey == wanted.IdempotencyKey {
			all := r.Remaining() == 0 && earlier.Seq == r.LastSeq // that one took all that was left
			same := wanted.Units == earlier.Units || wanted.Units == 0 && all
			return replay(earlier, &wanted.Entry, r, same && equal(earlier.Reason, wanted.Reason))
		}
	}
	switch {
	case p.asksOnly(wanted):
		return models.Verdict{Err: models.ErrNotSettled}
	case len(history) == 0:
		return models.Verdict{Err: models.ErrRedemptionNotFound}
	case r.State != models.StateRedeemed:
		return models.Verdict{Err: models.ErrNotConfirmed, Redemption: r}
	}
	e, offer := wanted.Entry, p.batch.Offer
	if e.Units == 0 {
		e.Units = r.Remaining()
	}
	if e.Units == 0 || e.Units > r.Remaining() {
		return models.Verdict{Err: &models.RefundExceedsError{Remaining: r.Remaining()}, Redemption: r}
	}
	if r.RefundCount >= models.MaxRefunds && e.Units < r.Remaining() {
		return models.Verdict{Err: &models.TooManyRefundsError{Remaining: r.Remaining()}, Redemption: r}
	}
	e.RestoresBudget = offer.RefundRestoresBudget
	e.RestoresUserLimit = offer.RefundRestoresUserLimit
	return p.next(e, r)
}

// replay answers a request whose key is taken by an earlier entry.
func replay(earlier, wanted *models.Entry, r models.Redemption, same bool) models.Verdict {
	if !same && earlier.ID != wanted.ID {
		return models.Verdict{Err: models.ErrKeyReused, Entry: *earlier, Redemption: r}
	}
	return models.Verdict{Entry: *earlier, Redemption: r, Replayed: true}
}
