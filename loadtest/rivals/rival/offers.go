package rival

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"sync"

	"tranche/loadtest/rivals/contract"
)

// offers are the offers in the database, remembered once read: they don't change.
type offers struct {
	db    *sql.DB
	known sync.Map // id → contract.Offer
}

// offer gives an offer or ErrOfferNotFound.
func (f *offers) offer(ctx context.Context, id string) (contract.Offer, error) {
	if known, ok := f.known.Load(id); ok {
		return known.(contract.Offer), nil
	}
	o := contract.Offer{ID: id}
	err := f.db.QueryRowContext(ctx, "SELECT name, budget, user_limit FROM offers WHERE id = ?", id).Scan(&o.Name, &o.Budget, &o.UserLimit)
	if errors.Is(err, sql.ErrNoRows) {
		return o, contract.ErrOfferNotFound
	}
	if err != nil {
		return o, errors.Join(contract.ErrNotDone, err)
	}
	f.known.Store(id, o)
	return o, nil
}

// create writes an offer, and what else belongs to it, in one transaction.
func (f *offers) create(ctx context.Context, o contract.Offer, also func(tx *sql.Tx) error) (isNew bool, err error) {
	err = transact(ctx, f.db, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO offers (id, name, budget, user_limit) VALUES (?, ?, ?, ?)", o.ID, o.Name, o.Budget, o.UserLimit)
		if hasNumber(err, numberDuplicate) {
			return errDuplicate
		}
		if err != nil {
			return err
		}
		return also(tx)
	})
	if !errors.Is(err, errDuplicate) {
		return err == nil, err
	}
	known, err := f.offer(ctx, o.ID)
	if err == nil && known != o {
		err = contract.ErrOfferExists
	}
	return false, err
}

// nothing is what restore or also are where there is nothing more to do.
func nothing(*sql.Tx) error { return nil }

// limitOf gives an offer's user limit as a number to compare with.
func limitOf(o *contract.Offer) int64 {
	if o.UserLimit == 0 {
		return math.MaxInt64
	}
	return o.UserLimit
}

// Ready reports whether the database answers.
func (f *offers) Ready(ctx context.Context) error { return f.db.PingContext(ctx) }
