package ledger

import (
	"errors"
	"fmt"
	"slices"

	"tranche/models"
)

// Delta is what a batch changes on its lease row.
type Delta struct {
	Granted int64 // refunds that flow into the pool
	Spent   int64
	models.Totals
}

// UserDelta is what a batch changes on one user's counters.
type UserDelta struct {
	Redemptions int64
	Units       int64
}

// A Planned batch: what the transaction is to write, and what each requester is to hear once it has committed.
type Planned struct {
	Verdicts []models.Verdict // one for each wanted entry, in order
	Appends  []models.Entry   // rows to insert, seq set
	Lease    Delta
	Users    map[string]UserDelta // empty when the offer limits no users

	// Exceptions are rows to insert unless one is there with the same EntryID and Reason: the entry of a reused key may be asked
	// for again. ID and CreatedAt are the store's to set.
	Exceptions []models.Exception

	batch     *models.Batch
	as        booking
	histories map[models.ID][]models.Entry

	// used holds the counters without this batch of every user that it counts. Set when somebody goes over a limit:
	// from then on each redemption has to fit.
	used map[string]models.Usage
}

// booking says what is to become of a batch.
type booking int

const (
	onTime   booking = iota
	late             // its lease has closed: only what was acknowledged is booked
	lookedUp         // it was decided before: nothing is written
)

// Plan decides what a batch may write, given the entries that its redemptions have by now (keyed by redemption hash, ordered by
// seq). It changes none of its arguments.
func Plan(batch *models.Batch, histories map[models.ID][]models.Entry) (*Planned, error) {
	return newPlan(batch, histories, onTime)
}

// PlanLate is Plan for a batch whose lease has closed. Acknowledged entries are booked, as late; all others are ErrLeaseClosed.
func PlanLate(batch *models.Batch, histories map[models.ID][]models.Entry) (*Planned, error) {
	return newPlan(batch, histories, late)
}

// Judge says what became of a batch that was decided before: it is looked up, and nothing is written any more.
func Judge(batch *models.Batch, histories map[models.ID][]models.Entry) ([]models.Verdict, error) {
	p, err := newPlan(batch, histories, lookedUp)
	if err != nil {
		return nil, err
	}
	return p.Verdicts, nil
}

func newPlan(batch *models.Batch, histories map[models.ID][]models.Entry, as booking) (*Planned, error) {
	for i := range batch.Wanted {
		if w := &batch.Wanted[i]; w.Acknowledged && w.Kind != models.KindRedeem {
			return nil, fmt.Errorf("entry %s: a %s cannot be acknowledged before it is booked", w.ID, w.Kind)
		}
	}
	p := &Planned{batch: batch, histories: histories, as: as}
	return p, p.decide()
}

