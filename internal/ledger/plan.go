package ledger

import (
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

	batch     *models.Batch
	histories map[models.ID][]models.Entry

	// used holds the counters without this batch of every user that it counts. Set when somebody goes over a limit:
	// from then on each redemption has to fit.
	used map[string]models.Usage
}

// Plan decides what a batch may write, given the entries that its redemptions have by now (keyed by redemption hash, ordered by
// seq). It changes none of its arguments.
func Plan(batch *models.Batch, histories map[models.ID][]models.Entry) (*Planned, error) {
	p := &Planned{batch: batch, histories: histories}
	return p, p.decide()
}

// Judge says what became of a batch that was decided before: it is looked up, and nothing is written any more.
func Judge(batch *models.Batch, histories map[models.ID][]models.Entry) ([]models.Verdict, error) {
	asked := *batch
	asked.Wanted = slices.Clone(batch.Wanted)
	for i := range asked.Wanted {
		asked.Wanted[i].CheckOnly = true
	}
	p, err := Plan(&asked, histories)
	if err != nil {
		return nil, err
	}
	return p.Verdicts, nil
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

// fits says whether a new entry may be appended, on top of those of this batch before it. Only a redemption can be refused.
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

// decide goes through the wanted entries in order, each on top of those before it.
func (p *Planned) decide() error {
	batch := p.batch
	p.Verdicts = make([]models.Verdict, len(batch.Wanted))
	p.Appends = make([]models.Entry, 0, len(batch.Wanted))
	p.Lease = Delta{}
	p.Users = map[string]UserDelta{}
	grown := map[models.ID][]models.Entry{} // histories that this batch adds to

	for i := range batch.Wanted {
		wanted := &batch.Wanted[i]
		history, ok := grown[wanted.Redemption]
		if !ok {
			history = slices.Clip(p.histories[wanted.Redemption])
		}
		redemption, err := Fold(history)
		if err != nil {
			return err
		}
		verdict := judge(batch, wanted, history, redemption)
		if verdict.Err == nil && !verdict.Replayed {
			if err := p.fits(&verdict); err != nil {
				verdict = models.Verdict{Err: err}
			} else {
				grown[wanted.Redemption] = append(history, verdict.Entry)
				p.append(verdict)
			}
		} else if own(history, wanted.ID) {
			verdict.Replayed = false // written by an earlier attempt of this batch
		}
		p.Verdicts[i] = verdict
	}
	return nil
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
func judge(batch *models.Batch, wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	switch wanted.Kind {
	case models.KindRedeem:
		return judgeRedeem(batch, wanted, history, r)
	case models.KindRefund:
		return judgeRefund(batch, wanted, history, r)
	default:
		return models.Verdict{Err: models.ErrNotSettled}
	}
}

func judgeRedeem(batch *models.Batch, wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	if len(history) > 0 {
		return replay(&history[0], &wanted.Entry, r, SameRequest(&history[0], &wanted.Entry))
	}
	if wanted.CheckOnly {
		return models.Verdict{Err: models.ErrNotSettled}
	}
	e := wanted.Entry
	e.Seq, e.LeaseID = 0, batch.LeaseID
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

func judgeRefund(batch *models.Batch, wanted *models.Wanted, history []models.Entry, r models.Redemption) models.Verdict {
	for i := range r.Refunds {
		if earlier := &r.Refunds[i]; earlier.IdempotencyKey == wanted.IdempotencyKey {
			same := wanted.Units == 0 || wanted.Units == earlier.Units
			return replay(earlier, &wanted.Entry, r, same)
		}
	}
	switch {
	case wanted.CheckOnly:
		return models.Verdict{Err: models.ErrNotSettled}
	case len(history) == 0:
		return models.Verdict{Err: models.ErrRedemptionNotFound}
	}
	e := wanted.Entry
	if e.Units == 0 {
		e.Units = r.Remaining()
	}
	if e.Units == 0 || e.Units > r.Remaining() {
		return models.Verdict{Err: &models.RefundExceedsError{Remaining: r.Remaining()}, Redemption: r}
	}
	e.Seq, e.LeaseID = r.LastSeq+1, batch.LeaseID
	e.UserID, e.OrderID = r.UserID, r.OrderID
	e.RestoresBudget = batch.Offer.RefundRestoresBudget
	e.RestoresUserLimit = batch.Offer.RefundRestoresUserLimit
	apply(&r, &e)
	return models.Verdict{Entry: e, Redemption: r}
}

// replay answers a request whose key is taken by an earlier entry.
func replay(earlier, wanted *models.Entry, r models.Redemption, same bool) models.Verdict {
	if !same && earlier.ID != wanted.ID {
		return models.Verdict{Err: models.ErrKeyReused, Redemption: r}
	}
	return models.Verdict{Entry: *earlier, Redemption: r, Replayed: true}
}
