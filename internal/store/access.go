package store

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"
)

// readCA reads the certificates of an authority.
func readCA(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the certificates of the database's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the certificates of the database's authority: %s has none in PEM", file)
	}
	return pool, nil
}

// checkTLS finds what does not go together with an authority.
func checkTLS(cfg *mysql.Config) error {
	switch {
	case cfg.Net == "unix":
		return errors.New("a socket has no TLS: leave the database's authority out, or connect by tcp")
	case cfg.TLSConfig != "" && cfg.TLSConfig != "true":
		return fmt.Errorf("the DSN has tls=%s, and there is a file of an authority to check the database with: leave one of them out", cfg.TLSConfig)
	default:
		return nil
	}
}

// tlsWith is for a server that an authority vouches for.
func tlsWith(caFile, address string) (*tls.Config, error) {
	authority, err := readCA(caFile)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	return &tls.Config{RootCAs: authority, ServerName: host, MinVersion: tls.VersionTLS12}, nil
}

const (
	passwordPoll = 50 * time.Millisecond
	passwordWait = 2 * time.Second
)

// passwordFile is where the password is read from, for each new session. Some servers' passwords live for minutes only.
type passwordFile struct {
	path   string
	worked atomic.Pointer[string] // of the latest session
}

func (p *passwordFile) read() (string, error) {
	text, err := os.ReadFile(p.path)
	if err != nil {
		return "", fmt.Errorf("the database's password: %w", err)
	}
	password := strings.TrimRight(string(text), "\r\n")
	if password == "" {
		return "", fmt.Errorf("the database's password: %s is empty", p.path)
	}
	return password, nil
}

// awaitOther waits for a while until the file has another password than one that was denied. It does not try that one again: some
// servers lock a user after a few attempts.
func (p *passwordFile) awaitOther(ctx context.Context, denied string) (other string, changed bool) {
	ctx, cancel := context.WithTimeout(ctx, passwordWait)
	defer cancel()
	poll := time.NewTicker(passwordPoll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return "", false
		case <-poll.C:
			if now, err := p.read(); err == nil && now != denied {
				return now, true
			}
		}
	}
}

// connecting is what a denied session is noted under; what else is denied, is under the name of its call.
const connecting = "connecting"

// denials is what keeps this node out, in words: of the latest session, and of each kind of call that was denied and has not
// succeeded since.
type denials struct {
	log zerolog.Logger
	any atomic.Bool // now is not empty
	mu  sync.Mutex
	now map[string]string
}

// note takes in how something ended. Errors of other kinds say nothing about rights.
func (d *denials) note(what string, err error) {
	denied := denial(err)
	if err != nil && denied == "" || err == nil && !d.any.Load() {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch before := d.now[what]; {
	case denied == before, denied != "" && denied == d.now[connecting]: // a call for want of a session
	case denied == "":
		delete(d.now, what)
		d.log.Info().Str("call", what).Msg("the database lets this node in again")
	default:
		if d.now == nil {
			d.now = map[string]string{}
		}
		d.now[what] = denied
		d.log.Error().Str("call", what).Err(err).Msg(denied)
	}
	d.any.Store(len(d.now) > 0)
}

// denial says in words for everybody why an error is one that only who runs the database can mend: empty, if it is not. It names no user
// and no host, since anybody may ask for readiness.
func denial(err error) string {
	if answer, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return denialWords[answer.Number]
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate of the database is not one to trust"
	}
	if errors.Is(err, mysql.ErrNoTLS) {
		return "the database has no TLS"
	}
	return ""
}

var denialWords = map[uint16]string{
	1044: "the database user may not use this database (error 1044)",
	1045: wrongPassword + " (error 1045)",
	1049: "the server has no database of the name in the DSN (error 1049)",
	1130: "the database lets no client of this host in (error 1130)",
	1142: "the database user lacks a right on a table (error 1142)",
	1143: "the database user lacks a right on a column (error 1143)",
	1227: "the database user lacks a right (error 1227)",
	1698: wrongPassword + " (error 1698)",
	1820: "the database wants its user to set another password (error 1820)",
	1862: "the password of the database user has expired (error 1862)",
	3118: "the database user is locked (error 3118)",
	4151: "the database user is locked (error 4151)",
}

const wrongPassword = "the database denies this node's user or password"

func isWrongPassword(err error) bool { return strings.HasPrefix(denial(err), wrongPassword) }

// Denied says in words for everybody what the database denies this node: empty, if nothing.
func (s *Store) Denied() string {
	d := s.denials
	d.mu.Lock()
	defer d.mu.Unlock()
	if denied, ok := d.now[connecting]; ok {
		return denied
	}
	for _, denied := range d.now {
		return denied
	}
	return ""
}
