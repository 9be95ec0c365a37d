package storetest

import (
	"errors"
	"slices"
	"time"

	"tranche/internal/version"
	"tranche/models"
)

var nodeTests = []test{
	{"a node's epochs rise, and an older one is superseded", func(b *trial) {
		equal(b, "first epoch", b.epoch, 1)
		b.ok(b.Heartbeat(b.ctx, b.node, "n", 1))
		second, err := b.RegisterNode(b.ctx, b.node, "renamed")
		b.ok(err)
		equal(b, "second epoch", second, 2)
		b.fails(b.Heartbeat(b.ctx, b.node, "n", 1), models.ErrEpochSuperseded)
		b.ok(b.Heartbeat(b.ctx, b.node, "n", 2))
	}},
	{"heartbeats in quick succession are all well", func(b *trial) {
		for range 20 {
			b.ok(b.Heartbeat(b.ctx, b.node, "n", b.epoch))
		}
	}},
	{"nodes are listed newest first with what they hold", func(b *trial) {
		o := b.offer(100)
		b.lane(o, 30)
		b.lane(o, 12).close()
		nodes, err := b.Nodes(b.ctx, 1000, models.ID{})
		b.ok(err)
		i := slices.IndexFunc(nodes, func(n models.NodeActivity) bool { return n.ID == b.node })
		if i < 0 {
			b.Fatal("the node is not listed")
		}
		equal(b, "name", nodes[i].Name, "node-"+b.tag)
		equal(b, "version", nodes[i].Version, version.Version)
		equal(b, "active leases", nodes[i].LeasesActive, 1)
		equal(b, "outstanding", nodes[i].Outstanding, 30)
		if nodes[i].SeenAt < nodes[i].StartedAt || nodes[i].StartedAt == 0 {
			b.Fatalf("started at %d, seen at %d", nodes[i].StartedAt, nodes[i].SeenAt)
		}
		rest, err := b.Nodes(b.ctx, 1, b.node)
		b.ok(err)
		if len(rest) > 1 || len(rest) == 1 && !before(rest[0].ID, b.node) {
			b.Fatalf("the page before %s has %v", b.node, rest)
		}
	}},
	{"B8: nodes that serve are active, whatever they hold, until they sign off", func(b *trial) {
		o := b.offer(100)
		active := func() (node bool, all int64) {
			b.Helper()
			snapshot, nodes := b.ledgerNow(), int64(0)
			list, err := b.Nodes(b.ctx, 1000, models.ID{})
			b.ok(err)
			for i := range list {
				if list[i].ActiveAt(snapshot) {
					nodes++
					node = node || list[i].ID == b.node
				}
			}
			if n := b.balance(o).NodesActive; n > nodes || n < 1 { // older ones may be forgotten meanwhile
				b.Errorf("%d active nodes by the balance, %d in the list", n, nodes)
			}
			return node, nodes
		}
		is, before := active()
		equal(b, "active", is, true)
		b.ok(b.SignOff(b.ctx, b.node, b.epoch-1))
		is, _ = active()
		equal(b, "active after an older epoch has signed off", is, true)
		b.ok(b.SignOff(b.ctx, b.node, b.epoch))
		other := models.NewID()
		_, err := b.RegisterNode(b.ctx, other, "other")
		b.ok(err)
		is, after := active()
		equal(b, "active after it has signed off", is, false)
		if after > before {
			b.Errorf("%d active nodes, %d before one signed off and one came", after, before)
		}
		var epoch int64
		until := func(what string, seen func() error) { // a clock in milliseconds moves seldom
			b.Helper()
			for deadline := time.Now().Add(5 * time.Second); ; {
				b.ok(seen())
				if is, _ := active(); is {
					return
				}
				if time.Now().After(deadline) {
					b.Fatalf("not active when it %s again", what)
				}
			}
		}
		until("has started", func() (err error) { epoch, err = b.RegisterNode(b.ctx, b.node, "again"); return err })
		b.ok(b.SignOff(b.ctx, b.node, epoch))
		until("is seen", func() error { return b.Heartbeat(b.ctx, b.node, "n", epoch) })
	}},
	{"the database answers a ping", func(b *trial) {
		b.ok(b.Ping(b.ctx))
		equal(b, "available", b.Available(), true)
	}},
}

