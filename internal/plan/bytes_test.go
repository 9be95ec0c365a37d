package plan_test

import (
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"

	"tranche/internal/plan"
	"tranche/internal/store"
	"tranche/internal/storetest"
	"tranche/models"
)

// Bytes per row are what a table of many rows takes. Pages are filled by halves after splits, so they are measured on a number of rows
// that doesn't fit into a few pages, and may be off by a third.
func TestRowsTakeWhatIsPlanned(t *testing.T) {
	const leases, entries = 3_000, 60_000
	dsn := storetest.MySQL(t)
	s, err := store.Open(store.Config{DSN: dsn, Logger: zerolog.Nop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	fill(t, s, leases, entries)
	for _, c := range []struct {
		table         string
		rows, planned int64
	}{{"entries", entries, plan.EntryBytes}, {"leases", leases, plan.LeaseBytes}} {
		if got := rowBytes(t, dsn, c.table) / c.rows; got*3 < c.planned*2 || got*2 > c.planned*3 {
			t.Errorf("%s: %d bytes a row, planned are %d", c.table, got, c.planned)
		} else {
			t.Logf("%s: %d bytes a row", c.table, got)
		}
	}
}

// fill grants leases, and settles entries on them, a batch on each.
func fill(t *testing.T, s *store.Store, leases, entries int) {
	t.Helper()
	node := models.NewID()
	epoch, err := s.RegisterNode(t.Context(), node, "n")
	check(t, err)
	offer, _, err := s.CreateOffer(t.Context(), models.Offer{
		ID: "summer-sale-2026", Name: "Summer", Unit: models.UnitRedemptions, Mode: models.ModeFast, Budget: 1_000_000, Status: models.StatusActive,
		LeaseSize: 1000, LeaseTTLSeconds: 60, Adaptive: true, RefundRestoresBudget: true, RefundRestoresUserLimit: true,
	}, models.Audit{})
	check(t, err)
	units := int64(entries / leases)
	for key := 0; key < entries; {
		grant, err := s.Grant(t.Context(), models.GrantRequest{
			OfferID: offer.ID, NodeID: node, Epoch: epoch, LeaseID: models.NewID(), Size: func(*models.Offer, int64, int64) int64 { return units },
		})
		check(t, err)
		l := grant.Lease
		batch := models.Batch{Offer: &offer, LeaseID: l.ID, Number: 1}
		for range l.Granted {
			batch.Wanted = append(batch.Wanted, redeem(&offer, l, grant.Now, key))
			key++
		}
		_, err = s.Settle(t.Context(), batch)
		check(t, err)
		_, _, err = s.CloseLease(t.Context(), offer.ID, l.ID, models.LeaseReturned, nil)
		check(t, err)
	}
}

// redeem makes an entry with names of 20 characters.
func redeem(o *models.Offer, l *models.Lease, now models.Micros, i int) models.Wanted {
	key, order := fmt.Sprintf("checkout-%011d", i), fmt.Sprintf("order-%014d", i)
	return models.Wanted{Entry: models.Entry{
		OfferID: o.ID, ID: models.NewID(), Redemption: models.RedemptionIDOf(o.ID, key).Hash, Kind: models.KindRedeem,
		UserID: fmt.Sprintf("customer-%011d", i*7919%1_000_003), OrderID: &order, IdempotencyKey: key, Units: 1,
		LeaseID: l.ID, NodeID: l.NodeID, CreatedAt: now,
	}}
}

// rowBytes is what a table takes, indexes included.
func rowBytes(t *testing.T, dsn, table string) (bytes int64) {
	t.Helper()
	cfg, err := mysql.ParseDSN(dsn)
	check(t, err)
	db := storetest.Server(t)
	_, err = db.ExecContext(t.Context(), "ANALYZE TABLE "+cfg.DBName+"."+table)
	check(t, err)
	err = db.QueryRowContext(t.Context(), `SELECT data_length + index_length FROM information_schema.tables
		WHERE table_schema = ? AND table_name = ?`, cfg.DBName, table).Scan(&bytes)
	check(t, err)
	return bytes
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
