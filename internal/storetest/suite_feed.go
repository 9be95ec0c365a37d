package storetest

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"tranche/models"
)

var feedTests = []test{
	{"a follower gets each entry once and in order, whatever commits while positions are given", func(b *trial) {
		const lanes, batches, each = 4, 12, 20
		offers := []*models.Offer{b.offer(lanes * batches * each), b.offer(lanes * batches * each)}
		var working, placing sync.WaitGroup
		var done atomic.Bool
		for _, o := range offers {
			for i := range lanes {
				l, pool := b.lane(o, batches*each), b.pool(o)
				working.Go(func() { sellAndRefund(l, pool, fmt.Sprint(i), batches, each) })
			}
		}
		for range 2 {
			placing.Go(func() {
				for !done.Load() {
					if _, err := again(func() (int, error) { return b.PlaceEntries(b.ctx, 0) }); err != nil {
						b.Errorf("place: %v", err)
						return
					}
					time.Sleep(rand.N(5 * time.Millisecond))
				}
			})
		}
		all, one := &follower{trial: b}, &follower{trial: b, offerID: offers[1].ID}
		for _, f := range []*follower{all, one} {
			placing.Go(func() {
				for !done.Load() {
					f.read(1 + rand.IntN(70))
				}
			})
		}
		working.Wait()
		done.Store(true)
		placing.Wait()
		for _, o := range offers {
			b.audit(o)
		}
		all.catchUp()
		one.catchUp()
		equal(b, "entries of one offer in the feed of all", all.entries[offers[1].ID], one.entries[offers[1].ID])
		equal(b, "other offers in the feed of one", len(one.entries), 1)
		for _, o := range offers {
			equal(b, "entries in the feed", all.entries[o.ID], len(b.allEntries(o.ID)))
		}
	}},
	{"positions are given once within a time", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 10)
		l.booked(redeem(o, "first", "u", 1))
		b.place(0)
		l.booked(redeem(o, "second", "u", 1))
		b.place(time.Hour)
		f := &follower{trial: b, offerID: o.ID}
		f.catchUp()
		equal(b, "entries in the feed", f.entries[o.ID], 1)
		b.audit(o)
		f.catchUp()
		equal(b, "entries in the feed after another look", f.entries[o.ID], 2)
	}},
	{"a batch longer than one list is in the feed", func(b *trial) {
		o := b.offer(510)
		l := b.lane(o, 510)
		var wanted []models.Wanted
		for i := range 510 {
			wanted = append(wanted, redeem(o, fmt.Sprint(i), "u", 1))
		}
		l.booked(wanted...)
		b.audit(o)
	}},
	{"an offer that does not exist has no feed", func(b *trial) {
		f := &follower{trial: b, offerID: "none-" + b.tag}
		f.catchUp()
		equal(b, "entries", len(f.entries), 0)
	}},
}

// sellAndRefund redeems in batches and gives some of it back, each refund after what it refunds.
func sellAndRefund(l, pool *lane, name string, batches, each int) {
	for i := range batches {
		var wanted []models.Wanted
		for k := range each {
			key := fmt.Sprint(name, "-", i, "-", k)
			wanted = append(wanted, redeem(l.offer, key, "u", 1))
		}
		for _, to := range []*lane{l, pool} {
			if to == pool {
				wanted = []models.Wanted{refund(l.offer, wanted[0].IdempotencyKey, "back", 1)}
			}
			if _, err := again(func() ([]models.Verdict, error) { return to.Settle(l.ctx, to.next(wanted...)) }); err != nil {
				l.Errorf("settle: %v", err)
				return
			}
			to.batch++
		}
	}
}

// A follower reads the feed of one offer, or of all, and holds each page against what it has read before.
type follower struct {
	*trial
	offerID string
	after   int64
	entries map[string]int // by offer
	seen    map[models.ID]bool
	seqs    map[models.RedemptionID]int64 // of the latest entry
}

// read reads a page and reports whether there was any entry.
func (f *follower) read(limit int) bool {
	page, err := f.Feed(f.ctx, f.offerID, f.after, limit)
	if err != nil || len(page) > limit {
		f.Errorf("a page of %d of %d entries: %v", len(page), limit, err)
		return false
	}
	if f.entries == nil {
		f.entries, f.seen, f.seqs = map[string]int{}, map[models.ID]bool{}, map[models.RedemptionID]int64{}
	}
	for i := range page {
		e := &page[i]
		last, later := f.seqs[e.RedemptionID()]
		if e.Position <= f.after || f.seen[e.ID] || f.offerID != "" && f.offerID != e.OfferID || later && e.Seq <= last {
			f.Errorf("after %d, and seq %d of its redemption: %+v", f.after, last, e)
		}
		f.after, f.seen[e.ID], f.seqs[e.RedemptionID()] = e.Position, true, e.Seq
		f.entries[e.OfferID]++
	}
	return len(page) > 0
}

// catchUp reads all that has a position.
func (f *follower) catchUp() {
	for f.read(1000) {
	}
}

// place gives positions to all that has committed.
func (b *trial) place(within time.Duration) {
	b.Helper()
	_, err := again(func() (int, error) { return b.PlaceEntries(b.ctx, within) })
	b.ok(err)
}

// auditFeed wants the feed of an offer to have each of its entries once.
func (b *trial) auditFeed(o *models.Offer, entries []models.Entry) {
	b.Helper()
	b.place(0)
	f := &follower{trial: b, offerID: o.ID}
	f.catchUp()
	equal(b, "entries in the feed", f.entries[o.ID], len(entries))
	for i := range entries {
		equal(b, "in the feed: "+entries[i].ID.String(), f.seen[entries[i].ID], true)
	}
}
