package store

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
)

// CheckSession asks a session of the store's pool for its settings.
func CheckSession(s *Store, level sql.IsolationLevel) error {
	want := "READ-COMMITTED"
	if level == sql.LevelRepeatableRead {
		want = "REPEATABLE-READ"
	}
	return s.read(context.Background(), "Ping", func(q *query) error {
		for name, value := range map[string]string{
			"wait_timeout": "5", "innodb_lock_wait_timeout": "1", "character_set_client": "utf8mb4", "time_zone": "+00:00",
		} {
			var row struct{ Name, Value string }
			if err := q.scan(&row, "SELECT ? AS name, CAST(@@SESSION."+name+" AS CHAR) AS value", name); err != nil {
				return err
			}
			if row.Value != value {
				return fmt.Errorf("%s is %q, want %q", name, row.Value, value)
			}
		}
		var isolation, mode struct{ VariableName, Value string }
		if err := q.scan(&isolation, "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"); err != nil {
			return err
		}
		if err := q.scan(&mode, "SHOW SESSION VARIABLES LIKE 'sql_mode'"); err != nil {
			return err
		}
		if isolation.Value != want || !strings.Contains(mode.Value, "STRICT_TRANS_TABLES") {
			return fmt.Errorf("isolation %q, want %q; sql_mode %q", isolation.Value, want, mode.Value)
		}
		return nil
	})
}

// Swallowed lists the session settings that the server of a store has not taken, each as name, value and what was wanted.
func Swallowed(ctx context.Context, s *Store) (swallowed []string, err error) {
	is, err := s.variables(ctx)
	for _, want := range s.dialect.connector.wanted() {
		if value, known := is[want.variable]; known && !want.taken(value) {
			swallowed = append(swallowed, fmt.Sprintf("%s is %q, wanted %q", want.variable, value, want.want))
		}
	}
	if err == nil && is[syncWait] == "" && is["wait_timeout"] == "" {
		err = fmt.Errorf("the server has told of no variables: %v", is)
	}
	return swallowed, err
}

// Stop begins a transaction in a session of the store's, locks rows, and then does nothing until told to leave.
func Stop(s *Store, leave <-chan bool, stopped chan<- error, locks ...string) {
	ctx := context.Background()
	conn, err := s.writes.conn(ctx)
	if err != nil {
		stopped <- err
		return
	}
	defer func() { _ = conn.Close() }()
	defer rollBack(ctx, conn)
	if s.dialect.begin != "" {
		locks = append([]string{s.dialect.begin}, locks...)
	}
	for _, statement := range locks {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			stopped <- err
			return
		}
	}
	stopped <- nil
	<-leave
}

// UntilAddsUp is what Balance does with its statement.
var UntilAddsUp = untilAddsUp

// RowsRead tells how many rows the only session of a store reads for work, and for this question.
func RowsRead(s *Store, work func() error) (int64, error) {
	read := func() (sum int64, err error) {
		err = s.read(context.Background(), "Ping", func(q *query) error {
			var counters []struct{ Value int64 }
			if err := q.scan(&counters, "SHOW SESSION STATUS LIKE 'Handler_read%'"); err != nil {
				return err
			}
			sum = 0
			for _, c := range counters {
				sum += c.Value
			}
			return nil
		})
		return sum, err
	}
	before, err := read()
	if err != nil {
		return 0, err
	}
	if err := work(); err != nil {
		return 0, err
	}
	after, err := read()
	return after - before, err
}

// HoldListConnections takes all connections of lists until release.
func (s *Store) HoldListConnections(t testing.TB) (release func()) {
	var held []*sql.Conn
	for range s.lists.max {
		conn, err := s.lists.conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, conn)
	}
	return func() {
		for _, conn := range held {
			_ = conn.Close()
		}
	}
}
