package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"tranche/internal/run"
	"tranche/internal/store"
	"tranche/models"
)

// galeraVariable names the environment variable with the path of Galera's library. test.sh sets it.
const galeraVariable = "TRANCHE_TEST_GALERA"

// Galera runs a transaction on one member and compares it with those of the other members at COMMIT, or aborts it in the middle.
// A statement after such an abort must never commit by itself.
func TestTwoMembersOfGaleraKeepTheBooks(t *testing.T) {
	const sellers, lasts = 4, 6 * time.Second // sellers of each member
	members := startGalera(t)
	stores := [2]*store.Store{open(t, store.Config{DSN: members[0]}), prepare(t, store.Config{DSN: members[1]})}
	limit := int64(1 << 30) // no user reaches it, and all are counted
	offer := createOffer(t, stores[0], &limit)
	ctx, cancel := context.WithTimeout(t.Context(), lasts)
	defer cancel()
	var mu sync.Mutex
	var acknowledged []models.ID
	var selling sync.WaitGroup
	for i := range 2 * sellers {
		selling.Go(func() {
			sold, err := sell(ctx, stores[i%2], &offer)
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			acknowledged = append(acknowledged, sold...)
			mu.Unlock()
		})
	}
	selling.Wait()
	checkBooks(t, stores[0], members[0], &offer, acknowledged)
}

