package storetest

import (
	"slices"
	"strings"
	"sync"
	"time"

	"tranche/models"
)

var recallTests = []test{
	{"a lease has its offer's number, a recall raises it and nothing else", func(b *trial) {
		o := b.offer(100)
		old := b.lane(o, 30)
		equal(b, "number of a lease", old.lease.Recall, 0)
		before, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		raised, err := b.Recall(b.ctx, o.ID, 0)
		b.ok(err)
		equal(b, "number", raised.Recall, 1)
		equal(b, "version", raised.Version, before.Version)
		equal(b, "books", [2]int64{raised.Budget, raised.Allocated}, [2]int64{100, 30})
		equal(b, "newer", raised.NewerThan(&before), true)
		equal(b, "newer than itself", raised.NewerThan(&raised), false)
		fresh := b.lane(o, 20)
		equal(b, "number of the next lease", fresh.lease.Recall, 1)
		balance := b.balance(o)
		equal(b, "outstanding, recalled, number", [3]int64{balance.Outstanding, balance.Recalled, balance.Recall}, [3]int64{50, 30, 1})
		equal(b, "last change", balance.ChangedAt, raised.UpdatedAt)
		old.close()
		equal(b, "recalled after the return", b.audit(o).Recalled, 0)
		_, err = b.Recall(b.ctx, "none-"+b.tag, 0)
		b.fails(err, models.ErrOfferNotFound)
	}},
	{"hundreds who saw one number raise it once", func(b *trial) {
		o := b.offer(10)
		var wait sync.WaitGroup
		for range 300 {
			wait.Go(func() {
				raised, err := again(func() (models.Offer, error) { return b.Recall(b.ctx, o.ID, 0) })
				if err != nil || raised.Recall != 1 {
					b.Errorf("number %d, %v", raised.Recall, err)
				}
			})
		}
		wait.Wait()
		late, err := b.Recall(b.ctx, o.ID, 0)
		b.ok(err)
		equal(b, "number", late.Recall, 1)
	}},
	{"a sync brings a recall", func(b *trial) {
		o := b.offer(10)
		number := func() (n int64) {
			n = -1
			snapshot, err := b.SyncOffers(b.ctx, 50*time.Millisecond)
			b.ok(err)
			for _, s := range snapshot.Offers {
				if s.ID == o.ID {
					n = s.Recall
				}
			}
			return n
		}
		for deadline := time.Now().Add(5 * time.Second); number() >= 0; {
			if time.Now().After(deadline) {
				b.Fatal("an old change is still brought")
			}
		}
		_, err := b.Recall(b.ctx, o.ID, 0)
		b.ok(err)
		from, deadline := int64(1), time.Now().Add(5*time.Second)
		for number() < 1 { // on a busy machine the recall is older than the window already: there is a newer one
			if time.Now().After(deadline) {
				b.Fatal("the recall is missing")
			}
			_, err := b.Recall(b.ctx, o.ID, from)
			b.ok(err)
			from++
		}
	}},
	{"whatever gives or lengthens a lease tells of a recall", func(b *trial) {
		o := b.offer(10)
		l := b.lane(o, 5)
		_, err := b.Recall(b.ctx, o.ID, 0)
		b.ok(err)
		renewed, offer, err := b.Store.Renew(b.ctx, b.node, b.epoch, o.ID, []models.ID{l.lease.ID})
		b.ok(err)
		equal(b, "renewed", len(renewed), 1)
		equal(b, "number with a renewal", offer.Recall, 1)
		pool, offer, err := b.Store.OpenPool(b.ctx, b.poolTerms(o))
		b.ok(err)
		equal(b, "number with and of a pool", [2]int64{offer.Recall, pool.Recall}, [2]int64{1, 1})
		grant, err := b.Grant(b.ctx, b.request(o.ID, 1))
		b.ok(err)
		equal(b, "number with and of a grant", [2]int64{grant.Offer.Recall, grant.Lease.Recall}, [2]int64{1, 1})
		_, _, err = b.Store.Renew(b.ctx, b.node, b.epoch, "none-"+b.tag, nil)
		b.fails(err, models.ErrOfferNotFound)
	}},
	{"a pool has the offer's mode, whatever its opener knows", func(b *trial) {
		o := b.offer(10, func(o *models.Offer) { o.Mode = models.ModeFast })
		_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error {
			o.Mode = models.ModeStrict
			return nil
		})
		b.ok(err)
		pool, offer, err := b.Store.OpenPool(b.ctx, b.poolTerms(o))
		b.ok(err)
		equal(b, "mode", pool.Mode, models.ModeStrict)
		equal(b, "version", offer.Version, 2)
	}},
	{"new terms recall leases, a new name does not", func(b *trial) {
		o, number := b.offer(10), int64(0)
		change := func(what string, recalls bool, change func(*models.Offer)) {
			b.Helper()
			changed, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { change(o); return nil })
			b.ok(err)
			if recalls {
				number++
			}
			equal(b, "number after "+what, changed.Recall, number)
			read, err := b.Offer(b.ctx, o.ID)
			b.ok(err)
			equal(b, "stored number after "+what, read.Recall, number)
		}
		change("a name", false, func(o *models.Offer) { o.Name = "other" })
		change("nothing", false, func(*models.Offer) {})
		change("a budget", true, func(o *models.Offer) { o.BudgetTarget = 20 })
		change("a mode", true, func(o *models.Offer) { o.Mode = models.ModeAvailable })
		change("a lease size", true, func(o *models.Offer) { o.LeaseSize = 7 })
		change("a ttl", true, func(o *models.Offer) { o.LeaseTTLSeconds = 9 })
		change("a window", true, func(o *models.Offer) { o.EndsAt = pointer(models.Micros(4_000_000_000_000_000)) })
		change("a limit", true, func(o *models.Offer) { o.UserLimitUnits = pointer(int64(3)) })
		change("a refund policy", true, func(o *models.Offer) { o.RefundRestoresBudget = false })
		change("a pause", true, func(o *models.Offer) { o.Status = models.StatusPaused })
		change("the same pause", false, func(o *models.Offer) { o.Status = models.StatusPaused })
		before, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		change("a recall", true, func(o *models.Offer) { o.Recall++ })
		after, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		equal(b, "version after a recall", after.Version, before.Version)
	}},
	{"a sync of all leaves out what is over", func(b *trial) {
		long, past, future := models.Micros(1), models.Micros(2), models.Micros(4_000_000_000_000_000)
		want := map[string]bool{}
		for _, c := range []struct {
			over   bool
			change func(*models.Offer)
		}{
			{false, func(*models.Offer) {}},
			{false, func(o *models.Offer) { o.StartsAt = &future }},
			{false, func(o *models.Offer) { o.Status, o.EndsAt = models.StatusPaused, &future }},
			{true, func(o *models.Offer) { o.Status = models.StatusEnded }},
			{true, func(o *models.Offer) { o.StartsAt, o.EndsAt = &long, &past }},
		} {
			want[b.offer(1, c.change).ID] = !c.over
		}
		snapshot, err := b.SyncOffers(b.ctx, 0)
		b.ok(err)
		for id, wanted := range want {
			found := slices.ContainsFunc(snapshot.Offers, func(o models.Offer) bool { return o.ID == id })
			equal(b, "listed "+id, found, wanted)
		}
	}},
}

