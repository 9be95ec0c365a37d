package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
	"github.com/sony/gobreaker/v2"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// Config says which database to use. The zero value of each field but Path is a sane default.
type Config struct {
	DSN  string // of MySQL or MariaDB, in the Go driver's form, with a database; empty: SQLite
	Path string // of the SQLite file, whose folder exists

	PasswordFile string // with the password that the DSN lacks; read for each new session
	CAFile       string // PEM, of the authority that vouches for the server; sessions use TLS then
	KeepTables   bool   // Migrate changes nothing, and fails unless the tables are as this program needs them

	Isolation sql.IsolationLevel // of MySQL's sessions; default READ COMMITTED
	MaxConns  int                // to MySQL in all, MinConns at least; default: DefaultConns

	Logger     zerolog.Logger
	Registerer prometheus.Registerer // default: a registry of its own
	Health     Health                // default: nobody
	Lost       func()                // hears that the ledger has lost commits, from any goroutine, and must not wait; nil: nobody does
}

// Health hears of each call of a store; see health.Ledger. It is called from many goroutines.
type Health interface {
	// Asked says that a call is sent to the database.
	Asked()
	// Ended says that it has ended, and whether the database has answered it.
	Ended(answered bool)
	// Full says that the database has no connection to give, and why.
	Full(why string)
}

// nobody is a Health.
type nobody struct{}

func (nobody) Asked()      {}
func (nobody) Ended(bool)  {}
func (nobody) Full(string) {}

// Store is the ledger in a SQL database. Safe for concurrent use.
type Store struct {
	pools
	dialect *dialect
	log     zerolog.Logger
	listing atomic.Int32 // calls that list, or wait for their turn
	orm     *gorm.DB
	writer  chan struct{} // holds a token while a transaction runs, where the dialect has one writer; else nil

	keepTables   bool
	sessionsRead atomic.Bool // the settings of a session were compared with what they should be
	denials      *denials

	health      Health
	lost        func()
	breaker     *gobreaker.CircuitBreaker[struct{}]
	transitions chan transition // of the breaker, on their way into the log
	metrics     *metrics
}

// Open prepares a store. It doesn't talk to the database: a node starts without one.
func Open(cfg Config) (*Store, error) {
	d, err := chooseDialect(&cfg)
	if err != nil {
		return nil, err
	}
	return openDialect(d, &cfg)
}

func openDialect(d *dialect, cfg *Config) (*Store, error) {
	pools, dialector, err := openPools(d, cfg.MaxConns)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	s := &Store{
		pools: pools, dialect: d, log: cfg.Logger, keepTables: cfg.KeepTables, denials: d.denials,
		health: cfg.Health, lost: cfg.Lost, transitions: make(chan transition, 16),
	}
	if s.orm, err = gorm.Open(dialector, &gorm.Config{
		DisableAutomaticPing:   true,
		SkipDefaultTransaction: true,
		PrepareStmt:            false, // its cache can deadlock with a pool that is exhausted
		Logger:                 logger.Discard,
	}); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), s.Close())
	}
	if s.metrics, err = newMetrics(cfg.Registerer, s); err != nil {
		return nil, errors.Join(fmt.Errorf("store: %w", err), s.Close())
	}
	if d.oneWriter {
		s.writer = make(chan struct{}, 1)
	}
	s.breaker = newBreaker(s.transitions, s.metrics)
	return s, nil
}

// chooseDialect fills the defaults of cfg as well.
func chooseDialect(cfg *Config) (*dialect, error) {
	if cfg.Registerer == nil {
		cfg.Registerer = prometheus.NewRegistry()
	}
	if cfg.Health == nil {
		cfg.Health = nobody{}
	}
	if cfg.DSN == "" {
		cfg.MaxConns = sqliteConns
		return sqLite(cfg.Path, cfg), nil
	}
	if cfg.MaxConns == 0 {
		cfg.MaxConns = DefaultConns
	}
	return mySQL(cfg)
}

// Close gives up all connections. Calls that are under way end with an error.
func (s *Store) Close() error { return s.pools.Close() }

// Connections is how many transactions can be under way at once.
func (s *Store) Connections() int { return s.writes.max }

// Available reports whether calls are let through to the database: false while the breaker is open.
func (s *Store) Available() bool { return s.breaker.State() != gobreaker.StateOpen }

// Ping asks the database for a sign of life.
func (s *Store) Ping(ctx context.Context) error {
	return s.read(ctx, "Ping", func(q *query) error {
		var one int
		return q.scan(&one, "SELECT 1")
	})
}