// A grant changes the row of its offer, which nodes on other members want to change, too.
func TestA4GrantsOnTwoMembersOfGaleraComeThroughTheirConflicts(t *testing.T) {
	const granters, grants = 4, 25 // of each member
	members := startGalera(t)
	stores := [2]*store.Store{open(t, store.Config{DSN: members[0]}), prepare(t, store.Config{DSN: members[1]})}
	offer := createOffer(t, stores[0], nil)
	var granting sync.WaitGroup
	for i := range 2 * granters {
		granting.Go(func() {
			s, node := stores[i%2], models.NewID()
			epoch, err := s.RegisterNode(t.Context(), node, "granter")
			for range grants {
				if err != nil {
					break
				}
				_, err = s.Grant(t.Context(), models.GrantRequest{
					OfferID: offer.ID, NodeID: node, Epoch: epoch, LeaseID: models.NewID(),
					Size: func(*models.Offer, int64, int64) int64 { return 1 },
				})
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	granting.Wait()
	balance, err := stores[0].Balance(t.Context(), offer.ID)
	if err != nil || balance.Outstanding != 2*granters*grants {
		t.Errorf("%d units are granted, want %d, %v", balance.Outstanding, 2*granters*grants, err)
	}
}

// The server's named lock is local to a member.
func TestA5NodesOnTwoMembersOfGaleraMigrateOneAfterTheOther(t *testing.T) {
	members := startGalera(t)
	var migrating sync.WaitGroup
	for i := range 6 {
		s := prepare(t, store.Config{DSN: members[i%2]})
		migrating.Go(func() {
			if err := s.Migrate(t.Context()); err != nil {
				t.Error(err)
			}
			if swallowed, err := store.Swallowed(t.Context(), s); err != nil || len(swallowed) > 0 {
				t.Errorf("session settings: %v, %v", swallowed, err)
			}
		})
	}
	migrating.Wait()
	var applied, versions int
	row := connect(t, members[0]).QueryRowContext(t.Context(), "SELECT COUNT(*), COUNT(DISTINCT version_id) FROM goose_db_version")
	if err := row.Scan(&applied, &versions); err != nil || applied != versions {
		t.Errorf("%d migrations were applied %d times, %v", versions, applied, err)
	}
}

// createOffer makes an offer that nobody can exhaust.
func createOffer(t testing.TB, s *store.Store, limit *int64) models.Offer {
	t.Helper()
	offer, _, err := s.CreateOffer(t.Context(), models.Offer{
		ID: "o", Name: "o", Unit: models.UnitRedemptions, Mode: models.ModeStrict, Budget: 1 << 40, UserLimitRedemptions: limit,
		Status: models.StatusActive, LeaseSize: 1 << 30, LeaseTTLSeconds: 3600,
	}, models.Audit{})
	if err != nil {
		t.Fatal(err)
	}
	return offer
}

// sell redeems for the same few users as everybody else, batch by batch on a lease of its own, until ctx ends.
// It repeats a batch until that is decided, and gives the entries that were acknowledged.
func sell(ctx context.Context, s *store.Store, offer *models.Offer) (acknowledged []models.ID, err error) {
	batch := models.Batch{Offer: offer}
	if batch.LeaseID, err = newLease(ctx, s, offer.ID); err != nil {
		return nil, err
	}
	for ctx.Err() == nil {
		batch.Number++
		batch.Wanted = nil
		for range 5 {
			id := models.NewID()
			batch.Wanted = append(batch.Wanted, models.Wanted{Entry: models.Entry{
				OfferID: offer.ID, ID: id, Redemption: models.RedemptionIDOf(offer.ID, id.String()).Hash, Kind: models.KindRedeem,
				UserID: fmt.Sprint("user-", rand.IntN(20)), IdempotencyKey: id.String(), Units: 1, CreatedAt: 1,
			}})
		}
		verdicts, err := repeat(ctx, func() ([]models.Verdict, error) { return s.Settle(ctx, batch) })
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return acknowledged, err
		}
		for _, v := range verdicts {
			if v.Err != nil || v.Replayed {
				return acknowledged, fmt.Errorf("lease %s, batch %d: error %w, replayed %t", batch.LeaseID, batch.Number, v.Err, v.Replayed)
			}
			acknowledged = append(acknowledged, v.Entry.ID)
		}
	}
	return acknowledged, nil
}

func newLease(ctx context.Context, s *store.Store, offerID string) (models.ID, error) {
	node := models.NewID()
	epoch, err := repeat(ctx, func() (int64, error) { return s.RegisterNode(ctx, node, "seller") })
	if err != nil {
		return models.ID{}, err
	}
	request := models.GrantRequest{
		OfferID: offerID, NodeID: node, Epoch: epoch, LeaseID: models.NewID(),
		Size: func(o *models.Offer, _, _ int64) int64 { return o.LeaseSize },
	}
	_, err = repeat(ctx, func() (models.Grant, error) { return s.Grant(ctx, request) })
	return request.LeaseID, err
}

// repeat makes a call until it is decided or ctx ends.
func repeat[T any](ctx context.Context, call func() (T, error)) (result T, err error) {
	for {
		result, err = call()
		undecided := errors.Is(err, models.ErrBusy) || errors.Is(err, models.ErrLedgerUnavailable) || errors.Is(err, models.ErrOutcomeUnknown)
		if !undecided || !run.Pause(ctx, 5*time.Millisecond) {
			return result, err
		}
	}
}

// checkBooks holds the books against the ledger, and the ledger against what was acknowledged.
func checkBooks(t *testing.T, s *store.Store, dsn string, offer *models.Offer, acknowledged []models.ID) {
	t.Helper()
	db := connect(t, dsn+"?wsrep_sync_wait=1") // a read waits for what other members have committed
	for what, query := range map[string]string{
		"leases whose spent units are not those of their entries": `SELECT COUNT(*) FROM leases l
			WHERE spent <> (SELECT COALESCE(SUM(units), 0) FROM entries WHERE lease_id = l.id AND kind IN ('redeem', 'hold'))`,
		"users whose counter is not the number of their entries": `SELECT COUNT(*) FROM usages u
			WHERE redemptions <> (SELECT COUNT(*) FROM entries WHERE offer_id = u.offer_id AND user_id = u.user_id)`,
		"entries of users without a counter": `SELECT COUNT(*) FROM entries e
			WHERE NOT EXISTS (SELECT 1 FROM usages WHERE offer_id = e.offer_id AND user_id = e.user_id)`,
	} {
		var n int
		if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
			t.Fatal(err)
		}
		if n != 0 {
			t.Errorf("%d %s", n, what)
		}
	}
	balance, err := s.Balance(t.Context(), offer.ID)
	if err != nil {
		t.Fatal(err)
	}
	if !balance.AddsUp() {
		t.Errorf("the balance does not add up: %+v", balance)
	}
	ledger := entryCounts(t, db)
	for _, id := range acknowledged {
		if ledger[id] != 1 {
			t.Errorf("entry %s was acknowledged and is in the ledger %d times", id, ledger[id])
		}
	}
	t.Logf("%d redemptions were acknowledged, %d are in the ledger", len(acknowledged), len(ledger))
	if len(acknowledged) < 100 {
		t.Error("fewer than 100 redemptions were acknowledged")
	}
}

// entryCounts says how often each entry is in the ledger.
func entryCounts(t *testing.T, db *sql.DB) map[models.ID]int {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "SELECT id FROM entries")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[models.ID]int{}
	for rows.Next() {
		var id models.ID
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		counts[id]++
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		t.Fatal(err)
	}
	return counts
}

func connect(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// startGalera starts a cluster of two members and gives the DSN of an empty database on each. The members end with the test.
func startGalera(t *testing.T) (dsns [2]string) {
	t.Helper()
	library := os.Getenv(galeraVariable)
	if library == "" {
		t.Skip("NOT TESTED on Galera: ./test.sh does it, or set " + galeraVariable + " to the path of libgalera_smm.so")
	}
	folders := dataFolders(t)
	cluster := "gcomm://"
	for i, folder := range folders {
		ports := freePorts(t)
		group := fmt.Sprint("127.0.0.1:", ports[1])
		startMember(t, folder, "--port="+fmt.Sprint(ports[0]),
			"--wsrep-provider="+library, "--wsrep-cluster-address="+cluster, "--wsrep-node-address="+group,
			fmt.Sprintf("--wsrep-provider-options=gmcast.listen_addr=tcp://%s;ist.recv_addr=127.0.0.1:%d;gcache.size=32M", group, ports[2]))
		cluster = "gcomm://" + group
		server := fmt.Sprintf("root@tcp(127.0.0.1:%d)/", ports[0])
		awaitSynced(t, server, folder)
		dsns[i] = server + "tranche"
		if i == 0 {
			continue
		}
		if _, err := connect(t, server).ExecContext(t.Context(), "CREATE DATABASE tranche"); err != nil {
			t.Fatal(err)
		}
		first := connect(t, strings.TrimSuffix(dsns[0], "tranche")+"?wsrep_sync_wait=1")
		if _, err := first.ExecContext(t.Context(), "SELECT 1"); err != nil { // it waits for what the other member has done
			t.Fatal(err)
		}
	}
	return dsns
}

// dataFolders makes the same data twice, with the states that let the second member join without a transfer:
// the first member begins at number 1, and counts its own beginning as number 2.
func dataFolders(t *testing.T) (folders [2]string) {
	t.Helper()
	base := t.TempDir()
	for i := range folders {
		folders[i] = filepath.Join(base, fmt.Sprint("member-", i))
	}
	install := exec.CommandContext(t.Context(), "mariadb-install-db", "--no-defaults", "--force", "--datadir="+folders[0],
		"--skip-test-db", "--auth-root-authentication-method=normal")
	if output, err := install.CombinedOutput(); err != nil {
		t.Fatalf("mariadb-install-db: %v\n%s", err, output)
	}
	if err := os.CopyFS(folders[1], os.DirFS(folders[0])); err != nil {
		t.Fatal(err)
	}
	cluster := models.NewID()
	for i, folder := range folders {
		state := fmt.Sprintf("# GALERA saved state\nversion: 2.1\nuuid: %s\nseqno: %d\nsafe_to_bootstrap: %d\n", cluster, i+1, 1-i)
		if err := os.WriteFile(filepath.Join(folder, "grastate.dat"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return folders
}

// startMember starts a server as the child of a shell, which kills it when this process closes the shell's input or ends.
func startMember(t *testing.T, folder string, options ...string) {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	arguments := append([]string{
		"-c", `"$@" </dev/null >/dev/null 2>&1 & read end; kill -KILL $!; wait`, "sh",
		"mariadbd", "--no-defaults", "--user=" + me.Username, "--datadir=" + folder, "--socket=" + folder + ".sock",
		"--pid-file=" + folder + ".pid", "--log-error=" + folder + ".log", "--bind-address=127.0.0.1", "--skip-name-resolve",
		"--innodb-buffer-pool-size=64M", "--innodb-flush-log-at-trx-commit=0",
		"--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-sst-method=skip",
	}, options...)
	shell := exec.Command("sh", arguments...)
	input, err := shell.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := shell.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = input.Close()
		_ = shell.Wait()
	})
}

// awaitSynced waits until a member takes part in its cluster.
func awaitSynced(t *testing.T, server, folder string) {
	t.Helper()
	db := connect(t, server+"?timeout=1s&readTimeout=1s")
	var name, state string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); run.Pause(t.Context(), 50*time.Millisecond) {
		row := db.QueryRowContext(t.Context(), "SHOW STATUS LIKE 'wsrep_local_state_comment'")
		if err := row.Scan(&name, &state); err == nil && state == "Synced" {
			return
		}
	}
	log, _ := os.ReadFile(folder + ".log")
	t.Fatalf("the member is %q after 20 s; its log:\n%s", state, strings.ToValidUTF8(string(log), "?"))
}

// freePorts finds three ports below those of outgoing connections.
func freePorts(t *testing.T) (ports [3]int) {
	t.Helper()
	for i := 0; i < len(ports); {
		port := 20000 + rand.IntN(12000)
		listener, err := net.Listen("tcp", fmt.Sprint("127.0.0.1:", port))
		if err != nil {
			continue
		}
		_ = listener.Close()
		ports[i] = port
		i++
	}
	return ports
}