var offerTests = []test{
	{"a created offer reads back as it was meant", func(b *trial) {
		terms := b.terms("full", 1000)
		terms.Name = `Ünïcode "quotes" 'and' \backslashes\ 🎉 %_`
		terms.Unit = "EUR"
		terms.UserLimitRedemptions, terms.UserLimitUnits = pointer(int64(2)), pointer(int64(50))
		terms.StartsAt, terms.EndsAt = pointer(models.Micros(1)), pointer(models.Micros(4_000_000_000_000_000))
		terms.LeaseSize, terms.LeaseTTLSeconds, terms.Adaptive = 7, 5, true
		terms.RefundRestoresBudget = false
		created, isNew, err := b.CreateOffer(b.ctx, terms)
		b.ok(err)
		equal(b, "new", isNew, true)
		read, err := b.Offer(b.ctx, terms.ID)
		b.ok(err)
		for _, o := range []models.Offer{created, read} {
			equal(b, "name", o.Name, terms.Name)
			equal(b, "unit", o.Unit, "EUR")
			equal(b, "limits", [2]int64{*o.UserLimitRedemptions, *o.UserLimitUnits}, [2]int64{2, 50})
			equal(b, "window", [2]models.Micros{*o.StartsAt, *o.EndsAt}, [2]models.Micros{1, 4_000_000_000_000_000})
			equal(b, "lease policy", [2]int64{o.LeaseSize, o.LeaseTTLSeconds}, [2]int64{7, 5})
			equal(b, "adaptive", o.Adaptive, true)
			equal(b, "refund policy", [2]bool{o.RefundRestoresBudget, o.RefundRestoresUserLimit}, [2]bool{false, true})
			equal(b, "books", [3]int64{o.Budget, o.BudgetTarget, o.Allocated}, [3]int64{1000, 1000, 0})
			equal(b, "version", o.Version, 1)
			equal(b, "status", o.Status, models.StatusActive)
			equal(b, "created and updated", o.CreatedAt, o.UpdatedAt)
		}
		if off := models.MicrosOf(time.Now()).Sub(created.CreatedAt).Abs(); off > time.Minute {
			b.Fatalf("created at %s", created.CreatedAt.Time())
		}
	}},
	{"creating an offer again finds it, creating another under its id fails", func(b *trial) {
		terms := b.terms("twice", 10)
		_, isNew, err := b.CreateOffer(b.ctx, terms)
		b.ok(err)
		equal(b, "new", isNew, true)
		again, isNew, err := b.CreateOffer(b.ctx, terms)
		b.ok(err)
		equal(b, "new again", isNew, false)
		equal(b, "version", again.Version, 1)
		for _, change := range []func(*models.Offer){
			func(o *models.Offer) { o.Budget = 11 },
			func(o *models.Offer) { o.Name = "an offer" },
			func(o *models.Offer) { o.UserLimitUnits = pointer(int64(1)) },
			func(o *models.Offer) { o.RefundRestoresBudget = false },
			func(o *models.Offer) { o.EndsAt = pointer(models.Micros(9)) },
		} {
			other := terms
			change(&other)
			_, _, err := b.CreateOffer(b.ctx, other)
			b.fails(err, models.ErrOfferExists)
		}
	}},
	{"an offer that isn't there is not found", func(b *trial) {
		_, err := b.Offer(b.ctx, "none-"+b.tag)
		b.fails(err, models.ErrOfferNotFound)
		_, err = b.Balance(b.ctx, "none-"+b.tag)
		b.fails(err, models.ErrOfferNotFound)
		_, err = b.Usage(b.ctx, "none-"+b.tag, "u")
		b.fails(err, models.ErrOfferNotFound)
		_, err = b.Grant(b.ctx, b.request("none-"+b.tag, 1))
		b.fails(err, models.ErrOfferNotFound)
		_, err = b.OpenPool(b.ctx, b.poolTerms(&models.Offer{ID: "none-" + b.tag}))
		b.fails(err, models.ErrOfferNotFound)
		_, err = b.ChangeOffer(b.ctx, "none-"+b.tag, nil, func(*models.Offer) error { return nil })
		b.fails(err, models.ErrOfferNotFound)
	}},
	{"offers A and a are two", func(b *trial) {
		upper, lower := b.terms("A", 5), b.terms("a", 7)
		for _, o := range []models.Offer{upper, lower} {
			_, isNew, err := b.CreateOffer(b.ctx, o)
			b.ok(err)
			equal(b, "new", isNew, true)
		}
		o, err := b.Offer(b.ctx, upper.ID)
		b.ok(err)
		equal(b, "budget of A", o.Budget, 5)
		l := b.lane(&upper, 5)
		l.booked(redeem(&upper, "k", "u", 5))
		equal(b, "redeemed of a", b.balance(&lower).Redeemed, 0)
	}},
	{"offers are listed by status at the database's clock", func(b *trial) {
		long, past, future := models.Micros(1), models.Micros(2), models.Micros(4_000_000_000_000_000)
		b.offer(1, func(o *models.Offer) { o.Name = "active" })
		b.offer(1, func(o *models.Offer) { o.Name, o.StartsAt, o.EndsAt = "active", &past, &future })
		b.offer(1, func(o *models.Offer) { o.Name, o.StartsAt = "scheduled", &future })
		b.offer(1, func(o *models.Offer) { o.Name, o.StartsAt, o.EndsAt = "ended", &long, &past })
		b.offer(1, func(o *models.Offer) { o.Name, o.Status = "ended", models.StatusEnded })
		b.offer(1, func(o *models.Offer) { o.Name, o.Status = "paused", models.StatusPaused })
		b.offer(1, func(o *models.Offer) { o.Name, o.Status, o.EndsAt = "ended", models.StatusPaused, &past })
		for status, n := range map[models.Status]int{"active": 2, "scheduled": 1, "ended": 3, "paused": 1, "": 7} {
			list, now, err := b.Offers(b.ctx, models.OfferFilter{Status: status, Query: b.tag, Limit: 100})
			b.ok(err)
			equal(b, "offers "+string(status), len(list), n)
			for _, o := range list {
				if status != "" && (o.Name != string(status) || o.StatusAt(now) != status) {
					b.Fatalf("%s is listed as %s", o.Name, status)
				}
			}
		}
	}},
	{"offers are found by a part of their id or name in any case", func(b *trial) {
		b.offer(1, func(o *models.Offer) { o.ID, o.Name = "SPRING-"+b.tag, "Frühling 100% "+b.tag })
		b.offer(1, func(o *models.Offer) { o.ID, o.Name = "autumn-"+b.tag, "Herbst_ "+b.tag })
		for query, n := range map[string]int{
			"spring-" + b.tag: 1, "AUTUMN-" + b.tag: 1, "frühling 100% " + b.tag: 1, "fruhling 100% " + b.tag: 0,
			"00% " + b.tag: 1, "t_ " + b.tag: 1, "_% " + b.tag: 0, b.tag: 2,
		} {
			list, _, err := b.Offers(b.ctx, models.OfferFilter{Query: query, Limit: 10})
			b.ok(err)
			equal(b, "offers with "+query, len(list), n)
		}
	}},
	{"offers are paged newest first", func(b *trial) {
		made := map[string]bool{}
		for range 7 {
			made[b.offer(1).ID] = true
		}
		filter := models.OfferFilter{Query: b.tag, Limit: 3}
		seen := 0
		for {
			list, _, err := b.Offers(b.ctx, filter)
			b.ok(err)
			for _, o := range list {
				if !made[o.ID] {
					b.Fatalf("%q is listed twice or is not ours", o.ID)
				}
				delete(made, o.ID)
				if filter.BeforeID != "" && o.CreatedAt > filter.BeforeCreated {
					b.Fatal("an offer is listed after an older one")
				}
				filter.BeforeCreated, filter.BeforeID = o.CreatedAt, o.ID
				seen++
			}
			if len(list) < filter.Limit {
				break
			}
		}
		equal(b, "offers listed", seen, 7)
	}},
	{"a sync brings what was changed lately, and all when asked for all", func(b *trial) {
		o := b.offer(10)
		find := func(window time.Duration) *models.Offer {
			snapshot, err := b.SyncOffers(b.ctx, window)
			b.ok(err)
			if snapshot.Now < o.CreatedAt {
				b.Fatalf("the clock went back: %d after %d", snapshot.Now, o.CreatedAt)
			}
			i := slices.IndexFunc(snapshot.Offers, func(s models.Offer) bool { return s.ID == o.ID })
			if i < 0 {
				return nil
			}
			return &snapshot.Offers[i]
		}
		if find(time.Minute) == nil || find(0) == nil {
			b.Fatal("a new offer is missing")
		}
		for deadline := time.Now().Add(5 * time.Second); find(time.Millisecond) != nil; {
			if time.Now().After(deadline) {
				b.Fatal("an old change is still brought")
			}
		}
		if find(0) == nil {
			b.Fatal("an offer is missing in a sync of all")
		}
		_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.Status = models.StatusPaused; return nil })
		b.ok(err)
		if changed := find(time.Minute); changed == nil || changed.Version != 2 || changed.Status != models.StatusPaused {
			b.Fatalf("the change is missing: %+v", changed)
		}
	}},
}

