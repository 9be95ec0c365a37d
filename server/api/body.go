package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	maxBodyBytes = 64 << 10
	maxDepth     = 32 // of nested objects and arrays in a body
	maxMembers   = 64 // of the body itself; no request has nearly as many
)

// object is a request body: a JSON object of which no member is given twice. Read it with its methods, one call per member the
// request may have; close then refuses what was not asked for. Faults are collected on the way.
type object struct {
	faults
	members []member
}

type member struct {
	name  []byte
	value jsontext.Value
	read  bool
}

// readObject reads the body of a request. Where the body is optional, an empty one is an empty object.
func (x *exchange) readObject(o *object, optional bool) error {
	body, err := x.readBody()
	if err != nil {
		return err
	}
	if len(body) == 0 && optional {
		return nil
	}
	if !isJSON(x.http.Header) {
		return errUnsupportedMediaType
	}
	if isTooDeep(body) {
		o.add(fieldBody, ruleDepth, "at most %d objects and arrays within each other", maxDepth)
		return o.err()
	}
	if err := o.parse(body); err != nil {
		o.add(fieldBody, ruleJSON, "%s", explainJSON(err))
		return o.err()
	}
	return nil
}

// readBody gives the whole body, if it comes within the request's time.
func (x *exchange) readBody() ([]byte, error) {
	r := x.http
	if r.ContentLength > maxBodyBytes {
		return nil, errBodyTooLarge
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	// A body that comes in drops must not keep its client waiting for longer than that client wants. Once the body is there, the deadline must
	// go: net/http takes one that passes for a client that has gone.
	connection := http.NewResponseController(x.gin.Writer)
	deadline, _ := x.ctx.Deadline()
	_ = connection.SetReadDeadline(deadline)
	// No writer is given: net/http could not see through gin's. writeProblem closes the connection after too large a body.
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, maxBodyBytes))
	if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(x.ctx.Err(), context.DeadlineExceeded) {
		x.slow = true
		return nil, errSlowBody
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, errBodyTooLarge
	}
	if err != nil {
		var f faults
		f.add(fieldBody, ruleLength, "the body ended before it was complete")
		return nil, f.err()
	}
	_ = connection.SetReadDeadline(time.Time{})
	x.read = true
	return body, nil
}

// isJSON reports whether the body is declared to be JSON, in UTF-8 and not compressed.
func isJSON(h http.Header) bool {
	if encoding := h.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return false
	}
	contentType := h.Get("Content-Type")
	if contentType == "application/json" {
		return true
	}
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err != nil || mediaType != "application/json" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// isTooDeep counts brackets outside of strings. It comes before the tokenizer, which is recursive.
func isTooDeep(body []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(body); i++ {
		switch c := body[i]; {
		case c == '"':
			inString = !inString
		case inString:
			if c == '\\' {
				i++
			}
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// parse splits an object into its members. The tokenizer refuses duplicate names and invalid UTF-8, at any depth.
func (o *object) parse(body []byte) error {
	tokens := jsontext.NewDecoder(bytes.NewBuffer(body))
	start, err := tokens.ReadToken()
	if err != nil {
		return err
	}
	if start.Kind() != '{' {
		return errNotAnObject
	}
	for tokens.PeekKind() == '"' {
		name, err := readRaw(tokens, body)
		if err != nil {
			return err
		}
		value, err := readRaw(tokens, body)
		if err != nil {
			return err
		}
		if len(o.members) == maxMembers {
			return errTooManyMembers
		}
		o.members = append(o.members, member{name: unquote(name), value: value})
	}
	if _, err := tokens.ReadToken(); err != nil { // the closing brace
		return err
	}
	if _, err := tokens.ReadToken(); !errors.Is(err, io.EOF) {
		return errTrailingData
	}
	return nil
}

var (
	errNotAnObject    = errors.New("the body must be a JSON object")
	errTooManyMembers = fmt.Errorf("more than %d members", maxMembers)
	errTrailingData   = errors.New("something follows the object")
)

// readRaw reads the next value as the part of body that it is: what the tokenizer returns is good only until its next call.
func readRaw(tokens *jsontext.Decoder, body []byte) (jsontext.Value, error) {
	value, err := tokens.ReadValue()
	if err != nil {
		return nil, err
	}
	end := int(tokens.InputOffset())
	return jsontext.Value(body[end-len(value) : end]), nil
}

// unquote gives the text of a valid JSON string: a part of it where nothing is escaped, else a copy.
func unquote(raw jsontext.Value) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	text, _ := jsontext.AppendUnquote(nil, raw) // cannot fail: the tokenizer has read it
	return text
}

// explainJSON says what is wrong with a text that is not JSON as we take it.
func explainJSON(err error) string {
	var syntactic *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName) && errors.As(err, &syntactic):
		return fmt.Sprintf("a name is given twice in one object, at byte %d", syntactic.ByteOffset)
	case errors.As(err, &syntactic):
		return fmt.Sprintf("not valid JSON in UTF-8, at byte %d", syntactic.ByteOffset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "a JSON object is needed, and the body is empty or ends within it"
	default:
		return err.Error()
	}
}
