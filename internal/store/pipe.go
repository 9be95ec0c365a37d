package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// A pipe is the connection of a transaction. Where the dialect lets it, a statement whose answer is not needed at once waits for the next
// one whose answer is, and they go to the database together, in one round trip: a batch that needs none but its COMMIT takes two.
//
// The database runs them one after the other and stops at the first that fails, whose error is that of all: nothing of what is deferred may
// be sent any more then, for the database may have left the transaction. COMMIT always goes alone, so that its outcome is the only one that
// can be unknown.
type pipe struct {
	*sql.Conn
	together bool
	deferred []statement
	args     int // of what is deferred
}

// A statement, and what is to become of the number of rows that it has changed.
type statement struct {
	sql  string
	args []any
	then func(rows int64) error // nil: whatever
}

// maxDeferredArgs bounds a packet. The largest of batches, with counters of users, has about three quarters as many.
const maxDeferredArgs = chunkSize * 16

// later runs a statement before anything that comes after it, and before the COMMIT.
func (p *pipe) later(ctx context.Context, s statement) error {
	p.deferred = append(p.deferred, s)
	p.args += len(s.args)
	if p.together && p.args < maxDeferredArgs {
		return nil
	}
	return p.flush(ctx)
}

// flush runs what is deferred. What is then to be done with its answers may run statements, too.
func (p *pipe) flush(ctx context.Context) error {
	statements := p.take()
	if len(statements) == 0 {
		return nil
	}
	run := p.oneByOne
	if len(statements) > 1 {
		run = p.atOnce
	}
	rows, err := run(ctx, statements)
	if err != nil {
		return err
	}
	for i, s := range statements {
		if s.then == nil {
			continue
		}
		if err := s.then(rows[i]); err != nil {
			return err
		}
	}
	return nil
}

// after has f called once all statements until now have been answered, before anything that waits for the answers of later ones.
func (p *pipe) after(f func() error) error {
	if len(p.deferred) == 0 {
		return f()
	}
	last := &p.deferred[len(p.deferred)-1]
	before := last.then
	last.then = func(rows int64) error {
		if before != nil {
			if err := before(rows); err != nil {
				return err
			}
		}
		return f()
	}
	return nil
}

func (p *pipe) take() []statement {
	taken := p.deferred
	p.deferred, p.args = nil, 0
	return taken
}

func (p *pipe) oneByOne(ctx context.Context, statements []statement) ([]int64, error) {
	rows := make([]int64, len(statements))
	for i, s := range statements {
		result, err := p.Conn.ExecContext(ctx, s.sql, s.args...)
		if err != nil {
			return nil, err
		}
		if rows[i], err = result.RowsAffected(); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

// atOnce asks the driver itself: database/sql tells the rows of the last statement only.
func (p *pipe) atOnce(ctx context.Context, statements []statement) (rows []int64, err error) {
	query, args := joined(statements)
	err = p.Raw(func(conn any) error {
		values, err := driverValues(conn.(driver.NamedValueChecker), args)
		if err != nil {
			return err
		}
		result, err := conn.(driver.ExecerContext).ExecContext(ctx, query, values)
		if err != nil {
			return err
		}
		rows = result.(mysql.Result).AllRowsAffected()
		return nil
	})
	switch {
	case errors.Is(err, driver.ErrSkip): // too large for one packet; nothing was sent
		return p.oneByOne(ctx, statements)
	case err == nil && len(rows) != len(statements):
		err = fmt.Errorf("store: %d answers to %d statements", len(rows), len(statements))
	}
	return rows, err
}

func joined(statements []statement) (query string, args []any) {
	texts := make([]string, len(statements))
	n := 0
	for _, s := range statements {
		n += len(s.args)
	}
	args = make([]any, 0, n)
	for i, s := range statements {
		texts[i] = s.sql
		args = append(args, s.args...)
	}
	return strings.Join(texts, "; "), args
}

func driverValues(checker driver.NamedValueChecker, args []any) ([]driver.NamedValue, error) {
	values := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
		if err := checker.CheckNamedValue(&values[i]); err != nil {
			return nil, err
		}
	}
	return values, nil
}

// lead puts what is deferred in front of a statement, or runs it where there are answers to look at.
func (p *pipe) lead(ctx context.Context, query string, args []any) (string, []any, error) {
	for _, s := range p.deferred {
		if s.then != nil {
			return query, args, p.flush(ctx)
		}
	}
	query, args = joined(append(p.take(), statement{sql: query, args: args}))
	return query, args, nil
}

// ExecContext implements gorm.ConnPool.
func (p *pipe) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	query, args, err := p.lead(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return p.Conn.ExecContext(ctx, query, args...)
}

// QueryContext implements gorm.ConnPool.
func (p *pipe) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	query, args, err := p.lead(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return p.Conn.QueryContext(ctx, query, args...)
}

// QueryRowContext implements gorm.ConnPool. The store reads rows by QueryContext only: this one could not tell what became of what is deferred.
func (p *pipe) QueryRowContext(context.Context, string, ...any) *sql.Row {
	panic("store: QueryRowContext in a transaction")
}
