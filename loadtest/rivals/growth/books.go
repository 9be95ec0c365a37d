package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"tranche/loadtest/rivals/bench/load"
)

// books are the database of one axis.
type books struct {
	*sql.DB
	growth *growth
	name   string
	dsn    string
}

func newBooks(ctx context.Context, g *growth, axis string) (*books, error) {
	b := &books{growth: g, name: "tranche_growth_" + axis}
	var err error
	if b.dsn, err = g.database.Recreate(ctx, b.name); err != nil {
		return nil, err
	}
	b.DB, err = sql.Open("mysql", b.dsn)
	return b, err
}

// drop gives the books up. What is left behind is dropped by the next run.
func (b *books) drop(ctx context.Context) {
	_ = b.Close()
	_ = b.growth.database.Drop(context.WithoutCancel(ctx), b.name)
}

// plenty is a budget that is never sold out.
const plenty = 1_000_000_000

// hot is the offer that everybody wants, where there is one.
const hot = "hot"

// create makes offers through a node that is stopped then. members are further ones of each offer's body: `"mode": "fast"`.
func (b *books) create(ctx context.Context, members string, ids ...string) error {
	f, err := startFleet(ctx, b, 1, "")
	if err != nil {
		return err
	}
	defer f.stop()
	return f.create(members, ids...)
}

// create makes offers, several at once.
func (f *fleet) create(members string, ids ...string) error {
	const atOnce = 8
	client := load.NewClient(f.addrs[0], atOnce, timeout)
	defer client.Close()
	wanted := make(chan string)
	errs := make([]error, atOnce)
	var all sync.WaitGroup
	for i := range atOnce {
		all.Go(func() {
			for id := range wanted {
				errs[i] = errors.Join(errs[i], createOne(client, id, members))
			}
		})
	}
	for _, id := range ids {
		wanted <- id
	}
	close(wanted)
	all.Wait()
	return errors.Join(errs...)
}

func createOne(client *load.Client, id, members string) error {
	a, err := client.Ask(http.MethodPost, "/v1/offers", "", fmt.Sprintf(`{"id": %q, "name": %q, "budget": %d, %s}`, id, strings.ToUpper(id), plenty, members))
	if err == nil && a.Status != http.StatusCreated {
		err = fmt.Errorf("the offer %s: %+v", id, a)
	}
	return err
}
