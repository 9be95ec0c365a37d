package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// issue writes a new certificate with its key, and gives what a client trusts it by.
func issue(t *testing.T, certFile, keyFile string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "tranche"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyBytes})
	if err := errors.Join(os.WriteFile(certFile, certPEM, 0o600), os.WriteFile(keyFile, keyPEM, 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return pool
}

// ask makes one request on a connection of its own.
func ask(n *running, trusted *x509.CertPool) error {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: trusted, ServerName: "localhost"},
	}}
	answer, err := client.Get("https://" + n.Addr().String() + "/healthz")
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

func TestD3TheCertificateIsReadAgainWhenItChanges(t *testing.T) {
	c, folder := config(t), t.TempDir()
	c.TLSCert, c.TLSKey = filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	trusted := issue(t, c.TLSCert, c.TLSKey)
	n := start(t, c)
	if err := ask(n, trusted); err != nil {
		t.Fatal(err)
	}
	renewed := issue(t, c.TLSCert, c.TLSKey)
	n.until("the new certificate to be served", func() bool { return ask(n, renewed) == nil })

	if err := os.WriteFile(c.TLSCert, []byte("half a cert"), 0o600); err != nil {
		t.Fatal(err)
	}
	n.until("the broken file to be tried", func() bool {
		if err := ask(n, renewed); err != nil {
			t.Fatalf("a file that can't be used ended service: %v", err)
		}
		n.certificate.mu.Lock()
		defer n.certificate.mu.Unlock()
		return n.certificate.read[0].size == int64(len("half a cert"))
	})
	if err := ask(n, renewed); err != nil {
		t.Errorf("the certificate that was read before does not serve any more: %v", err)
	}
}

func TestD3ACertificateThatCannotBeUsedEndsTheStart(t *testing.T) {
	folder := t.TempDir()
	cert, key := filepath.Join(folder, "cert.pem"), filepath.Join(folder, "key.pem")
	issue(t, cert, filepath.Join(folder, "other.pem"))
	issue(t, filepath.Join(folder, "other-cert.pem"), key)
	for name, spoil := range map[string]func(*Config){
		"no key":                   func(c *Config) { c.TLSCert = cert },
		"no certificate":           func(c *Config) { c.TLSKey = key },
		"a key of another":         func(c *Config) { c.TLSCert, c.TLSKey = cert, key },
		"a file that is not there": func(c *Config) { c.TLSCert, c.TLSKey = cert, filepath.Join(folder, "none.pem") },
	} {
		c := config(t)
		spoil(&c)
		if n, err := New(c); err == nil {
			n.close()
			t.Errorf("%s: accepted", name)
		}
	}
}
