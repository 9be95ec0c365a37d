package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/report"
	"tranche/loadtest/rivals/bench/stats"
	"tranche/loadtest/rivals/contract"
)

func redeemAndRead(ctx context.Context, g *growth, f *fleet, size int64) ([]report.Step, error) {
	s, err := g.atRate(ctx, f, demand{mode: "strict", offers: []string{hot}, times: 1})
	if err != nil {
		return nil, err
	}
	client := load.NewClient(f.addrs[0], 1, timeout)
	defer client.Close()
	for n, path := range readers(size) {
		took, err := median(ctx, func() error { return get(client, path(rand.Int64N(size))) })
		if err != nil {
			return nil, err
		}
		s.Reads = append(s.Reads, report.Read{Name: report.ReadNames[n], Milliseconds: milliseconds(took)})
	}
	return []report.Step{s}, f.checkBooks(ctx, client)
}

// checkBooks fails if the balance, which sums leases up, is not what the entries come to: then what the ledger was filled with is not what the
// service would have written.
func (f *fleet) checkBooks(ctx context.Context, client *load.Client) error {
	a, err := client.Ask(http.MethodGet, "/v1/offers/"+hot+"/balance", "", "")
	if err != nil {
		return err
	}
	var entries int64
	if err := f.books.QueryRowContext(ctx, "SELECT COALESCE(SUM(units), 0) FROM entries WHERE offer_id = ?", hot).Scan(&entries); err != nil {
		return err
	}
	if a.Redeemed != entries {
		return fmt.Errorf("the balance says %d redeemed, the entries %d", a.Redeemed, entries)
	}
	return nil
}

// readers are the paths that are read for redemption i of so many, in the order of report.ReadNames.
func readers(size int64) []func(i int64) string {
	return []func(i int64) string{
		func(i int64) string {
			return "/v1/redemptions/" + contract.RedemptionID(hot, contract.HashOf(hot, ledger.Key(i)))
		},
		func(i int64) string { return "/v1/redemptions?offer_id=" + hot + "&order_id=" + ledger.Order(i) },
		func(i int64) string { return "/v1/redemptions?offer_id=" + hot + "&user_id=" + ledger.User(i, size) },
		func(int64) string { return "/v1/offers/" + hot + "/ledger?limit=50" },
		func(i int64) string {
			return "/v1/offers/" + hot + "/ledger?limit=50&cursor=" + cursor(ledger.Entry(i))
		},
		func(int64) string { return "/v1/offers/" + hot + "/balance" },
	}
}

// cursor is what a client who went through the ledger page by page would have got on the page that ends with this entry.
func cursor(entry [16]byte) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{'e'}, entry[:]...))
}

// median is how long something takes that is done again and again.
func median(ctx context.Context, do func() error) (time.Duration, error) {
	const times = 200
	var took []time.Duration
	for range times {
		began := time.Now()
		if err := do(); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	return stats.Percentile(took, 50), ctx.Err()
}

func get(client *load.Client, path string) error {
	a, err := client.Ask(http.MethodGet, path, "", "")
	if err == nil && a.Status != http.StatusOK {
		err = fmt.Errorf("%s: %+v", path, a)
	}
	return err
}
