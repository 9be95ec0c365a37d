package store_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tranche/internal/store"
	"tranche/models"
)

// greet is what a server sends first: protocol 10, a version, a session's number, 20 bytes to mix into the password, and what it can
// do, TLS among it.
var greet = []byte("\x49\x00\x00\x00\x0a" + "8.0.0\x00" + "\x01\x00\x00\x00" + "saltsalt" + "\x00" + "\x00\x8a" + "\x21" + "\x02\x00" +
	"\x08\x00" + "\x15" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" + "saltsaltsalt\x00" + "mysql_native_password\x00")

// encrypted begins sessions with TLS, and tells how far each of them came: nil is a client that goes on.
func encrypted(t *testing.T, certificate tls.Certificate) (address string, began <-chan error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	results, done := make(chan error, 16), make(chan bool)
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			results <- begin(conn, certificate)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String(), results
}

func begin(conn net.Conn, certificate tls.Certificate) error {
	if _, err := conn.Write(greet); err != nil {
		return err
	}
	asked := make([]byte, 36) // the first packet of a client that wants TLS
	if _, err := io.ReadFull(conn, asked); err != nil {
		return errors.Join(errors.New("no TLS was asked for"), err)
	}
	session := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
	_, err := bufio.NewReader(session).Peek(1)
	return err
}

// authority makes a certificate for this machine that vouches for itself, and writes it to a file.
func authority(t *testing.T) (file string, certificate tls.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, tls.Certificate{Certificate: [][]byte{cert}, PrivateKey: key}
}

func TestD3OnlyAServerThatTheAuthorityVouchesForIsTrusted(t *testing.T) {
	right, certificate := authority(t)
	wrong, _ := authority(t)
	address, began := encrypted(t, certificate)
	ping := func(caFile string) (s *store.Store, inClient, inServer error) {
		s = prepare(t, store.Config{DSN: "u:p@tcp(" + address + ")/d", CAFile: caFile})
		return s, s.Ping(t.Context()), <-began
	}
	if _, _, err := ping(right); err != nil {
		t.Errorf("with the right authority, the session ends before the client logs in: %v", err)
	}
	s, inClient, err := ping(wrong)
	if err == nil || !errors.Is(inClient, models.ErrLedgerUnavailable) || !strings.Contains(s.Denied(), "certificate") {
		t.Errorf("with another authority, the client says %v (%s), the server %v", inClient, s.Denied(), err)
	}
}

func TestD3FilesThatCannotBeUsedAreRefusedByTheirNames(t *testing.T) {
	folder := t.TempDir()
	empty := filepath.Join(folder, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ca, _ := authority(t)
	const dsn = "u@tcp(h:3306)/d"
	for want, cfg := range map[string]store.Config{
		"/no/such/ca":       {DSN: dsn, CAFile: "/no/such/ca"},
		empty + " has none": {DSN: dsn, CAFile: empty},
		"/no/such/password": {DSN: dsn, PasswordFile: "/no/such/password"},
		empty + " is empty": {DSN: dsn, PasswordFile: empty},
		"has a password":    {DSN: "u:p@tcp(h:3306)/d", PasswordFile: empty},
		"tls=skip-verify":   {DSN: dsn + "?tls=skip-verify", CAFile: ca},
		"a socket":          {DSN: "u@unix(/s)/d", CAFile: ca},
	} {
		s, err := store.Open(cfg)
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
