package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"tranche/models"
)

var holdRaceTests = []test{
	{"whatever is done to holds, a model of one line per redemption knows the books", func(b *trial) {
		seed := uint64(time.Now().UnixNano())
		b.Logf("seed %d", seed)
		newModel(b, seed).play(400)
	}},
	{"confirm, cancel and expire at once: each hold ends once, and everybody hears how", func(b *trial) {
		const rounds, size, units = 5, 100, 3
		o := b.offer(rounds*size*units, limitUnits(rounds*size*units))
		l := b.lane(o, rounds*size*units)
		pools := map[models.Kind]*lane{models.KindConfirm: b.pool(o), models.KindCancel: b.pool(o), models.KindExpire: b.pool(o)}
		for round := range rounds {
			keys := make([]string, size)
			holds := make([]models.Wanted, size)
			for i := range keys {
				keys[i] = fmt.Sprint(round, "-", i)
				holds[i] = hold(o, keys[i], fmt.Sprint("user", i%7), units)
			}
			l.booked(holds...)
			ended := raceToEnd(b, o, pools, keys)
			for _, key := range keys {
				equal(b, "ends of "+key, ended[key], 1)
			}
		}
		equal(b, "held", b.audit(o).Held, 0)
	}},
}

// raceToEnd lets each pool try to end all holds its own way, in an order of its own and a few at a time, and counts who succeeded.
func raceToEnd(b *trial, o *models.Offer, pools map[models.Kind]*lane, keys []string) map[string]int {
	var mu sync.Mutex
	ended := map[string]int{}
	var wait sync.WaitGroup
	for kind, pool := range pools {
		wait.Go(func() {
			order := rand.Perm(len(keys))
			for len(order) > 0 {
				n := min(1+rand.IntN(12), len(order))
				var wanted []models.Wanted
				for _, i := range order[:n] {
					wanted = append(wanted, end(o, keys[i], kind, 0))
				}
				verdicts, err := again(func() ([]models.Verdict, error) { return b.Settle(b.ctx, pool.next(wanted...)) })
				if err != nil {
					b.Errorf("%s: %v", kind, err)
					return
				}
				pool.batch++
				mu.Lock()
				for i, v := range verdicts {
					switch {
					case v.Err == nil && !v.Replayed:
						ended[keys[order[i]]]++
					case !errors.Is(v.Err, models.ErrHoldResolved):
						b.Errorf("%s of %s: %+v", kind, keys[order[i]], v)
					}
				}
				mu.Unlock()
				order = order[n:]
			}
		})
	}
	wait.Wait()
	return ended
}

// model knows of each redemption what it should be, and sums the books from that.
type model struct {
	*trial
	offer  *models.Offer
	rng    *rand.Rand
	block  *lane
	pool   *lane
	known  map[string]*modelled
	serial int // of refund keys
}

type modelled struct {
	hold                   bool // is or was
	state                  models.RedemptionState
	taken, units, refunded int64
}

func newModel(b *trial, seed uint64) *model {
	o := b.offer(100_000, limitUnits(100_000))
	return &model{
		trial: b, offer: o, rng: rand.New(rand.NewPCG(seed, 0)), block: b.lane(o, 50_000), pool: b.pool(o), known: map[string]*modelled{},
	}
}

// play takes random steps, and compares the balance with the model after each, all of the books now and then.
func (m *model) play(steps int) {
	for i := range steps {
		m.step()
		want := m.sums()
		got := m.balance(m.offer)
		if (books{got.Held, got.Redeemed, got.Refunded, got.Outstanding}) != want {
			m.Fatalf("step %d: the books are %+v, the model says %+v", i, got, want)
		}
		if i%100 == 99 {
			m.audit(m.offer)
		}
	}
}

func (m *model) sums() (sum books) {
	sum.outstanding = 50_000
	for _, r := range m.known {
		switch r.state {
		case models.StateHeld:
			sum.held += r.units
			sum.outstanding -= r.units
		case models.StateRedeemed:
			// The entries tell what was redeemed; what came back of it is counted as refunded.
			sum.redeemed += r.units
			sum.refunded += r.refunded
			sum.outstanding -= r.units - r.refunded
		}
	}
	return sum
}

// step asks for something at random, which the model grants or refuses as the ledger should.
func (m *model) step() {
	key := fmt.Sprint(m.rng.IntN(25), "-", len(m.known)/20) // ever new ones
	units := m.rng.Int64N(6)
	r := m.known[key]
	switch m.rng.IntN(7) {
	case 0, 1:
		if r == nil {
			m.begin(key, units+1)
		}
	case 2:
		m.end(key, models.KindConfirm, units, models.StateRedeemed)
	case 3:
		m.end(key, models.KindCancel, 0, models.StateCancelled)
	case 4:
		m.end(key, models.KindExpire, 0, models.StateExpired)
	default:
		m.refund(key, units)
	}
}

func (m *model) begin(key string, units int64) {
	from := []*lane{m.block, m.pool}[m.rng.IntN(2)]
	if from == m.pool && m.left(m.pool) < units {
		from = m.block
	}
	if m.rng.IntN(4) == 0 {
		from.booked(redeem(m.offer, key, "u", units))
		m.known[key] = &modelled{state: models.StateRedeemed, taken: units, units: units}
		return
	}
	from.booked(hold(m.offer, key, "u", units))
	m.known[key] = &modelled{hold: true, state: models.StateHeld, taken: units, units: units}
}

func (m *model) left(l *lane) int64 {
	states, err := m.LeaseStates(m.ctx, m.offer.ID, []models.ID{l.lease.ID})
	m.ok(err)
	return states[0].Outstanding()
}

func (m *model) end(key string, kind models.Kind, units int64, to models.RedemptionState) {
	v := m.pool.settle(end(m.offer, key, kind, units))[0]
	r, wanted := m.known[key], units
	if r != nil && wanted == 0 {
		wanted = r.taken
	}
	switch {
	case r == nil:
		m.fails(v.Err, models.ErrRedemptionNotFound)
	case !r.hold:
		m.fails(v.Err, models.ErrNotAHold)
	case r.state == models.StateHeld && wanted > r.taken:
		m.fails(v.Err, models.ErrConfirmExceeds)
	case r.state == models.StateHeld:
		m.ok(v.Err)
		equal(m.trial, "replayed", v.Replayed, false)
		r.state, r.units = to, wanted
	case r.state == to && r.units == wanted:
		m.ok(v.Err)
		equal(m.trial, "replayed", v.Replayed, true)
	default:
		m.fails(v.Err, models.ErrHoldResolved)
	}
}

func (m *model) refund(key string, units int64) {
	m.serial++
	v := m.pool.settle(refund(m.offer, key, fmt.Sprint(m.serial), units))[0]
	switch r := m.known[key]; {
	case r == nil:
		m.fails(v.Err, models.ErrRedemptionNotFound)
	case r.state != models.StateRedeemed:
		m.fails(v.Err, models.ErrNotConfirmed)
	case r.refunded == r.units || r.refunded+units > r.units:
		m.fails(v.Err, models.ErrRefundExceeds)
	default:
		m.ok(v.Err)
		if units == 0 {
			units = r.units - r.refunded
		}
		r.refunded += units
	}
}
