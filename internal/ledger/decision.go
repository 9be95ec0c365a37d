package ledger

import (
	"errors"
	"fmt"
	"slices"

	"tranche/models"
)

// A Decision says what the transaction of a batch is to write, and what each requester is to hear once it has committed.
type Decision struct {
	Verdicts []models.Verdict // one for each wanted entry, in order
	Appends  []models.Entry   // rows to insert, seq set
	Lease    Delta
	Users    map[string]UserDelta // empty when the offer limits no users
	Held     []models.Hold        // rows to insert: holds that this batch brings
	Ended    []models.Hold        // rows to delete then: those that it ends, perhaps its own

	// Exceptions are rows to insert unless one is there with the same EntryID and Reason: the entry of a reused key may be asked
	// for again. ID and CreatedAt are the store's to set.
	Exceptions []models.Exception

	batch     *models.Batch
	as        timing
	histories map[models.ID][]models.Entry

	// used holds the counters without this batch of every user that it counts. Set when somebody goes over a limit:
	// from then on each redemption has to fit.
	used map[string]models.Usage
}

// timing says what is to become of a batch.
type timing int

const (
	onTime   timing = iota
	late            // its lease has closed: only what was acknowledged is booked
	lookedUp        // it was decided before: nothing is written
)

// Decide decides what a batch may write, given the entries that its redemptions have by now (keyed by redemption hash, ordered by
// seq). It changes none of its arguments.
func Decide(batch *models.Batch, histories map[models.ID][]models.Entry) (*Decision, error) {
	return newDecision(batch, histories, onTime)
}

// DecideLate is Decide for a batch whose lease has closed. Acknowledged entries are booked, as late; all others are ErrLeaseClosed.
func DecideLate(batch *models.Batch, histories map[models.ID][]models.Entry) (*Decision, error) {
	return newDecision(batch, histories, late)
}

// LookUp says what became of a batch that was decided before: it is looked up, and nothing is written any more.
func LookUp(batch *models.Batch, histories map[models.ID][]models.Entry) ([]models.Verdict, error) {
	p, err := newDecision(batch, histories, lookedUp)
	if err != nil {
		return nil, err
	}
	return p.Verdicts, nil
}

func newDecision(batch *models.Batch, histories map[models.ID][]models.Entry, as timing) (*Decision, error) {
	for i := range batch.Wanted {
		if w := &batch.Wanted[i]; w.Acknowledged && !w.Kind.Spends() {
			return nil, fmt.Errorf("entry %s: a %s cannot be acknowledged before it is booked", w.ID, w.Kind)
		}
	}
	p := &Decision{batch: batch, histories: histories, as: as}
	return p, p.judgeAll()
}

