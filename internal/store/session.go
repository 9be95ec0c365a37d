package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
)

// A sessionSetting is a variable that each session sets, what it must be afterwards, and why.
type sessionSetting struct{ variable, literal, want, why string }

// taken reports whether a variable that reads so is as it must be. Servers show what is on in two ways.
func (s *sessionSetting) taken(value string) bool {
	return value == s.want || s.want == "ON" && value == "1"
}

const charset = "utf8mb4"

var sessionSettings = [...]sessionSetting{
	{"sql_mode", "'" + sqlMode + "'", sqlMode, "values that do not fit would be cut"},
	{"time_zone", "'+00:00'", "+00:00", "times would be shown in the server's zone"},
	{"autocommit", "1", "ON", "a read would begin a transaction that never ends"},
	{"wait_timeout", seconds(sessionSilence), seconds(sessionSilence), "a node that stops in mid-transaction keeps its locks for longer; let the server end transactions after 5 s"},
	{"innodb_lock_wait_timeout", seconds(lockWait), seconds(lockWait), "a request waits longer for a locked row than it has time"},
}

const sqlMode = "STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"

// syncWait is a variable of Galera. Set to 1, a read waits until this member has applied what others had committed before.
const syncWait = "wsrep_sync_wait"

func seconds(d time.Duration) string { return fmt.Sprint(int(d / time.Second)) }

// isolations are the levels that a session may have, as SQL spells them.
var isolations = map[sql.IsolationLevel]string{
	sql.LevelDefault:        "READ COMMITTED",
	sql.LevelReadCommitted:  "READ COMMITTED",
	sql.LevelRepeatableRead: "REPEATABLE READ",
	sql.LevelSerializable:   "SERIALIZABLE",
}

// A connector opens sessions, with the password and the certificates that its files have by then, and sets up each session once:
// sql.TxOptions would cost a round trip per transaction.
type connector struct {
	base      *mysql.Config
	caFile    string // empty: as the DSN says
	password  *passwordFile
	isolation string
	writes    bool // its sessions run transactions
	denials   *denials
	health    Health
	noGalera  *atomic.Bool // the server has no such variable
}

