package api

import (
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/models"
)

// An appender is a body that writes its own JSON, byte for byte what encodeJSON would make of it. Only the answer that a node gives
// tens of thousands of times a second is worth one: reflection over its 17 members costs as much as parsing the request.
type appender interface {
	appendJSON(out []byte) []byte
}

// appendJSON implements appender. A test holds it against the tags.
func (r *redemptionJSON) appendJSON(out []byte) []byte {
	out = appendText(append(out, `{"id":`...), r.ID)
	out = appendText(append(out, `,"offer_id":`...), r.OfferID)
	out = appendText(append(out, `,"user_id":`...), r.UserID)
	out = appendOptional(append(out, `,"order_id":`...), r.OrderID, appendText)
	out = appendText(append(out, `,"idempotency_key":`...), r.IdempotencyKey)
	out = strconv.AppendInt(append(out, `,"units":`...), r.Units, 10)
	out = strconv.AppendInt(append(out, `,"refunded_units":`...), r.RefundedUnits, 10)
	out = appendText(append(out, `,"state":`...), r.State)
	out = appendOptional(append(out, `,"hold_expires_at":`...), r.HoldExpiresAt, appendInstant)
	out = appendText(append(out, `,"recorded":`...), r.Recorded)
	out = strconv.AppendBool(append(out, `,"late":`...), r.Late)
	out = appendOptional(append(out, `,"cart_id":`...), r.CartID, appendText)
	out = appendID(append(out, `,"node_id":`...), r.NodeID)
	out = appendID(append(out, `,"lease_id":`...), r.LeaseID)
	out = appendInstant(append(out, `,"created_at":`...), r.CreatedAt)
	out = appendOptional(append(out, `,"resolved_at":`...), r.ResolvedAt, appendInstant)
	out = appendRaw(append(out, `,"metadata":`...), r.Metadata)
	return append(out, '}')
}

func appendOptional[T any](out []byte, value *T, with func([]byte, T) []byte) []byte {
	if value == nil {
		return append(out, "null"...)
	}
	return with(out, *value)
}

func appendText(out []byte, text string) []byte {
	if !strings.ContainsAny(text, "<>&") {
		out, _ = jsontext.AppendQuote(out, text) // fails only on invalid UTF-8, which no request gets in
		return out
	}
	quoted, _ := json.Marshal(text, jsontext.EscapeForHTML(true))
	return append(out, quoted...)
}

func appendID(out []byte, id idJSON) []byte {
	out, _ = models.ID(id).AppendText(append(out, '"')) // never fails
	return append(out, '"')
}

func appendInstant(out []byte, i instantJSON) []byte {
	return append(models.Micros(i).Time().AppendFormat(append(out, '"'), time.RFC3339Nano), '"')
}

// appendRaw writes a document as encodeJSON does, which escapes what is within it, too.
func appendRaw(out []byte, document jsontext.Value) []byte {
	if document == nil {
		return append(out, "null"...)
	}
	escaped, _ := json.Marshal(document, jsontext.EscapeForHTML(true)) // it was read as JSON
	return append(out, escaped...)
}
