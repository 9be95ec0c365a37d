package systemtest

import (
	"fmt"
	"testing"
)

// netSpent is how much of the budget is gone, by the entries alone.
func (b *books) netSpent() (n int64) {
	for _, m := range b.sumByLease(func(string, ...any) {}) {
		n += m.spent - m.granted
	}
	return n
}

// redeems gives the entries that brought a redemption into being, by idempotency key.
func (b *books) redeems() map[string][]entryRow {
	m := map[string][]entryRow{}
	for _, e := range b.entries {
		if e.seq == 0 {
			m[e.key] = append(m[e.key], e)
		}
	}
	return m
}

// check holds the books against themselves: every total against the entries behind it.
func (b *books) check(t *testing.T) {
	t.Helper()
	for _, problem := range b.problems() {
		t.Error(problem)
	}
}

func (b *books) problems() (problems []string) {
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	byLease := b.sumByLease(wrong)
	var spent, pooled, outstanding, exposed int64
	var closed sums
	for id, l := range b.leases {
		got := byLease[id]
		if l.sums != got.sums {
			wrong("lease %s says %+v, its entries say %+v", id, l.sums, got.sums)
		}
		if l.spent != got.spent {
			wrong("lease %s has spent %d, its entries %d", id, l.spent, got.spent)
		}
		if l.kind == "refund_pool" {
			pooled += l.granted
			if l.granted != got.granted {
				wrong("pool %s was granted %d, what came back into it is %d", id, l.granted, got.granted)
			}
		}
		if l.exposed != 0 && (l.state != "reclaimed" || !l.outlives() || l.exposed > l.granted-l.spent) {
			wrong("lease %s, %s, %s, exposes %d of the %d that were left", id, l.mode, l.state, l.exposed, l.granted-l.spent)
		}
		exposed += l.exposed
		spent += l.spent
		if l.state == "active" {
			outstanding += l.granted - l.spent
		} else {
			closed = closed.plus(l.sums)
		}
	}
	netSpent := b.netSpent()
	if netSpent != spent-pooled {
		wrong("net spent is %d by the entries, %d by the leases", netSpent, spent-pooled)
	}
	if b.allocated != netSpent+outstanding {
		wrong("allocated %d is not net spent %d + outstanding %d", b.allocated, netSpent, outstanding)
	}
	if b.allocated > b.budget+b.lateUnits { // late units are the only way beyond the budget
		wrong("allocated %d of a budget of %d, and %d units were late", b.allocated, b.budget, b.lateUnits)
	}
	if b.folded != closed {
		wrong("the offer folded %+v, its closed leases say %+v", b.folded, closed)
	}
	if b.exposed != exposed {
		wrong("the offer exposes %d, its leases %d", b.exposed, exposed)
	}
	b.checkLate(wrong)
	b.checkUsers(wrong)
	return problems
}

// moved is what entries have moved on a lease.
type moved struct {
	sums
	spent, granted int64
}

// sumByLease adds up the entries by lease, looking at each on the way.
func (b *books) sumByLease(wrong func(string, ...any)) map[string]moved {
	byLease, taken := map[string]moved{}, map[string]int64{}
	for _, e := range b.entries {
		if e.seq == 0 {
			taken[e.redemption] = e.units
		}
	}
	for _, e := range b.entries {
		if b.leases[e.lease] == nil {
			wrong("%s %s: booked on lease %s, which does not exist", e.kind, e.key, e.lease)
		}
		m := byLease[e.lease]
		switch {
		case e.kind == "redeem":
			m.spent += e.units
			m.redeemed += e.units
		case e.kind == "hold":
			m.spent += e.units
			m.held += e.units
		case e.kind == "confirm":
			m.granted += taken[e.redemption] - e.units
			m.held -= taken[e.redemption]
			m.redeemed += e.units
		case e.kind == "cancel", e.kind == "expire":
			m.granted += e.units
			m.held -= e.units
		case e.kind == "refund" && e.restoresBudget:
			m.granted += e.units
			m.refunded += e.units
		case e.kind == "refund":
			m.forfeited += e.units
		default:
			wrong("an entry of kind %q", e.kind)
		}
		byLease[e.lease] = m
	}
	return byLease
}

