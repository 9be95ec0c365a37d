package node

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"tranche/internal/store"
)

// Config is what a node is told from outside. See the flags of the command for what each one means.
type Config struct {
	Listen   string
	DataDir  string
	NodeName string
	Database
	TLSCert        string // file of the certificate and its chain; empty: no TLS
	TLSKey         string // file of its private key
	AdminKey       string
	CheckoutKey    string
	RequestTimeout time.Duration
	DrainWait      time.Duration
	Logger         zerolog.Logger
}

// Database says where the ledger is, and how a node gets in.
type Database struct {
	DSN          string // empty: the embedded database in the data directory
	DBConns      int    // sessions, those of lists included; 0: DefaultDBConns
	CAFile       string // certificates, in PEM, of the authority that vouches for the server; empty: as the DSN says
	PasswordFile string // file of the password that the DSN lacks, read for each new session; empty: it is in the DSN
	KeepTables   bool   // the node changes no tables, and waits until they are as it needs them
}

// validate finds what needs a DSN. The store looks at the rest.
func (d *Database) validate() error {
	if d.DSN == "" && (d.CAFile != "" || d.PasswordFile != "" || d.KeepTables) {
		return errors.New("--db-ca, --db-password-file and --migrate=off are for a database that --dsn names, and there is no --dsn")
	}
	return nil
}

func (d *Database) storeConfig(path string) store.Config {
	return store.Config{DSN: d.DSN, MaxConns: d.DBConns, Path: path, CAFile: d.CAFile, PasswordFile: d.PasswordFile, KeepTables: d.KeepTables}
}

// Validate finds what can't work, all of it at once.
func (c *Config) Validate() error {
	var errs []error
	host, _, err := net.SplitHostPort(c.Listen)
	switch {
	case err != nil:
		errs = append(errs, fmt.Errorf("listen %q: want host:port", c.Listen))
	case !c.hasKeys() && !loopback(host):
		errs = append(errs, fmt.Errorf("listen %q: without TRANCHE_ADMIN_KEY and TRANCHE_CHECKOUT_KEY everybody who reaches the port "+
			"could change budgets; set them, or listen on 127.0.0.1", c.Listen))
	}
	errs = append(errs, c.Database.validate())
	if (c.TLSCert == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("TLS: a certificate needs its key, and a key its certificate: set --tls-cert and --tls-key"))
	}
	for _, k := range c.keys() {
		if len(k.key) < minKeyBytes || strings.ContainsFunc(k.key, func(r rune) bool { return r < '!' || r > '~' }) {
			errs = append(errs, fmt.Errorf("%s key: want at least %d characters from ! to ~, without spaces; openssl rand -hex 24 makes one", k.name, minKeyBytes))
		}
	}
	if c.hasKeys() && c.AdminKey == c.CheckoutKey {
		errs = append(errs, errors.New("the admin key and the checkout key are the same: checkouts could change budgets"))
	}
	if c.DataDir == "" {
		errs = append(errs, errors.New("data directory: none given"))
	}
	if len(c.NodeName) == 0 || len(c.NodeName) > maxNodeName {
		errs = append(errs, fmt.Errorf("node name: want 1 to %d bytes", maxNodeName))
	}
	if c.DBConns != 0 && (c.DBConns < store.MinConns || c.DBConns > maxDBConns) {
		errs = append(errs, fmt.Errorf("database connections %d: want %d to %d", c.DBConns, store.MinConns, maxDBConns))
	}
	if c.RequestTimeout < time.Second || c.RequestTimeout > maxRequestTimeout {
		errs = append(errs, fmt.Errorf("request timeout %s: want 1s to %s", c.RequestTimeout, maxRequestTimeout))
	}
	if c.DrainWait < 0 || c.DrainWait > 10*time.Minute {
		errs = append(errs, fmt.Errorf("drain wait %s: want 0s to 10m", c.DrainWait))
	}
	return errors.Join(errs...)
}

// DefaultDBConns lets four nodes share the 151 connections that a MySQL server gives by default.
const DefaultDBConns = store.DefaultConns

const (
	maxNodeName = 200
	maxDBConns  = 1000
	minKeyBytes = 16 // a shorter key is refused
	shortKey    = 24 // a shorter key is warned of
	// maxRequestTimeout is as long as a client may take to send a body. After that no client waits for its decision.
	maxRequestTimeout = 10 * time.Second
)

// namedKey is a bearer key, and what the settings call it.
type namedKey struct{ name, key string }

// keys are those that are set.
func (c *Config) keys() (set []namedKey) {
	for _, k := range []namedKey{{"admin", c.AdminKey}, {"checkout", c.CheckoutKey}} {
		if k.key != "" {
			set = append(set, k)
		}
	}
	return set
}

func (c *Config) hasKeys() bool { return len(c.keys()) > 0 }

// loopback reports whether nobody but this machine reaches the host.
func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