func newConnector(cfg *Config, d *denials) (*connector, error) {
	base, err := mysqlConfig(cfg.DSN)
	if err != nil {
		return nil, err
	}
	isolation, ok := isolations[cfg.Isolation]
	if !ok {
		return nil, fmt.Errorf("isolation level %s: want READ COMMITTED or stronger", cfg.Isolation)
	}
	c := &connector{base: base, caFile: cfg.CAFile, isolation: isolation, denials: d, health: cfg.Health, noGalera: new(atomic.Bool)}
	if c.caFile != "" {
		if err := checkTLS(base); err != nil {
			return nil, err
		}
		if _, err := readCA(c.caFile); err != nil {
			return nil, err
		}
	}
	if cfg.PasswordFile != "" {
		if base.Passwd != "" {
			return nil, errors.New("the DSN has a password, and there is a file of one: leave one of them out")
		}
		c.password = &passwordFile{path: cfg.PasswordFile}
		if _, err := c.password.read(); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// writing is a connector for sessions of transactions. With autocommit off the first statement begins one, which saves a round trip.
func (c *connector) writing() *connector {
	w := *c
	w.writes, w.base = true, c.base.Clone()
	w.base.Params["autocommit"] = "0"
	return &w
}

// errAutocommit: each statement would be a transaction of its own.
var errAutocommit = errors.New("the database does not let a session turn autocommit off")

// beginsTransactions fails unless the session's autocommit is off. A proxy may swallow what a session sets.
func beginsTransactions(ctx context.Context, conn driver.QueryerContext) error {
	rows, err := conn.QueryContext(ctx, "SELECT 1 FROM DUAL WHERE @@autocommit = 0", nil)
	if err != nil {
		return err
	}
	err = rows.Next(make([]driver.Value, 1))
	if errors.Is(err, io.EOF) {
		err = errAutocommit
	}
	return errors.Join(err, rows.Close())
}

// migrating is a connector for sessions that change tables: they take long, may be silent, and give way to who reads a table.
func (c *connector) migrating() *connector {
	m := *c
	m.base = c.base.Clone()
	m.base.ReadTimeout, m.base.WriteTimeout = migrateTimeout, migrateTimeout
	m.base.Params["wait_timeout"] = seconds(migrateTimeout)
	m.base.Params["lock_wait_timeout"] = seconds(tableWait)
	return &m
}

// Driver implements driver.Connector.
func (c *connector) Driver() driver.Driver { return &mysql.MySQLDriver{} }

// Connect implements driver.Connector.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.logIn(ctx)
	if err != nil {
		return nil, err
	}
	err = c.setUp(ctx, conn.(driver.ExecerContext))
	if err == nil && c.writes {
		err = beginsTransactions(ctx, conn.(driver.QueryerContext))
	}
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return conn, nil
}

// logIn opens a session. The password's file and the server do not change at the same moment: while the newest password is denied,
// the one that worked last may still do, or the file is about to change.
func (c *connector) logIn(ctx context.Context) (driver.Conn, error) {
	if c.password == nil {
		return c.open(ctx, c.base.Passwd)
	}
	newest, err := c.password.read()
	if err != nil {
		return nil, err
	}
	conn, err := c.open(ctx, newest)
	if !isWrongPassword(err) {
		return conn, err
	}
	if worked := c.password.worked.Load(); worked != nil && *worked != newest {
		for _, password := range [...]string{*worked, newest} { // the server may have changed between the two
			if conn, err := c.open(ctx, password); !isWrongPassword(err) {
				return conn, err
			}
		}
	}
	if newer, changed := c.password.awaitOther(ctx, newest); changed {
		return c.open(ctx, newer)
	}
	return nil, err
}

func (c *connector) open(ctx context.Context, password string) (driver.Conn, error) {
	cfg := c.base.Clone()
	cfg.Passwd = password
	if c.caFile != "" {
		var err error
		if cfg.TLS, err = tlsWith(c.caFile, cfg.Addr); err != nil {
			return nil, err
		}
	}
	dialer, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.Connect(ctx)
	c.denials.note(connecting, err)
	if why := isFull(err); why != "" {
		c.health.Full(why)
	}
	if err == nil && c.password != nil {
		c.password.worked.Store(&password)
	}
	return conn, err
}

// setUp does what a DSN can't say alike on all servers.
func (c *connector) setUp(ctx context.Context, conn driver.ExecerContext) error {
	if _, err := conn.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL "+c.isolation, nil); err != nil || c.noGalera.Load() {
		return err
	}
	_, err := conn.ExecContext(ctx, "SET SESSION "+syncWait+" = 1", nil)
	if isUnknownVariable(err) {
		c.noGalera.Store(true)
		return nil
	}
	return err
}

func isUnknownVariable(err error) bool {
	answer, ok := errors.AsType[*mysql.MySQLError](err)
	return ok && answer.Number == 1193
}

// readBack compares a session's variables with what was set, and warns of each that the server has swallowed. It does so once.
func (s *Store) readBack(ctx context.Context) error {
	if s.dialect.connector == nil || s.sessionsRead.Load() {
		return nil
	}
	is, err := s.variables(ctx)
	if err != nil {
		return err
	}
	for _, want := range s.dialect.connector.wanted() {
		if value, known := is[want.variable]; known && !want.taken(value) {
			s.log.Warn().Str("variable", want.variable).Str("wanted", want.want).Str("is", value).Str("so", want.why).
				Msg("the database does not take a session setting")
		}
	}
	s.sessionsRead.Store(true)
	return nil
}

// wanted is what a session's variables must be, under the names that they have on any server.
func (c *connector) wanted() []sessionSetting {
	isolation := strings.ReplaceAll(c.isolation, " ", "-")
	const others = "changes of others would be seen too late or too early"
	return append(sessionSettings[:],
		sessionSetting{variable: "character_set_client", want: charset, why: "a quoted text could end early"},
		sessionSetting{variable: "tx_isolation", want: isolation, why: others},
		sessionSetting{variable: "transaction_isolation", want: isolation, why: others},
		sessionSetting{variable: syncWait, want: "1", why: "a read on another member may miss the newest commits"},
	)
}

func (s *Store) variables(ctx context.Context) (map[string]string, error) {
	var names []string
	for _, want := range s.dialect.connector.wanted() {
		names = append(names, want.variable)
	}
	var rows []struct{ VariableName, Value string }
	err := s.onConn(ctx, s.reads, func(q *query) error {
		return q.scan(&rows, "SHOW SESSION VARIABLES WHERE Variable_name IN ?", names)
	})
	values := map[string]string{}
	for _, r := range rows {
		values[strings.ToLower(r.VariableName)] = r.Value
	}
	return values, err
}
