package trial

import (
	"cmp"
	"slices"
	"time"
)

// Books are what a server has on record in the database. All orders are of one unit.
type Books struct {
	Redeemed map[string]int    // rows by key
	Refunded map[string]int64  // units by the key of the redemption
	Users    map[string]string // by key
}

// Counters are what a server decides by.
type Counters struct {
	Redeemed, Refunded int64
	Users              map[string]int64 // redemptions not given back
	// RolledUp is the sum of the log that a job keeps, where one does.
	RolledUp *int64
}

// Verdict is what was wrong, and how much was sold.
type Verdict struct {
	Acknowledged int
	Lost         int
	Double       int
	Oversold     int64
	Overrun      int64
	Refused      int
	Drift        int64
	Open         int
}

// Judge holds the record against the books, and those against the counters. A limit of zero is none.
func Judge(r *Record, b *Books, c *Counters, budget, limit int64) Verdict {
	v := Verdict{Refused: refusedInVain(r, b, budget)}
	for key, o := range r.Orders {
		if len(o.IDs) > 0 {
			v.Acknowledged++
		}
		if len(o.IDs) > 0 && b.Redeemed[key] == 0 {
			v.Lost++
		}
		v.Double += max(0, len(o.IDs)-1, b.Redeemed[key]-1)
		if o.Open && len(o.IDs) == 0 {
			v.Open++
		}
	}
	for key := range r.Refunds {
		if b.Refunded[key] == 0 {
			v.Lost++
		}
	}
	net := b.users()
	for _, n := range net {
		if limit > 0 {
			v.Overrun += max(0, n-limit)
		}
	}
	for key, units := range b.Refunded {
		v.Double += int(max(0, units-int64(b.Redeemed[key])))
	}
	redeemed, refunded := b.sums()
	v.Oversold = max(0, redeemed-refunded-budget)
	v.Drift = b.drift(c, net)
	return v
}

func (b *Books) sums() (redeemed, refunded int64) {
	for _, rows := range b.Redeemed {
		redeemed += int64(rows)
	}
	for _, units := range b.Refunded {
		refunded += units
	}
	return redeemed, refunded
}

// users gives the redemptions of each user that are not given back.
func (b *Books) users() map[string]int64 {
	net := map[string]int64{}
	for key, rows := range b.Redeemed {
		net[b.Users[key]] += int64(rows) - b.Refunded[key]
	}
	return net
}

// drift adds up by how much the counters are wrong.
func (b *Books) drift(c *Counters, net map[string]int64) int64 {
	redeemed, refunded := b.sums()
	drift := distance(c.Redeemed, redeemed) + distance(c.Refunded, refunded)
	for user, counted := range c.Users {
		drift += distance(counted, net[user])
	}
	if c.RolledUp != nil {
		drift += distance(*c.RolledUp, redeemed-refunded)
	}
	return drift
}

func distance(a, b int64) int64 { return max(a-b, b-a) }

// refusedInVain counts the customers that could have been served.
func refusedInVain(r *Record, b *Books, budget int64) (vain int) {
	var soldOut []Refusal
	inBooks := map[string]int{} // by user
	for key, rows := range b.Redeemed {
		inBooks[b.Users[key]] += rows
	}
	for _, o := range r.Orders {
		if o.toldOtherwise() {
			vain++
			continue
		}
		if len(o.Refusals) == 0 {
			continue
		}
		// A customer is turned away once.
		if first := o.Refusals[0]; first.SoldOut {
			soldOut = append(soldOut, first)
		} else if inBooks[o.User] == 0 {
			vain++
		}
	}
	return vain + soldOutInVain(soldOut, sentTimes(r, b), backTimes(r), budget)
}

// toldOtherwise reports whether an order was refused that had been acknowledged before it was sent again. The other way round is fair: of
// two clicks one may come too late, and the other when somebody has just given back.
func (o *Order) toldOtherwise() bool {
	return len(o.IDs) > 0 && slices.ContainsFunc(o.Refusals, func(refusal Refusal) bool { return refusal.Sent > o.Acked })
}

// sentTimes gives when the orders that are in the books were sent first, in order: until then they had no unit.
func sentTimes(r *Record, b *Books) (times []time.Duration) {
	for key, o := range r.Orders {
		if b.Redeemed[key] > 0 {
			times = append(times, o.FirstSent)
		}
	}
	slices.Sort(times)
	return times
}

// backTimes gives when refunds were acknowledged, in order: from then on their units were back.
func backTimes(r *Record) (times []time.Duration) {
	for _, at := range r.Refunds {
		times = append(times, at)
	}
	slices.Sort(times)
	return times
}

// soldOutInVain goes through the refusals in their order. Each that came while a unit was free counts, and takes that unit: else one leaked
// unit would prove all refusals after it wrong.
func soldOutInVain(refusals []Refusal, sent, back []time.Duration, budget int64) (vain int) {
	slices.SortFunc(refusals, func(a, b Refusal) int { return cmp.Compare(a.Answered, b.Answered) })
	for _, refusal := range refusals {
		taken := before(sent, refusal.Answered) - before(back, refusal.Sent)
		if int64(taken+vain) < budget {
			vain++
		}
	}
	return vain
}

// before counts the times up to a moment.
func before(sorted []time.Duration, moment time.Duration) int {
	n, _ := slices.BinarySearch(sorted, moment+1)
	return n
}
