package meter

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Database is the database server that all contestants use, each in a database of its own.
type Database struct {
	*sql.DB
	PID int // zero if the server runs on another machine

	dsn *mysql.Config
}

// OpenDatabase connects to a server. dsn names no database.
func OpenDatabase(ctx context.Context, dsn string) (*Database, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	d := &Database{DB: sql.OpenDB(connector), dsn: cfg}
	if d.PID, err = d.findPID(ctx); err != nil {
		return nil, errors.Join(err, d.Close())
	}
	return d, nil
}

// findPID looks the server's process up by the file that it writes, if it runs here.
func (d *Database) findPID(ctx context.Context) (int, error) {
	var path string
	if err := d.QueryRowContext(ctx, "SELECT @@pid_file").Scan(&path); err != nil {
		return 0, err
	}
	host, _, err := net.SplitHostPort(d.dsn.Addr)
	if err != nil || !net.ParseIP(host).IsLoopback() {
		return 0, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, nil // in a container, perhaps: then its CPU time is not told
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

// Addr is where the server listens.
func (d *Database) Addr() string { return d.dsn.Addr }

// At gives a DSN with another address.
func At(dsn, addr string) (string, error) {
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		return "", err
	}
	cfg.Addr = addr
	return cfg.FormatDSN(), nil
}

// RoundTrip gives the median time of a statement that does nothing, over a connection to that address.
func (d *Database) RoundTrip(ctx context.Context, addr string) (time.Duration, error) {
	cfg := d.dsn.Clone()
	cfg.Addr = addr
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return 0, err
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	db.SetMaxOpenConns(1)
	var times []time.Duration
	for range 200 {
		start := time.Now()
		if _, err := db.ExecContext(ctx, "DO 1"); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// Recreate makes an empty database, and gives its DSN.
func (d *Database) Recreate(ctx context.Context, name string) (dsn string, err error) {
	if err := d.Drop(ctx, name); err != nil {
		return "", err
	}
	if _, err := d.ExecContext(ctx, "CREATE DATABASE "+name); err != nil {
		return "", err
	}
	cfg := d.dsn.Clone()
	cfg.DBName = name
	return cfg.FormatDSN(), nil
}

// Drop drops a database.
func (d *Database) Drop(ctx context.Context, name string) error {
	_, err := d.ExecContext(ctx, "DROP DATABASE IF EXISTS "+name)
	return err
}

// Status are counters of the server since its start.
type Status struct {
	Statements int64 // that clients have sent, BEGIN and COMMIT among them
	LockWaits  int64 // on rows
}

// Status reads the counters.
func (d *Database) Status(ctx context.Context) (s Status, err error) {
	rows, err := d.QueryContext(ctx, "SHOW GLOBAL STATUS WHERE Variable_name IN ('Questions', 'Innodb_row_lock_waits')")
	if err != nil {
		return s, err
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		var value int64
		if err := rows.Scan(&name, &value); err != nil {
			return s, err
		}
		if name == "Questions" {
			s.Statements = value
		} else {
			s.LockWaits = value
		}
	}
	return s, rows.Err()
}

// Describe says what server it is, and how durable its commits are.
func (d *Database) Describe(ctx context.Context) (string, error) {
	var version string
	var binlog, syncBinlog, flush int
	err := d.QueryRowContext(ctx, "SELECT @@version, @@log_bin, @@sync_binlog, @@innodb_flush_log_at_trx_commit").
		Scan(&version, &binlog, &syncBinlog, &flush)
	name := "MySQL " + version
	if strings.Contains(version, "MariaDB") {
		name = "MariaDB " + strings.SplitN(version, "-", 2)[0]
	}
	log := "no binary log"
	if binlog == 1 {
		log = fmt.Sprintf("binary log with sync_binlog=%d", syncBinlog)
	}
	return fmt.Sprintf("%s, innodb_flush_log_at_trx_commit=%d, %s", name, flush, log), err
}
