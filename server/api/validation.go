package api

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"tranche/models"
)

// fault is one thing that is wrong with a request.
type fault struct {
	Field  string `json:"field"` // of the body, a path segment, a query parameter or a header; "body" for the whole of it
	Rule   string `json:"rule"`
	Detail string `json:"detail"`
}

// The rules that a field can break.
const (
	ruleRequired  = "required"
	ruleUnknown   = "unknown"
	ruleReadOnly  = "read-only"
	ruleRepeated  = "repeated"
	ruleType      = "type"
	ruleJSON      = "json"
	ruleRange     = "range"
	ruleLength    = "length"
	ruleText      = "text"
	ruleFormat    = "format"
	ruleEnum      = "enum"
	ruleOrder     = "order"
	ruleDepth     = "depth"
	fieldBody     = "body"
	fieldKey      = "Idempotency-Key"
	fieldIfMatch  = "If-Match"
	maxFaults     = 20  // named in one answer; a body can hold thousands
	maxFieldShown = 100 // bytes of a field's name that is echoed
)

// faults collects what is wrong with a request, so that a client hears it all at once.
type faults struct{ list []fault }

func (f *faults) add(field, rule, format string, args ...any) {
	if len(f.list) >= maxFaults {
		return
	}
	if len(field) > maxFieldShown {
		field = strings.ToValidUTF8(field[:maxFieldShown], "") + "…"
	}
	f.list = append(f.list, fault{Field: field, Rule: rule, Detail: fmt.Sprintf(format, args...)})
}

// err gives an *invalidError, or nil when nothing is wrong.
func (f *faults) err() error {
	if len(f.list) == 0 {
		return nil
	}
	return &invalidError{faults: f.list}
}

// invalidError is errInvalidRequest with all that is wrong.
type invalidError struct{ faults []fault }

func (e *invalidError) Error() string {
	first := e.faults[0]
	if n := len(e.faults); n > 1 {
		return fmt.Sprintf("%s: %s (and %d more)", first.Field, first.Detail, n-1)
	}
	return first.Field + ": " + first.Detail
}

func (e *invalidError) Unwrap() error { return errInvalidRequest }

// isOfferID reports whether s is 1 to 64 of A-Z, a-z, 0-9, _ and -.
func isOfferID(s string) bool {
	if s == "" || len(s) > maxOfferIDBytes {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-') {
			return false
		}
	}
	return true
}

const maxOfferIDBytes = 64

func (f *faults) offerID(field, s string) {
	if !isOfferID(s) {
		f.add(field, ruleFormat, "an offer id is 1 to %d of A-Z, a-z, 0-9, _ and -", maxOfferIDBytes)
	}
}

// subject checks a user's or an order's id.
func (f *faults) subject(field, s string) { f.text(field, s, 1, models.MaxSubjectBytes) }

// text checks the length in bytes, and that s is UTF-8 without control characters.
func (f *faults) text(field, s string, minBytes, maxBytes int) {
	switch {
	case len(s) < minBytes || len(s) > maxBytes:
		f.add(field, ruleLength, "%d to %d bytes, not %d", minBytes, maxBytes, len(s))
	case !isPlainText(s):
		f.add(field, ruleText, "UTF-8 without control characters")
	}
}

// isPlainText reports whether s is UTF-8 without control characters.
func isPlainText(s string) bool {
	for i, c := range s {
		if unicode.IsControl(c) {
			return false
		}
		if c == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(s[i:]); size == 1 {
				return false
			}
		}
	}
	return true
}

// isKey reports whether s is 1 to 255 bytes of visible ASCII.
func isKey(s string) bool { return isVisibleASCII(s, models.MaxKeyBytes) }

func isVisibleASCII(s string, maxBytes int) bool {
	if s == "" || len(s) > maxBytes {
		return false
	}
	for i := range len(s) {
		if s[i] < 0x21 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// key checks an idempotency key and gives it without quotes: "abc" is the form of the IETF's draft for the header, and is the key abc.
func (f *faults) key(field, s string) string {
	key, ok := unquoteKey(s)
	if !ok {
		f.add(field, ruleFormat, "a key in quotes must end with a quote; one within it, or a backslash, needs a backslash before it")
	} else if !isKey(key) {
		f.add(field, ruleFormat, "1 to %d characters from ! to ~ (no spaces)", models.MaxKeyBytes)
	}
	return key
}

// unquoteKey takes a string of RFC 9651 out of its quotes. A key without them is as it is.
func unquoteKey(s string) (key string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		return s, true
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), i == len(s)-1
		case c != '\\':
			b.WriteByte(c)
		case i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			b.WriteByte(s[i])
		default:
			return "", false
		}
	}
	return "", false
}