var auditTests = []test{
	{"what admins do is recorded with who, where, when, why, and the terms before and after", func(b *trial) {
		terms, reason := b.terms("audited", 10), `too "many" 🎉`
		terms.StartsAt = pointer(models.Micros(1_700_000_000_123_456))
		_, _, err := b.Store.CreateOffer(b.ctx, terms, models.Audit{Actor: models.ActorLocal, Action: models.ActionCreate, NodeID: b.node, RequestID: "r-1"})
		b.ok(err)
		_, isNew, err := b.CreateOffer(b.ctx, terms) // an identical repeat does nothing
		b.ok(err)
		equal(b, "new", isNew, false)
		changed, err := b.Store.ChangeOffer(b.ctx, terms.ID, nil, func(o *models.Offer) error { o.BudgetTarget = 25; return nil },
			models.Audit{Actor: models.ActorAdmin, Action: models.ActionChange, NodeID: b.node, RequestID: "r-2", Reason: &reason})
		b.ok(err)
		_, err = b.ChangeOffer(b.ctx, terms.ID, nil, func(*models.Offer) error { return nil }) // nor does this
		b.ok(err)
		_, err = b.ChangeOffer(b.ctx, terms.ID, nil, func(*models.Offer) error { return models.ErrOfferNotActive })
		b.fails(err, models.ErrOfferNotActive)
		_, err = b.Recall(b.ctx, terms.ID, changed.Recall) // by a node
		b.ok(err)
		list, err := b.Audits(b.ctx, terms.ID, 10, models.ID{})
		b.ok(err)
		equal(b, "audits", len(list), 2)
		change, create := list[0], list[1]
		equal(b, "create", [3]string{string(create.Actor), string(create.Action), create.RequestID}, [3]string{"local", "create", "r-1"})
		equal(b, "change", [3]string{string(change.Actor), string(change.Action), change.RequestID}, [3]string{"admin", "change", "r-2"})
		equal(b, "offer", change.OfferID, terms.ID)
		equal(b, "node", change.NodeID, b.node)
		equal(b, "reason", *change.Reason, reason)
		equal(b, "reason of the create", create.Reason, nil)
		equal(b, "terms before the create", create.TermsBefore, nil)
		equal(b, "terms between", *change.TermsBefore, create.TermsAfter)
		equal(b, "at", change.At, changed.UpdatedAt)
		for text, wanted := range map[string]string{
			create.TermsAfter: `"budget":10,"mode":"strict"`, change.TermsAfter: `"budget":25,"mode":"strict"`,
			*change.TermsBefore: `"starts_at":"2023-11-14T22:13:20.123456Z"`,
		} {
			if !strings.Contains(text, wanted) {
				b.Fatalf("%s does not hold %s", text, wanted)
			}
		}
	}},
	{"audits are paged newest first, of one offer or of all", func(b *trial) {
		one, other := b.offer(10), b.offer(10)
		for i := range 5 {
			for _, o := range []*models.Offer{one, other} {
				_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.BudgetTarget = 20 + int64(i); return nil })
				b.ok(err)
			}
		}
		for offer, want := range map[string]int{one.ID: 6, other.ID: 6, "": 12, "none": 0} {
			seen, mark := 0, models.ID{}
			for {
				page, err := b.Audits(b.ctx, offer, 4, mark)
				b.ok(err)
				for _, a := range page {
					if !before(a.ID, mark) || offer != "" && a.OfferID != offer {
						b.Fatalf("%s of %q is listed after %s", a.ID, a.OfferID, mark)
					}
					mark = a.ID
					if a.OfferID == one.ID || a.OfferID == other.ID {
						seen++
					}
				}
				if len(page) < 4 {
					break
				}
			}
			equal(b, "audits of "+offer, seen, want)
		}
	}},
}