// UserIDs are the users whose counters change, sorted: the order in which their rows are locked.
func (p *Decision) UserIDs() []string {
	ids := make([]string, 0, len(p.Users))
	for id := range p.Users {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Limit refuses the redemptions that go over a user's limit, first come first served. after holds each user's counters with
// this decision's deltas already added. It gives what must be taken off them again: nothing when all fit.
func (p *Decision) Limit(after map[string]models.Usage) (corrections map[string]UserDelta, err error) {
	decided, used, exceeded := p.Users, map[string]models.Usage{}, false
	for user, delta := range decided {
		exceeded = exceeded || p.over(after[user])
		usage := delta.Negated().ApplyTo(after[user])
		usage.OfferID, usage.UserID = p.batch.Offer.ID, user
		used[user] = usage
	}
	if !exceeded {
		return nil, nil
	}
	p.used = used
	if err := p.judgeAll(); err != nil {
		return nil, err
	}
	corrections = map[string]UserDelta{}
	for user, delta := range decided {
		if now := p.Users[user]; now != delta {
			corrections[user] = delta.Add(now.Negated())
		}
	}
	return corrections, nil
}

// OverLimit reports whether Limit has found a user over a limit: then what is to be written may be other than it was before.
func (p *Decision) OverLimit() bool { return p.used != nil }

// over reports whether a user who has used this much is past a limit.
func (p *Decision) over(u models.Usage) bool {
	offer := p.batch.Offer
	return past(u.Redemptions, offer.UserLimitRedemptions) || past(u.Units, offer.UserLimitUnits)
}

func past(used int64, limit *int64) bool { return limit != nil && used > *limit }

// fits says whether a new entry is within its user's limits, on top of those of this batch before it. Only one that spends can be over.
func (p *Decision) fits(v *models.Verdict) error {
	if p.used == nil || !v.Entry.Kind.Spends() {
		return nil
	}
	usage, counted := p.used[v.Entry.UserID]
	if !counted {
		return models.ErrNotSettled // it stood behind one that was refused just now, and its user was not counted
	}
	usage = p.Users[v.Entry.UserID].ApplyTo(usage)
	if p.over(userDelta(&v.Entry, &v.Redemption).ApplyTo(usage)) {
		offer := p.batch.Offer
		return &models.UserLimitError{
			Wanted: v.Entry.Units, Usage: usage, LimitRedemptions: offer.UserLimitRedemptions, LimitUnits: offer.UserLimitUnits,
		}
	}
	return nil
}

// judgeAll goes through the wanted entries, each on top of those before it. The acknowledged ones come first: they are booked whatever
// the others want, so the others are judged on top of them, and a user's limit is not overrun where a refusal still can prevent it.
func (p *Decision) judgeAll() error {
	wanted := p.batch.Wanted
	p.Verdicts = make([]models.Verdict, len(wanted))
	p.Appends = make([]models.Entry, 0, len(wanted))
	p.Lease, p.Users = Delta{}, map[string]UserDelta{}
	p.Held, p.Ended, p.Exceptions = nil, nil, nil
	grown := make(map[models.ID][]models.Entry, len(wanted)) // histories that this batch adds to

	for _, acknowledged := range []bool{true, false} {
		for i := range wanted {
			if wanted[i].Acknowledged != acknowledged {
				continue
			}
			if err := p.judgeOne(i, grown); err != nil {
				return err
			}
		}
	}
	return nil
}

// judgeOne gives the i-th wanted entry its verdict, and books it if that is the verdict.
func (p *Decision) judgeOne(i int, grown map[models.ID][]models.Entry) error {
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
		p.append(&verdict)
		if added := p.Appends[len(p.Appends)-1:]; len(history) == 0 { // nearly always
			grown[wanted.Redemption] = slices.Clip(added)
		} else {
			grown[wanted.Redemption] = append(history, added...)
		}
	case own(history, wanted.ID):
		verdict.Replayed = false // written by an earlier attempt of this batch
	case wanted.Acknowledged && errors.Is(verdict.Err, models.ErrKeyReused):
		p.except(wanted, models.ReasonKeyReused)
	}
	p.Verdicts[i] = verdict
	return nil
}

// admit lets a new entry in, or refuses it for its user's limit. One that was acknowledged is let in, and listed.
func (p *Decision) admit(w *models.Wanted, v models.Verdict) models.Verdict {
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
func (p *Decision) except(w *models.Wanted, reason models.ExceptionReason) {
	p.Exceptions = append(p.Exceptions, models.Exception{
		OfferID: w.OfferID, Reason: reason, Redemption: w.Redemption, UserID: w.UserID, OrderID: w.OrderID, Units: w.Units,
		LeaseID: p.batch.LeaseID, NodeID: w.NodeID, EntryID: w.ID, IdempotencyKey: w.IdempotencyKey,
	})
}

// append books a verdict that brings a new entry.
func (p *Decision) append(v *models.Verdict) {
	e, r := &v.Entry, &v.Redemption
	p.Appends = append(p.Appends, *e)
	p.Lease = p.Lease.Add(leaseDelta(e, r))
	switch e.Kind {
	case models.KindHold:
		p.Held = append(p.Held, held(r))
	case models.KindConfirm, models.KindCancel, models.KindExpire:
		p.Ended = append(p.Ended, held(r))
	}
	if p.batch.Offer.LimitsUsers() {
		if delta := userDelta(e, r); delta != (UserDelta{}) {
			p.Users[e.UserID] = p.Users[e.UserID].Add(delta)
		}
	}
}

func held(r *models.Redemption) models.Hold {
	return models.Hold{OfferID: r.OfferID, Redemption: r.Hash, ExpiresAt: *r.HoldExpiresAt}
}
