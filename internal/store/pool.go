package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
	"gorm.io/gorm"
)

const (
	// DefaultConns is how many connections to MySQL a store has at most, unless it is told.
	DefaultConns = 32
	// sqliteConns are enough to read one file.
	sqliteConns = 10
	// MinConns is the least for Config.MaxConns: one for each kind of work.
	MinConns = 3
	// readsPart and listsPart are the parts of all connections that these have. Transactions have the rest.
	readsPart = 4
	listsPart = 8
)

// pools are the connections of a store, so that no kind of work waits for another.
type pools struct {
	writes *pool // of transactions: their sessions begin one with the first statement
	reads  *pool
	lists  *pool // of reads that may be long
}

// openPools shares all connections out.
func openPools(d *dialect, all int) (p pools, dialector gorm.Dialector, err error) {
	reads, lists := max(1, all/readsPart), max(1, all/listsPart)
	for _, one := range []struct {
		pool **pool
		open func(conns int) (*sql.DB, gorm.Dialector, error)
		max  int
	}{{&p.writes, d.openWriters, max(1, all-reads-lists)}, {&p.reads, d.open, reads}, {&p.lists, d.open, lists}} {
		db, its, err := one.open(one.max)
		if err != nil {
			return p, nil, errors.Join(err, p.Close())
		}
		*one.pool, dialector = &pool{db, one.max}, its
	}
	return p, dialector, nil
}

// Close gives up all connections.
func (p pools) Close() error {
	var errs []error
	for _, one := range []*pool{p.writes, p.reads, p.lists} {
		if one != nil {
			errs = append(errs, one.DB.Close())
		}
	}
	return errors.Join(errs...)
}

// A pool is a bounded number of connections.
type pool struct {
	*sql.DB
	max int
}

// conn takes a connection out of the pool, or waits for one. To wait in vain because all are in use, or because the server has no more to
// give, means that others are slow, which is not the same as a database that can't be reached.
func (p *pool) conn(ctx context.Context) (*sql.Conn, error) {
	for {
		conn, err := p.Conn(ctx)
		switch {
		case err == nil:
			return conn, nil
		case isFull(err) != "":
			if !pause(ctx, fullPause) { // then perhaps one of ours is free, or another client has left
				return nil, fmt.Errorf("%w: %w", errCrowded, err)
			}
		case errors.Is(err, context.DeadlineExceeded) && p.Stats().InUse >= p.max:
			return nil, fmt.Errorf("%w: all connections are in use: %w", errCrowded, err)
		default:
			return nil, err
		}
	}
}

// fullPause is how long to wait before a server without a free connection is asked again.
const fullPause = 50 * time.Millisecond

// isFull says why a server gives no more connections, or nothing.
func isFull(err error) string {
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return ""
	}
	switch refused.Number {
	case 1040:
		return "error 1040: max_connections is reached"
	case 1203:
		return "error 1203: max_user_connections is reached"
	case 1226:
		return "error 1226: a limit of the database's user is reached"
	default:
		return ""
	}
}
