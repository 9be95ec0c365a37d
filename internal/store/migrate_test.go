package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pressly/goose/v3/lock"

	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// dozen lets twelve stores migrate one empty database at once, and then each once more.
func dozen(t *testing.T, cfg store.Config) {
	t.Helper()
	var wait sync.WaitGroup
	for range 12 {
		s := prepare(t, cfg)
		wait.Go(func() {
			for range 2 {
				if err := s.Migrate(context.Background()); err != nil {
					t.Error(err)
				}
			}
			if _, err := s.SyncOffers(context.Background(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestADozenMigrateAtOnceOnSQLite(t *testing.T) { dozen(t, file(t)) }

func TestADozenMigrateAtOnceOnMySQL(t *testing.T) { dozen(t, store.Config{DSN: storetest.MySQL(t)}) }

// MySQL commits each CREATE and ALTER by itself, so a process that dies in the middle leaves some of them and no record of it.
// Whatever was done then stays as it is.
func TestAMigrationThatDiedHalfWayIsContinued(t *testing.T) {
	dsn, ctx := storetest.MySQL(t), context.Background()
	s := open(t, store.Config{DSN: dsn})
	died := func(after string, undo ...string) {
		t.Helper()
		for _, statement := range append(undo, "DELETE FROM goose_db_version WHERE version_id > "+after) {
			inDatabase(t, dsn, statement)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatalf("after %q: %v", undo, err)
		}
	}
	died("-1")
	died("0", "DROP TABLE nodes")
	node := models.NewID()
	if _, err := s.RegisterNode(ctx, node, "n"); err != nil {
		t.Fatal(err)
	}
	terms := models.Offer{ID: "o", Name: "o", Unit: models.UnitRedemptions, Mode: models.ModeFast, Budget: 10, LeaseSize: 5, LeaseTTLSeconds: 60}
	if _, _, err := s.CreateOffer(ctx, terms, models.Audit{}); err != nil {
		t.Fatal(err)
	}
	undo := []string{
		"DROP TABLE exceptions", "ALTER TABLE offers DROP COLUMN late_units", "ALTER TABLE offers DROP COLUMN exposed", "ALTER TABLE leases DROP COLUMN exposed",
	}
	for n := range len(undo) + 1 {
		died("1", undo[:n]...)
		g, err := s.Grant(ctx, models.GrantRequest{
			OfferID: "o", NodeID: node, Epoch: 1, LeaseID: models.NewID(),
			Size: func(*models.Offer, int64, int64) int64 { return 1 },
		})
		if err != nil {
			t.Fatal(err)
		}
		l, _, err := s.CloseLease(ctx, "o", g.Lease.ID, models.LeaseReclaimed, nil)
		if err != nil || l.Exposed != 1 {
			t.Fatalf("after %q: reclaimed %+v, %v", undo[:n], l, err)
		}
	}
}

func TestTheRecallMigrationThatDiedHalfWayIsContinued(t *testing.T) {
	dsn, ctx := storetest.MySQL(t), context.Background()
	s := open(t, store.Config{DSN: dsn})
	undo := []string{
		"DROP TABLE audits", "DROP INDEX offers_open ON offers", "ALTER TABLE leases DROP COLUMN recall", "ALTER TABLE offers DROP COLUMN recall",
	}
	terms := models.Offer{ID: "o", Name: "o", Unit: models.UnitRedemptions, Budget: 10, LeaseSize: 5, LeaseTTLSeconds: 60}
	if _, _, err := s.CreateOffer(ctx, terms, models.Audit{}); err != nil {
		t.Fatal(err)
	}
	for n := range len(undo) + 1 {
		for _, statement := range append(undo[:n:n], "DELETE FROM goose_db_version WHERE version_id > 3") {
			inDatabase(t, dsn, statement)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatalf("after %q: %v", undo[:n], err)
		}
		budget := int64(11 + n)
		change := func(o *models.Offer) error { o.BudgetTarget = budget; return nil }
		if changed, err := s.ChangeOffer(ctx, "o", nil, change, models.Audit{}); err != nil || changed.Recall == 0 {
			t.Fatalf("after %q: %+v, %v", undo[:n], changed, err)
		}
	}
}

func TestTheMigrationOfWatchedLeasesThatDiedHalfWayIsContinued(t *testing.T) {
	dsn, ctx := storetest.MySQL(t), context.Background()
	s := open(t, store.Config{DSN: dsn})
	undo := []string{"DROP INDEX leases_watched ON leases", "ALTER TABLE leases DROP COLUMN watched_from"}
	for n := range len(undo) + 1 {
		for _, statement := range append(undo[:n:n], "DELETE FROM goose_db_version WHERE version_id > 6") {
			inDatabase(t, dsn, statement)
		}
		if err := s.Migrate(ctx); err != nil {
			t.Fatalf("after %q: %v", undo[:n], err)
		}
		if _, err := s.ExpiringLeases(ctx, 1); err != nil {
			t.Fatalf("after %q: %v", undo[:n], err)
		}
	}
}

// A backup may read a table for an hour. A migration that waited for it would keep all redemptions waiting behind itself.
func TestAMigrationGivesWayToALongReader(t *testing.T) {
	dsn, ctx := storetest.MySQL(t), context.Background()
	s := open(t, store.Config{DSN: dsn})
	pending(t, dsn)
	reader, err := storetest.Server(t).BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = reader.Rollback() }()
	if _, err := reader.ExecContext(ctx, "SELECT COUNT(*) FROM "+database(t, dsn)+".entries"); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(ctx); !errors.Is(err, models.ErrBusy) {
		t.Errorf("beside a reader: %v, want %v", err, models.ErrBusy)
	}
	if err := reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(ctx); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

// pending makes the tables lack their latest migration.
func pending(t *testing.T, dsn string) {
	t.Helper()
	inDatabase(t, dsn, "DELETE FROM goose_db_version WHERE version_id > 5")
}

func latest(t *testing.T, dsn string) (version int) {
	t.Helper()
	row := storetest.Server(t).QueryRowContext(t.Context(), "SELECT MAX(version_id) FROM "+database(t, dsn)+".goose_db_version")
	if err := row.Scan(&version); err != nil {
		t.Fatal(err)
	}
	return version
}

// The server's named lock is not seen by the other members of a cluster. A row is.
func TestA5AMigrationWaitsForARow(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn})
	pending(t, dsn)
	elsewhere := connect(t, dsn+"?parseTime=true")
	row, err := lock.NewMySQLTableLocker()
	if err != nil {
		t.Fatal(err)
	}
	if err := row.Lock(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Migrate(short); err == nil {
		t.Error("it migrates while another process does")
	}
	if version := latest(t, dsn); version > 5 {
		t.Errorf("the tables are at version %d: it has not waited for another process", version)
	}
	if err := row.Unlock(t.Context(), elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := s.Migrate(t.Context()); err != nil || latest(t, dsn) <= 5 {
		t.Errorf("afterwards: version %d, %v", latest(t, dsn), err)
	}
}

// Nothing is locked yet when the lock's table is made. A member of Group Replication that can't apply what another one has made stops.
func TestA5TheTableOfTheLockIsMadeOnlyIfItIsNotThere(t *testing.T) {
	dsn, proxy := through(t, storetest.MySQL(t), func() fate { return pass })
	open(t, store.Config{DSN: dsn})
	proxy.mu.Lock()
	defer proxy.mu.Unlock()
	made := 0
	for _, create := range proxy.creates {
		if !strings.Contains(create, "goose_lock") {
			continue
		}
		made++
		if !strings.HasPrefix(create, "IF NOT EXISTS ") {
			t.Errorf("the server is told: CREATE TABLE %s", create)
		}
	}
	if made == 0 {
		t.Errorf("nobody makes the table: %v", proxy.creates)
	}
}

func TestA5AMigrationWaitsForNodesOfEarlierVersions(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn})
	pending(t, dsn)
	earlier, err := storetest.Server(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer earlier.Close()
	name := sha256.Sum256([]byte(database(t, dsn)))
	if _, err := earlier.ExecContext(t.Context(), fmt.Sprintf("DO GET_LOCK('tranche-migrate-%x', 1)", name[:16])); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Migrate(short); err == nil || latest(t, dsn) > 5 {
		t.Errorf("it migrates to version %d beside a node of an earlier version: %v", latest(t, dsn), err)
	}
}

func TestA5AProcessThatWasKilledWhileItMigratedBlocksNobodyForEver(t *testing.T) {
	dsn := storetest.MySQL(t)
	s := open(t, store.Config{DSN: dsn})
	pending(t, dsn)
	inDatabase(t, dsn, "UPDATE goose_lock SET locked = TRUE, locked_by = 'it was killed', lease_expires_at = UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
	if err := s.Migrate(t.Context()); err != nil || latest(t, dsn) <= 5 {
		t.Errorf("version %d, %v", latest(t, dsn), err)
	}
}

func TestD3TablesThatMayNotBeChangedAreOnlyLookedAt(t *testing.T) {
	dsn, elsewhere := storetest.MySQL(t), ""
	looking := prepare(t, store.Config{DSN: dsn, KeepTables: true})
	var missing *store.TablesError
	if err := looking.Migrate(t.Context()); !errors.As(err, &missing) || missing.Has != 0 || !errors.Is(err, models.ErrLedgerUnavailable) {
		t.Errorf("without tables: %v", err)
	}
	row := storetest.Server(t).QueryRowContext(t.Context(), "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = ?", database(t, dsn))
	if err := row.Scan(&elsewhere); err != nil || elsewhere != "0" {
		t.Errorf("it has made %s tables, %v", elsewhere, err)
	}
	migrating := open(t, store.Config{DSN: dsn})
	if err := looking.Migrate(t.Context()); err != nil {
		t.Errorf("with all tables: %v", err)
	}
	pending(t, dsn)
	if err := looking.Migrate(t.Context()); !errors.As(err, &missing) || missing.Has != 5 {
		t.Errorf("with tables of version 5: %v", err)
	}
	if err := migrating.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// inDatabase runs a statement in the database of a DSN.
func inDatabase(t *testing.T, dsn, statement string) {
	t.Helper()
	conn, err := storetest.Server(t).Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	for _, sql := range []string{"USE " + database(t, dsn), statement} {
		if _, err := conn.ExecContext(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// A backup from before the ledger had an id gets the same one, wherever it is restored.
func TestA1OlderTablesGetTheIDOfTheirOldestNode(t *testing.T) {
	ctx := context.Background()
	oldest := models.NewID()
	for range 2 {
		s := open(t, file(t))
		for _, id := range []models.ID{models.NewID(), oldest, models.NewID()} {
			if _, err := s.RegisterNode(ctx, id, "n"); err != nil {
				t.Fatal(err)
			}
		}
		for range 2 {
			if id, err := s.LedgerID(ctx); err != nil || id != oldest {
				t.Errorf("%s, %v, want %s", id, err, oldest)
			}
		}
	}
}

func TestA1ADozenAgreeOnTheIDOfANewLedger(t *testing.T) {
	for name, cfg := range map[string]store.Config{"SQLite": file(t), "MySQL": {DSN: storetest.MySQL(t)}} {
		var wait sync.WaitGroup
		ids := make([]models.ID, 12)
		for i := range ids {
			s := open(t, cfg)
			wait.Go(func() {
				var err error
				if ids[i], err = s.LedgerID(context.Background()); err != nil {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		for _, id := range ids {
			if id != ids[0] || id.IsZero() {
				t.Errorf("%s: %s and %s", name, id, ids[0])
			}
		}
	}
}