var changeTests = []test{
	{"a change raises the version, and no change does not", func(b *trial) {
		o := b.offer(10)
		changed, err := b.ChangeOffer(b.ctx, o.ID, pointer(int64(1)), func(o *models.Offer) error {
			o.Name, o.LeaseSize, o.Adaptive, o.StartsAt = "renamed", 3, true, pointer(models.Micros(5))
			o.RefundRestoresUserLimit = false
			o.ID, o.Unit, o.Allocated, o.Version = "x", "x", 9, 9 // not an admin's to set
			return nil
		})
		b.ok(err)
		read, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		for _, o := range []models.Offer{changed, read} {
			equal(b, "name", o.Name, "renamed")
			equal(b, "lease size", o.LeaseSize, 3)
			equal(b, "adaptive", o.Adaptive, true)
			equal(b, "starts", *o.StartsAt, 5)
			equal(b, "refund policy", o.RefundRestoresUserLimit, false)
			equal(b, "unit", o.Unit, models.UnitRedemptions)
			equal(b, "allocated", o.Allocated, 0)
			equal(b, "version", o.Version, 2)
		}
		same, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.Name = "renamed"; return nil })
		b.ok(err)
		equal(b, "version", same.Version, 2)
		equal(b, "updated", same.UpdatedAt, read.UpdatedAt)
		cleared, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.StartsAt = nil; o.Adaptive = false; return nil })
		b.ok(err)
		equal(b, "start cleared", cleared.StartsAt, nil)
		read, err = b.Offer(b.ctx, o.ID)
		b.ok(err)
		equal(b, "start cleared in the table", read.StartsAt, nil)
		equal(b, "adaptive cleared in the table", read.Adaptive, false)
	}},
	{"a change from an old version is stale", func(b *trial) {
		o := b.offer(10)
		rename := func(to string) func(*models.Offer) error {
			return func(o *models.Offer) error { o.Name = to; return nil }
		}
		_, err := b.ChangeOffer(b.ctx, o.ID, pointer(int64(1)), rename("first"))
		b.ok(err)
		_, err = b.ChangeOffer(b.ctx, o.ID, pointer(int64(1)), rename("second"))
		b.fails(err, models.ErrStaleVersion)
	}},
	{"a change's own error ends it", func(b *trial) {
		o, own := b.offer(10), errors.New("no")
		_, err := b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.Name = "x"; return own })
		b.fails(err, own)
		read, err := b.Offer(b.ctx, o.ID)
		b.ok(err)
		equal(b, "version", read.Version, 1)
	}},
	{"a lowered budget follows what comes back, and stays above what is spent", func(b *trial) {
		o := b.offer(100)
		first, second := b.lane(o, 40), b.lane(o, 30)
		first.booked(redeem(o, "k", "u", 10))
		lower := func(to int64) (models.Offer, error) {
			return b.ChangeOffer(b.ctx, o.ID, nil, func(o *models.Offer) error { o.BudgetTarget = to; return nil })
		}
		_, err := lower(9)
		b.fails(err, models.ErrBudgetBelowSpent)
		var below *models.BudgetBelowSpentError
		if !errors.As(err, &below) || below.Minimum != 10 {
			b.Fatalf("minimum: %v", err)
		}
		changed, err := lower(20)
		b.ok(err)
		equal(b, "budget and target", [2]int64{changed.Budget, changed.BudgetTarget}, [2]int64{70, 20})
		g, err := b.Grant(b.ctx, b.request(o.ID, 1))
		b.ok(err)
		equal(b, "units granted while lowered", granted(g), 0)
		first.close()
		equal(b, "budget after a return", b.balance(o).Budget, 40)
		second.close()
		equal(b, "budget after all returned", b.balance(o).Budget, 20)
		raised, err := lower(50)
		b.ok(err)
		equal(b, "budget raised", raised.Budget, 50)
		b.lane(o, 40).close()
		equal(b, "budget stays", b.audit(o).Budget, 50)
	}},
}