// UserIDs are the users whose counters change, sorted: the order in which their rows are locked.
func (p *Planned) UserIDs() []string {
	ids := make([]string, 0, len(p.Users))
	for id := range p.Users {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Limit refuses the redemptions that go over a user's limit, first come first served. after holds each user's counters with
// this plan's deltas already added. It gives what must be taken off them again: nothing when all fit.
func (p *Planned) Limit(after map[string]models.Usage) (corrections map[string]UserDelta, err error) {
	planned, used, exceeded := p.Users, map[string]models.Usage{}, false
	for user, delta := range planned {
		usage := after[user]
		exceeded = exceeded || p.over(usage)
		usage.OfferID, usage.UserID = p.batch.Offer.ID, user
		usage.Redemptions -= delta.Redemptions
		usage.Units -= delta.Units
		used[user] = usage
	}
	if !exceeded {
		return nil, nil
	}
	p.used = used
	if err := p.decide(); err != nil {
		return nil, err
	}
	corrections = map[string]UserDelta{}
	for user, delta := range planned {
		if now := p.Users[user]; now != delta {
			corrections[user] = UserDelta{delta.Redemptions - now.Redemptions, delta.Units - now.Units}
		}
	}
	return corrections, nil
}

// over reports whether a user who has used this much is past a limit.
func (p *Planned) over(u models.Usage) bool {
	offer := p.batch.Offer
	return past(u.Redemptions, offer.UserLimitRedemptions) || past(u.Units, offer.UserLimitUnits)
}

func past(used int64, limit *int64) bool { return limit != nil && used > *limit }

// fits says whether a new entry is within its user's limits, on top of those of this batch before it. Only a redemption can be over.
func (p *Planned) fits(v *models.Verdict) error {
	if p.used == nil || v.Entry.Kind != models.KindRedeem {
		return nil
	}
	usage, counted := p.used[v.Entry.UserID]
	if !counted {
		return models.ErrNotSettled // it stood behind one that was refused just now, and its user was not counted
	}
	delta := p.Users[v.Entry.UserID]
	usage.Redemptions += delta.Redemptions
	usage.Units += delta.Units
	with := usage
	with.Redemptions++
	with.Units += v.Entry.Units
	if p.over(with) {
		offer := p.batch.Offer
		return &models.UserLimitError{
			Usage: usage, LimitRedemptions: offer.UserLimitRedemptions, LimitUnits: offer.UserLimitUnits,
		}
	}
	return nil
}

// decide goes through the wanted entries, each on top of those before it. The acknowledged ones come first: they are booked whatever
// the others want, so the others are judged on top of them, and a user's limit is not overrun where a refusal still can prevent it.
func (p *Planned) decide() error {
	wanted := p.batch.Wanted
	p.Verdicts = make([]models.Verdict, len(wanted))
	p.Appends = make([]models.Entry, 0, len(wanted))
	p.Lease, p.Users, p.Exceptions = Delta{}, map[string]UserDelta{}, nil
	grown := map[models.ID][]models.Entry{} // histories that this batch adds to

	for _, acknowledged := range []bool{true, false} {
		for i := range wanted {
			if wanted[i].Acknowledged != acknowledged {
				continue
			}
			if err := p.decideOne(i, grown); err != nil {
				return err
			}
		}
	}
	return nil
}

// decideOne gives the i-th wanted entry its verdict, and books it if that is the verdict.
func (p *Planned) decideOne(i int, grown map[models.ID][]models.Entry) error {
	wanted := &p.batch.Wanted[i]
	history, ok := grown[wanted.Redemption]
	if !ok {
		history = slices.Clip(p.histories[wanted.Redemption])
	}
	redemption, err := Fold(history)
	if err != nil {
		return err
	}
	verdict := p.judge(wanted, history, redemption)
	isNew := verdict.Err == nil && !verdict.Replayed
	if isNew {
		verdict = p.admit(wanted, verdict)
	}
	switch {
	case isNew && verdict.Err == nil:
		grown[wanted.Redemption] = append(history, verdict.Entry)
		p.append(verdict)
	case own(history, wanted.ID):
		verdict.Replayed = false // written by an earlier attempt of this batch
	case wanted.Acknowledged && errors.Is(verdict.Err, models.ErrKeyReused):
		p.except(wanted, models.ReasonKeyReused)
	}
	p.Verdicts[i] = verdict
	return nil
}

// admit lets a new entry in, or refuses it for its user's limit. One that was acknowledged is let in, and listed.
func (p *Planned) admit(w *models.Wanted, v models.Verdict) models.Verdict {
	over := p.fits(&v)
	if over != nil && !w.Acknowledged {
		return models.Verdict{Err: over}
	}
	if over != nil {
		p.except(w, models.ReasonUserLimit)
	}
	if p.as == late {
		p.except(w, models.ReasonLate)
	}
	return v
}

// except lists an acknowledged entry for what it went beyond.
func (p *Planned) except(w *models.Wanted, reason models.ExceptionReason) {
	p.Exceptions = append(p.Exceptions, models.Exception{
		OfferID: w.OfferID, Reason: reason, Redemption: w.Redemption, UserID: w.UserID, OrderID: w.OrderID, Units: w.Units,
		LeaseID: p.batch.LeaseID, NodeID: w.NodeID, EntryID: w.ID, IdempotencyKey: w.IdempotencyKey,
	})
}

// append books a verdict that brings a new entry.
func (p *Planned) append(v models.Verdict) {
	e := v.Entry
	p.Appends = append(p.Appends, e)
	switch e.Kind {
	case models.KindRedeem:
		p.Lease.Spent += e.Units
		p.Lease.Redeemed += e.Units
	case models.KindRefund:
		if e.RestoresBudget {
			p.Lease.Granted += e.Units
			p.Lease.Refunded += e.Units
		} else {
			p.Lease.Forfeited += e.Units
		}
	}
	if p.batch.Offer.LimitsUsers() {
		d, delta := p.Users[e.UserID], userDelta(&e, &v.Redemption)
		if delta != (UserDelta{}) {
			p.Users[e.UserID] = UserDelta{d.Redemptions + delta.Redemptions, d.Units + delta.Units}
		}
	}
}

// userDelta is what an entry changes on its user's counters; r is the redemption with the entry applied.
func userDelta(e *models.Entry, r *models.Redemption) UserDelta {
	switch {
	case e.Kind == models.KindRedeem:
		return UserDelta{Redemptions: 1, Units: e.Units}
	case e.Kind == models.KindRefund && e.RestoresUserLimit:
		d := UserDelta{Units: -e.Units}
		if r.Remaining() == 0 { // the redemption itself comes back with its last unit
			d.Redemptions = -1
		}
		return d
	default:
		return UserDelta{}
	}
}

func own(history []models.Entry, id models.ID) bool {
	return slices.ContainsFunc(history, func(e models.Entry) bool { return e.ID == id })
}

// judge decides on one wanted entry. A verdict without error and without Replayed asks for the entry to be appended.
func (p *Planned) judge(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	switch {
	case p.as == late && !wanted.Acknowledged:
		return models.Verdict{Err: models.ErrLeaseClosed}
	case wanted.Kind == models.KindRedeem:
		return p.judgeRedeem(wanted, history, r)
	case wanted.Kind == models.KindRefund:
		return p.judgeRefund(wanted, history, r)
	default:
		return models.Verdict{Err: models.ErrNotSettled}
	}
}

// asksOnly reports whether an entry that is not there must stay so.
func (p *Planned) asksOnly(w *models.Wanted) bool {
	return p.as == lookedUp || w.CheckOnly && !w.Acknowledged
}

func (p *Planned) judgeRedeem(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	if len(history) > 0 {
		v := replay(&history[0], &wanted.Entry, r, SameRequest(&history[0], &wanted.Entry))
		if p.as == lookedUp && wanted.Acknowledged && v.Err != nil {
			return models.Verdict{Err: models.ErrNotSettled} // it has to be listed, and here nothing is written
		}
		return v
	}
	if p.asksOnly(wanted) {
		return models.Verdict{Err: models.ErrNotSettled}
	}
	e := wanted.Entry
	e.Seq, e.LeaseID, e.Late = 0, p.batch.LeaseID, p.as == late
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

func (p *Planned) judgeRefund(wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	for i := range r.Refunds {
		if earlier := &r.Refunds[i]; earlier.IdempotencyKey == wanted.IdempotencyKey {
			all := r.Remaining() == 0 && i == len(r.Refunds)-1 // that one took all that was left
			same := wanted.Units == earlier.Units || wanted.Units == 0 && all
			return replay(earlier, &wanted.Entry, r, same)
		}
	}
	switch {
	case p.asksOnly(wanted):
		return models.Verdict{Err: models.ErrNotSettled}
	case len(history) == 0:
		return models.Verdict{Err: models.ErrRedemptionNotFound}
	}
	e, offer := wanted.Entry, p.batch.Offer
	if e.Units == 0 {
		e.Units = r.Remaining()
	}
	if e.Units == 0 || e.Units > r.Remaining() {
		return models.Verdict{Err: &models.RefundExceedsError{Remaining: r.Remaining()}, Redemption: r}
	}
	e.Seq, e.LeaseID = r.LastSeq+1, p.batch.LeaseID
	e.UserID, e.OrderID = r.UserID, r.OrderID
	e.RestoresBudget = offer.RefundRestoresBudget
	e.RestoresUserLimit = offer.RefundRestoresUserLimit
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

// replay answers a request whose key is taken by an earlier entry.
func replay(earlier, wanted *models.Entry, r models.Redemption, same bool) models.Verdict {
	if !same && earlier.ID != wanted.ID {
		return models.Verdict{Err: models.ErrKeyReused, Entry: *earlier, Redemption: r}
	}
	return models.Verdict{Entry: *earlier, Redemption: r, Replayed: true}
}
