package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
)

const (
	// DefaultConns is how many connections to MySQL a store has at most, unless it is told.
	DefaultConns = 32
	// sqliteConns are enough to read one file.
	sqliteConns = 10
	// MinConns is the least for Config.MaxConns: one for lists, and one for all else.
	MinConns = 2
	// listsPart is the part of all connections that lists have.
	listsPart = 8
)

// connsOf shares connections out between lists and all else.
func connsOf(all int) (hot, lists int) {
	lists = max(1, all/listsPart)
	return max(1, all-lists), lists
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
