package fill

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"strings"
)

// session is a connection that writes much.
type session struct {
	ctx  context.Context
	conn *sql.Conn
}

// quietly works on a connection that leaves the binary log alone, if it may, and is not used for anything else afterwards.
func quietly(ctx context.Context, db *sql.DB, work func(*session) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Raw(func(any) error { return driver.ErrBadConn }) }() // closes it, instead of keeping it for others
	s := &session{ctx, conn}
	_ = s.exec("SET SESSION sql_log_bin = 0") // takes a privilege, and only saves time
	return work(s)
}

func (s *session) exec(statement string, args ...any) error {
	_, err := s.conn.ExecContext(s.ctx, statement, args...)
	return err
}

// rowsAtOnce keeps a statement far below the least that a server takes by default.
const rowsAtOnce = 4000

// insert adds n rows to a table with its columns. write appends the i-th to what it is given, in parentheses.
func (s *session) insert(table string, n int64, write func(text []byte, i int64) []byte) error {
	var text []byte
	for first := int64(0); first < n; first += rowsAtOnce {
		text = fmt.Appendf(text[:0], "INSERT INTO %s VALUES ", table)
		for i := first; i < min(n, first+rowsAtOnce); i++ {
			if i > first {
				text = append(text, ',')
			}
			text = write(text, i)
		}
		if err := s.exec(string(text)); err != nil {
			return fmt.Errorf("rows of %s: %w", table, err)
		}
	}
	return nil
}

// dropIndexes takes the secondary indexes off a table. restore builds them again, as they were.
func (s *session) dropIndexes(table string) (restore func() error, err error) {
	rows, err := s.conn.QueryContext(s.ctx, `SELECT index_name, MAX(non_unique) = 0, GROUP_CONCAT(column_name ORDER BY seq_in_index)
		FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name = ? AND index_name <> 'PRIMARY' GROUP BY index_name`, table)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var drop, add []string
	for rows.Next() {
		var name, columns string
		var isUnique bool
		if err := rows.Scan(&name, &isUnique, &columns); err != nil {
			return nil, err
		}
		kind := "KEY"
		if isUnique {
			kind = "UNIQUE KEY"
		}
		drop = append(drop, "DROP KEY "+name)
		add = append(add, fmt.Sprintf("ADD %s %s (%s)", kind, name, columns))
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	alter := func(clauses []string) error {
		return s.exec("ALTER TABLE " + table + " " + strings.Join(clauses, ", "))
	}
	return func() error { return alter(add) }, alter(drop)
}