// checkLate holds the late entries, their sum and the list of exceptions against each other: whatever is late or over a limit is
// listed, once, as it was booked, and nothing else is.
func (b *books) checkLate(wrong func(string, ...any)) {
	listed, booked := map[exceptionRow]int{}, map[string]*entryRow{}
	for _, x := range b.exceptions {
		listed[x]++
		if listed[x] > 1 {
			wrong("listed twice: %+v", x)
		}
	}
	var lateUnits int64
	for i := range b.entries {
		e := &b.entries[i]
		booked[e.id] = e
		if !e.late {
			continue
		}
		lateUnits += e.units
		if l := b.leases[e.lease]; l != nil && (l.state == "active" || !l.outlives()) || e.seq != 0 {
			wrong("%s %s: late, on a lease that is %s, %s", e.kind, e.key, l.mode, l.state)
		}
		if listed[e.as("late")] == 0 {
			wrong("%s of %s is late and not listed", e.key, e.user)
		}
	}
	if b.lateUnits != lateUnits {
		wrong("the offer counts %d late units, the entries say %d", b.lateUnits, lateUnits)
	}
	for _, x := range b.exceptions {
		e := booked[x.entry]
		switch {
		case x.reason == "key_reused" && e != nil:
			wrong("listed as not booked, and booked: %+v", x)
		case x.reason != "key_reused" && (e == nil || e.as(x.reason) != x || x.reason == "late" && !e.late):
			wrong("listed as %+v, booked as %+v", x, e)
		}
	}
}

// usedByUsers counts each user's redemptions and holds, those of which nothing is left taken off.
func (b *books) usedByUsers() map[string]usageRow {
	ends := map[string]*entryRow{} // of holds
	for i, e := range b.entries {
		if e.kind == "confirm" || e.kind == "cancel" || e.kind == "expire" {
			ends[e.redemption] = &b.entries[i]
		}
	}
	users, left := map[string]usageRow{}, map[string]int64{}
	for _, e := range b.entries {
		end, u := ends[e.redemption], users[e.user]
		switch {
		case e.kind == "redeem":
			left[e.redemption] += e.units
		case e.kind == "hold" && end == nil:
			left[e.redemption] += e.units
			u.held += e.units
		case e.kind == "confirm":
			left[e.redemption] += e.units
		case e.restoresLimit:
			left[e.redemption] -= e.units
		}
		users[e.user] = u
	}
	for _, e := range b.entries {
		if e.seq == 0 && left[e.redemption] > 0 {
			u := users[e.user]
			u.redemptions++
			u.units += left[e.redemption]
			users[e.user] = u
		}
	}
	return users
}

// checkUsers holds what users have used against limit and counter. Nobody is over the limit by more than what is listed.
func (b *books) checkUsers(wrong func(string, ...any)) {
	users := b.usedByUsers()
	if !b.userLimit.Valid {
		return
	}
	overruns := b.overruns()
	for user, u := range users {
		if u.redemptions > b.userLimit.Int64+overruns[user] {
			wrong("user %s has %d redemptions, the limit is %d, and %d are listed", user, u.redemptions, b.userLimit.Int64, overruns[user])
		}
		if b.usages[user] != u {
			wrong("user %s is counted as %+v, the entries say %+v", user, b.usages[user], u)
		}
	}
	for user, u := range b.usages {
		if _, known := users[user]; !known && u != (usageRow{}) {
			wrong("user %s is counted as %+v and has no entry", user, u)
		}
	}
}

// overruns counts by user the redemptions that are listed as over the user's limit.
func (b *books) overruns() map[string]int64 {
	n := map[string]int64{}
	for _, x := range b.exceptions {
		if x.reason == "user_limit" {
			n[x.user]++
		}
	}
	return n
}
