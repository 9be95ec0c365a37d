package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

const challenge = `Bearer realm="tranche"`

// keyring holds the sums of the configured keys. Comparing sums takes the same time whatever the lengths are.
type keyring struct {
	admin, checkout       [sha256.Size]byte
	hasAdmin, hasCheckout bool
}

func newKeyring(keys Keys) keyring {
	return keyring{
		admin:       sha256.Sum256([]byte(keys.Admin)),
		checkout:    sha256.Sum256([]byte(keys.Checkout)),
		hasAdmin:    keys.Admin != "",
		hasCheckout: keys.Checkout != "",
	}
}

func (k *keyring) empty() bool { return !k.hasAdmin && !k.hasCheckout }

// scopeOf gives what a key allows; scopeOpen is what no key allows.
func (k *keyring) scopeOf(key string) scope {
	sum := sha256.Sum256([]byte(key))
	isAdmin := subtle.ConstantTimeCompare(sum[:], k.admin[:]) == 1
	isCheckout := subtle.ConstantTimeCompare(sum[:], k.checkout[:]) == 1
	switch {
	case isAdmin && k.hasAdmin:
		return scopeAdmin
	case isCheckout && k.hasCheckout:
		return scopeCheckout
	default:
		return scopeOpen
	}
}

// admit decides whether the request may be served at all. Unknown paths need no key to be told so: which ones there are is in the
// API document, which is open.
func (s *server) admit(x *exchange) error {
	if s.keys.empty() {
		if x.known = isLocal(x.http); !x.known {
			return errNotLocal
		}
		return nil
	}
	has, key, shown := scopeOpen, "", false
	if key, shown = bearer(x.http.Header); shown {
		has = s.keys.scopeOf(key)
	}
	x.known = has != scopeOpen
	switch needed := x.route.scope; {
	case has >= needed, needed == scopeLocal && isLocal(x.http):
		return nil
	case !shown:
		return errUnauthenticated
	case !x.known:
		return errWrongKey
	default:
		return errForbidden
	}
}

// bearer gives the key of the Authorization header, of which there must be one.
func bearer(h http.Header) (string, bool) {
	values := h["Authorization"]
	if len(values) != 1 {
		return "", false
	}
	scheme, key, found := strings.Cut(values[0], " ")
	key = strings.Trim(key, " ")
	return key, found && key != "" && strings.EqualFold(scheme, "Bearer")
}

// isLocal reports whether a request was sent by a program on this machine, straight to this server.
//
// A page of another site in this machine's browser has its own Origin, and one whose name was made to resolve to this machine has its own
// Host. A proxy on this machine says that it forwards: by a header, or because it still speaks HTTP/1.0 to what is behind it, as nginx does.
func isLocal(r *http.Request) bool {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !peer.Addr().Unmap().IsLoopback() || !isLoopbackHost(r.Host) || !r.ProtoAtLeast(1, 1) {
		return false
	}
	for name := range r.Header {
		if name == "Forwarded" || name == "Via" || name == "X-Real-Ip" || strings.HasPrefix(name, "X-Forwarded") {
			return false
		}
	}
	for _, origin := range r.Header["Origin"] {
		u, err := url.Parse(origin)
		if err != nil || !strings.EqualFold(u.Host, r.Host) {
			return false
		}
	}
	return true
}

// isLoopbackHost reports whether a Host header, with or without port, names this machine.
func isLoopbackHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"))
	return err == nil && ip.Unmap().IsLoopback()
}
