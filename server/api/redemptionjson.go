package api

import (
	"cmp"
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
	appendJSON(out []byte) ([]byte, error)
}

// appendJSON implements appender. A test holds it against the tags.
func (r *redemptionJSON) appendJSON(out []byte) ([]byte, error) {
	w := jsonWriter{out: out}
	w.text(`{"id":`, r.ID)
	w.text(`,"offer_id":`, r.OfferID)
	w.text(`,"user_id":`, r.UserID)
	optional(&w, `,"order_id":`, r.OrderID, (*jsonWriter).text)
	w.text(`,"idempotency_key":`, r.IdempotencyKey)
	w.integer(`,"units":`, r.Units)
	w.integer(`,"refunded_units":`, r.RefundedUnits)
	w.text(`,"state":`, r.State)
	optional(&w, `,"hold_expires_at":`, r.HoldExpiresAt, (*jsonWriter).instant)
	w.text(`,"recorded":`, r.Recorded)
	w.out = strconv.AppendBool(append(w.out, `,"late":`...), r.Late)
	optional(&w, `,"cart_id":`, r.CartID, (*jsonWriter).text)
	w.id(`,"node_id":`, r.NodeID)
	w.id(`,"lease_id":`, r.LeaseID)
	w.instant(`,"created_at":`, r.CreatedAt)
	optional(&w, `,"resolved_at":`, r.ResolvedAt, (*jsonWriter).instant)
	w.document(`,"metadata":`, r.Metadata)
	return append(w.out, '}'), w.err
}

// A jsonWriter appends members, each behind the name that it is given with.
type jsonWriter struct {
	out []byte
	err error // the first one
}

// optional writes null where there is no value.
func optional[T any](w *jsonWriter, name string, value *T, write func(*jsonWriter, string, T)) {
	if value == nil {
		w.out = append(append(w.out, name...), "null"...)
		return
	}
	write(w, name, *value)
}

func (w *jsonWriter) text(name, value string) {
	if strings.ContainsAny(value, "<>&") {
		w.any(name, value)
		return
	}
	out, err := jsontext.AppendQuote(append(w.out, name...), value)
	w.out, w.err = out, cmp.Or(w.err, err)
}

func (w *jsonWriter) integer(name string, value int64) {
	w.out = strconv.AppendInt(append(w.out, name...), value, 10)
}

func (w *jsonWriter) id(name string, value idJSON) {
	out, _ := models.ID(value).AppendText(append(append(w.out, name...), '"')) // never fails
	w.out = append(out, '"')
}

func (w *jsonWriter) instant(name string, value instantJSON) {
	out := models.Micros(value).Time().AppendFormat(append(append(w.out, name...), '"'), time.RFC3339Nano)
	w.out = append(out, '"')
}

// document writes kept JSON, or null.
func (w *jsonWriter) document(name string, value jsontext.Value) {
	if value == nil {
		w.out = append(append(w.out, name...), "null"...)
		return
	}
	w.any(name, value)
}

// any writes a value with the escapes that encodeJSON makes.
func (w *jsonWriter) any(name string, value any) {
	escaped, err := json.Marshal(value, jsontext.EscapeForHTML(true))
	w.out, w.err = append(append(w.out, name...), escaped...), cmp.Or(w.err, err)
}
