package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/growth/fill"
)

// hotOffers is how many of many offers are asked for.
const hotOffers = 100

func offerID(i int64) string { return fmt.Sprintf("offer-%d", i) }

func moreOffers(ctx context.Context, b *books, before, size int64) error {
	var ids []string
	for i := before; i < size; i++ {
		ids = append(ids, offerID(i))
	}
	if err := b.create(ctx, `"mode": "fast"`, ids...); err != nil {
		return err
	}
	// As if that had been an hour ago, so that no sync takes them for news.
	_, err := b.ExecContext(ctx, "UPDATE offers SET created_at = created_at - 3600000000, updated_at = created_at")
	return err
}

// filling is after how many more redemptions a node is looked at again, and fillingRate how many a second: it remembers the latest 16 384 then,
// and nearly as many keys as it ever does. fullFor is how long it is looked at: a node reads all offers every 30 s.
const (
	filling     = 200_000
	fillingRate = 4000
	fullFor     = 31 * time.Second
)

func redeemManyOffers(ctx context.Context, g *growth, f *fleet, size int64) ([]report.Step, error) {
	d := demand{mode: "fast", offers: hottest(size), times: 1}
	s, err := g.atRate(ctx, f, d)
	if err != nil {
		return nil, err
	}
	more := g.requests(f, d)
	usual := more.PerSecond
	more.PerSecond, more.Duration = fillingRate, filling/fillingRate*time.Second
	if err := f.acknowledge(ctx, more); err != nil {
		return nil, err
	}
	// What waited to be settled meanwhile is another matter. But what the runtime has not given back yet counts.
	if err := meter.ForgetPeakMemory(f.process.PID()); err != nil {
		return nil, err
	}
	more.PerSecond, more.Duration, more.Run = usual, fullFor, g.fresh()
	if err := f.acknowledge(ctx, more); err != nil {
		return nil, err
	}
	s.Memory, err = meter.PeakMemory(f.process.PID())
	return []report.Step{s}, err
}

// acknowledge makes requests until all are acknowledged and settled.
func (f *fleet) acknowledge(ctx context.Context, requests load.Open) error {
	got := requests.Start(ctx)
	if ctx.Err() == nil && !got.Held() {
		return fmt.Errorf("only %d of %d redemptions were acknowledged, at %d a second", len(got.Sorted), got.Due, requests.PerSecond)
	}
	_, err := f.settled(ctx)
	return err
}

// hottest are those of so many offers that are asked for.
func hottest(size int64) (ids []string) {
	n := min(size, hotOffers)
	for i := range n {
		ids = append(ids, offerID(i*size/n))
	}
	return ids
}

// limit is one that nobody reaches, and that is looked at all the same.
const limit = `"mode": "strict", "user_limit_redemptions": 1000000`

func moreUsers(ctx context.Context, b *books, before, size int64) error {
	if before == 0 {
		if err := b.create(ctx, limit, hot); err != nil {
			return err
		}
	}
	return fill.Users(ctx, b.DB, hot, before, size)
}

func redeemAsManyUsers(ctx context.Context, g *growth, f *fleet, size int64) ([]report.Step, error) {
	return only(g.atRate(ctx, f, demand{
		mode: "strict", offers: []string{hot}, user: func(int) string { return fill.User(rand.Int64N(size)) }, times: 1,
	}))
}

// ledger is what the ledger is filled with: years ago, so that what is redeemed now is newer.
var ledger = fill.Ledger{Offer: hot, Since: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)} // read only

func moreEntries(ctx context.Context, b *books, before, size int64) error {
	if before == 0 {
		if err := b.create(ctx, `"mode": "strict"`, hot); err != nil {
			return err
		}
	}
	return ledger.Grow(ctx, b.DB, before, size)
}

func oneOffer(ctx context.Context, b *books, before, _ int64) error {
	if before > 0 {
		return nil
	}
	return b.create(ctx, `"mode": "fast"`, hot)
}

func redeemOnAllNodes(ctx context.Context, g *growth, f *fleet, _ int64) ([]report.Step, error) {
	// A node goes for a new block every few seconds, so a few of those times have to pass.
	return only(g.atRate(ctx, f, demand{mode: "fast", offers: []string{hot}, times: 3}))
}

func redeemByLeaseSize(ctx context.Context, g *growth, f *fleet, size int64) (steps []report.Step, err error) {
	for _, mode := range []string{"fast", "strict"} {
		offer := fmt.Sprintf("%s-%d", mode, size)
		if err := f.create(fmt.Sprintf(`"mode": %q, "lease_size": %d`, mode, size), offer); err != nil {
			return nil, err
		}
		s, err := g.asMuch(ctx, f, mode, offer)
		if err != nil {
			return nil, err
		}
		steps = append(steps, s)
	}
	return steps, nil
}

func only(s report.Step, err error) ([]report.Step, error) { return []report.Step{s}, err }
