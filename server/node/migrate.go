package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/rs/zerolog"

	"tranche/internal/store"
)

// Migrate brings a database's tables up to date. It waits for a database that is away, and for others that migrate, until ctx ends. It
// does not wait for rights that it lacks.
func Migrate(ctx context.Context, database Database, log zerolog.Logger) error {
	if database.DSN == "" {
		return errors.New("--dsn is needed: a node brings the tables of its embedded database up to date itself")
	}
	database.KeepTables = false
	config := database.storeConfig("")
	config.Logger = log
	s, err := store.Open(config)
	if err != nil {
		return err
	}
	err = persist(ctx, log, func() error { return s.Migrate(ctx) }, awaits(s))
	if denied := s.Denied(); err != nil && denied != "" {
		err = fmt.Errorf("%s: %w", denied, err)
	}
	return errors.Join(err, s.Close())
}
