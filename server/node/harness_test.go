package node

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"

	"tranche/internal/datadir"
	"tranche/internal/faultproxy"
	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// offer makes an offer of 50 with further members.
func (r *running) offer(id, members string) {
	r.t.Helper()
	if status, v := r.call("POST", "/v1/offers", fmt.Sprintf(`{"id":%q,"name":"O","budget":50,"adaptive":false,"lease_size":12,%s}`, id, members)); status != 201 {
		r.t.Fatal(status, v)
	}
}

// redeem makes a redemption that is to be on record where recorded says.
func (r *running) redeem(offer, key, recorded string) {
	r.t.Helper()
	status, v := r.call("POST", "/v1/offers/"+offer+"/redemptions", `{"user_id":"alice"}`, "Idempotency-Key", key)
	if status != 201 || v["recorded"] != recorded {
		r.t.Fatalf("redemption %s: %d %v, want it in the %s", key, status, v, recorded)
	}
}

// until polls until done, or fails the test.
func (r *running) until(what string, done func() bool) {
	r.t.Helper()
	deadline := time.After(20 * time.Second)
	poll := time.NewTicker(10 * time.Millisecond)
	defer poll.Stop()
	for !done() {
		select {
		case <-deadline:
			r.t.Fatalf("not in time: %s", what)
		case <-poll.C:
		}
	}
}

// count is how many run now.
func (h *requestsInFlight) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running
}

// onStore works on the database of a configuration, beside any node.
func onStore[T any](t *testing.T, c Config, work func(context.Context, *store.Store) (T, error)) T {
	t.Helper()
	s, err := store.Open(store.Config{DSN: c.DSN, Path: filepath.Join(c.DataDir, "tranche.db"), Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	result, err := work(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

// inDatabase runs a statement on the database of a configuration, as an operator might.
func inDatabase(t *testing.T, c Config, statement string) {
	t.Helper()
	db, err := sql.Open("mysql", c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// dumped copies the rows of a configuration's database. restore puts the copy in their place, in one transaction, under nodes that run.
func dumped(t *testing.T, c Config) (restore func()) {
	t.Helper()
	cfg, err := mysql.ParseDSN(c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	db, err := sql.Open("mysql", c.DSN)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	columns := map[string]string{}
	rows, err := db.QueryContext(t.Context(), `SELECT table_name, GROUP_CONCAT(CONCAT('`+"`', column_name, '`"+`')) FROM information_schema.columns
		WHERE table_schema = ? AND table_name NOT LIKE 'goose%' AND table_name NOT LIKE 'dumped%' AND extra NOT LIKE '%GENERATED%' GROUP BY table_name`, cfg.DBName)
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var table, names string
		if err := rows.Scan(&table, &names); err != nil {
			t.Fatal(err)
		}
		columns[table] = names
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	for table, names := range columns {
		inDatabase(t, c, "CREATE TABLE dumped_"+table+" AS SELECT "+names+" FROM "+table)
	}
	return func() {
		t.Helper()
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for table, names := range columns {
			for _, statement := range []string{"DELETE FROM " + table, "INSERT INTO " + table + " (" + names + ") SELECT " + names + " FROM dumped_" + table} {
				if _, err := tx.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

func balance(t *testing.T, c Config, offer string) models.Balance {
	t.Helper()
	return onStore(t, c, func(ctx context.Context, s *store.Store) (models.Balance, error) { return s.Balance(ctx, offer) })
}

// forgotten grants a lease to the node of a folder that nobody runs on, as if a process there had taken it and died.
func forgotten(t *testing.T, c Config, offer string, units int64) models.ID {
	t.Helper()
	dir, err := datadir.Open(c.DataDir)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	return onStore(t, c, func(ctx context.Context, s *store.Store) (models.ID, error) {
		id := models.NewID()
		epoch, err := s.RegisterNode(ctx, dir.NodeID, c.NodeName)
		if err != nil {
			return id, err
		}
		_, err = s.Grant(ctx, models.GrantRequest{
			OfferID: offer, NodeID: dir.NodeID, Epoch: epoch, LeaseID: id,
			Size: func(*models.Offer, int64, int64) int64 { return units },
		})
		return id, err
	})
}

// behind gives a configuration whose database is an empty one behind a proxy, and the same one without it.
func behind(t *testing.T) (proxy *faultproxy.Proxy, through, direct Config) {
	t.Helper()
	through, direct = config(t), config(t)
	direct.DataDir = through.DataDir
	direct.DSN = storetest.MySQL(t)
	cfg, err := mysql.ParseDSN(direct.DSN)
	if err != nil {
		t.Fatal(err)
	}
	proxy, err = faultproxy.Listen(cfg.Addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- proxy.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	cfg.Addr = proxy.Addr()
	through.DSN = cfg.FormatDSN()
	return proxy, through, direct
}
