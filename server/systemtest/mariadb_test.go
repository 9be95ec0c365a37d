package systemtest

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// mariadb is a server of one test's own, for what cannot be done to one that others use.
type mariadb struct {
	t       *testing.T
	dir     string
	port    int
	process *exec.Cmd
}

// startMariaDB makes an empty server and starts it. It has MySQL's default durability.
func startMariaDB(t *testing.T) *mariadb {
	t.Helper()
	m := &mariadb{t: t, dir: t.TempDir(), port: freePort(t)}
	install := exec.Command("mariadb-install-db", "--no-defaults", "--force", "--datadir="+m.data(), "--skip-test-db",
		"--auth-root-authentication-method=normal")
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	m.start()
	t.Cleanup(m.stop)
	return m
}

func (m *mariadb) data() string { return filepath.Join(m.dir, "data") }

func (m *mariadb) dsn(database string) string {
	return fmt.Sprintf("root@tcp(127.0.0.1:%d)/%s", m.port, database)
}

// start starts the process, the first time or again, and waits until it answers.
func (m *mariadb) start() {
	m.t.Helper()
	m.process = exec.Command(mariadbd(), "--no-defaults", "--user="+userName(m.t), "--datadir="+m.data(), "--tmpdir="+m.dir,
		"--socket="+filepath.Join(m.data(), "sock"), "--bind-address=127.0.0.1", fmt.Sprintf("--port=%d", m.port),
		"--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1")
	m.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pgid: shared.group}
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	db, err := sql.Open("mysql", m.dsn(""))
	if err != nil {
		m.t.Fatal(err)
	}
	defer db.Close()
	eventually(m.t, 30*time.Second, func(ctx context.Context) error { return db.PingContext(ctx) })
}

// stop shuts the server down in good order.
func (m *mariadb) stop() {
	_ = m.process.Process.Signal(syscall.SIGTERM)
	_ = m.process.Wait()
}

// createDatabase gives the DSN of a new database.
func (m *mariadb) createDatabase() string {
	m.t.Helper()
	db, err := sql.Open("mysql", m.dsn(""))
	if err != nil {
		m.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(m.t.Context(), "CREATE DATABASE tranche"); err != nil {
		m.t.Fatal(err)
	}
	return m.dsn("tranche")
}

// mariadbd gives the server's path: Debian keeps it where a plain user's PATH does not look.
func mariadbd() string {
	const debian = "/usr/sbin/mariadbd"
	if _, err := os.Stat(debian); err == nil {
		return debian
	}
	return "mariadbd"
}

// userName is the user to run as: as root the server wants to be told.
func userName(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}
