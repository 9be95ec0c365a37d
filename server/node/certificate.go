package node

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/rs/zerolog"
)

// certificateEvery is how often, at most, handshakes look whether the certificate's files have changed.
const certificateEvery = time.Second

// certificate is the server's certificate, read again when its files change. It is safe for concurrent use.
type certificate struct {
	certFile, keyFile string
	now               func() time.Time
	log               zerolog.Logger

	mu     sync.Mutex
	pair   *tls.Certificate
	read   [2]stamp // of the files that pair, or the latest attempt, was read from
	looked time.Time
}

// stamp is what changes when a file does.
type stamp struct {
	modified time.Time
	size     int64
}

// loadCertificate reads the two files, which must fit each other.
func loadCertificate(certFile, keyFile string, now func() time.Time, log zerolog.Logger) (*certificate, error) {
	c := &certificate{certFile: certFile, keyFile: keyFile, now: now, log: log}
	stamps, err := c.stamps()
	if err == nil {
		err = c.load(stamps)
	}
	if err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return c, nil
}

// get implements tls.Config.GetCertificate. Files that can't be used change nothing: the certificate that was read before goes on.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.looked) < certificateEvery {
		return c.pair, nil
	}
	c.looked = now
	stamps, err := c.stamps()
	if err == nil && stamps == c.read {
		return c.pair, nil
	}
	if err == nil {
		err = c.load(stamps)
	}
	if err != nil {
		c.log.Error().Err(err).Msg("the new TLS certificate can't be used; the one before stays")
	} else {
		c.log.Info().Str("file", c.certFile).Msg("TLS certificate read again")
	}
	return c.pair, nil
}

func (c *certificate) load(stamps [2]stamp) error {
	c.read = stamps // a pair that can't be used is not tried again until it changes
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", c.certFile, c.keyFile, err)
	}
	c.pair = &pair
	return nil
}

func (c *certificate) stamps() (stamps [2]stamp, err error) {
	for i, name := range []string{c.certFile, c.keyFile} {
		info, err := os.Stat(name)
		if err != nil {
			return stamps, err
		}
		stamps[i] = stamp{info.ModTime(), info.Size()}
	}
	return stamps, nil
}
