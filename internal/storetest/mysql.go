package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"os"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// DSNVariable names the environment variable with the DSN of a MySQL or MariaDB server that tests may make databases on.
const DSNVariable = "TRANCHE_TEST_DSN"

// MySQL makes a fresh, empty database, dropped when the test ends, and gives its DSN.
// Without a server it skips the test, or fails it where CI is set.
func MySQL(t testing.TB) (dsn string) {
	t.Helper()
	cfg := serverConfig(t)
	cfg.DBName = "tranche_test_" + randomHex(t)
	onServer(t, "CREATE DATABASE "+cfg.DBName)
	t.Cleanup(func() { onServer(t, "DROP DATABASE "+cfg.DBName) })
	return cfg.FormatDSN()
}

// Server gives a connection to the server itself, outside of any database of the tests, closed when the test ends.
func Server(t testing.TB) *sql.DB {
	t.Helper()
	cfg := serverConfig(t)
	cfg.DBName = ""
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatalf("%s: %v", DSNVariable, err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func onServer(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	cfg := serverConfig(t)
	cfg.DBName = ""
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatalf("%s: %v", DSNVariable, err)
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(ctx, statement); err != nil {
		t.Errorf("%s: %v", statement, err)
	}
}

func serverConfig(t testing.TB) *mysql.Config {
	t.Helper()
	dsn := os.Getenv(DSNVariable)
	if dsn == "" {
		const missing = "NOT TESTED on MySQL or MariaDB: set " + DSNVariable + " to a server's DSN, such as root@tcp(127.0.0.1:3306)/"
		if os.Getenv("CI") != "" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatalf("%s: %v", DSNVariable, err)
	}
	return cfg
}

func randomHex(t testing.TB) string {
	t.Helper()
	b := make([]byte, 6)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(b)
}
