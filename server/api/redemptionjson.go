package api

import (
	"cmp"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"tranche/internal/jsonout"
	"tranche/models"
)

// An appender is a body that writes its own JSON, byte for byte what encodeJSON would make of it. Only the answer that a node gives
// tens of thousands of times a second is worth one: reflection over its 17 members costs as much as parsing the request.
type appender interface {
	appendJSON(out []byte) ([]byte, error)
}

// appendJSON implements appender. A test holds it against the tags.
func (r *redemptionJSON) appendJSON(out []byte) ([]byte, error) {
	w := jsonWriter{jsonout.Members{Out: out}}
	w.text(`{"id":`, r.ID)
	w.text(`,"offer_id":`, r.OfferID)
	w.text(`,"user_id":`, r.UserID)
	optional(&w, `,"order_id":`, r.OrderID, (*jsonWriter).text)
	w.text(`,"idempotency_key":`, r.IdempotencyKey)
	w.Integer(`,"units":`, r.Units)
	w.Integer(`,"refunded_units":`, r.RefundedUnits)
	w.text(`,"state":`, r.State)
	optional(&w, `,"hold_expires_at":`, r.HoldExpiresAt, (*jsonWriter).instant)
	w.text(`,"recorded":`, r.Recorded)
	w.Out = strconv.AppendBool(append(w.Out, `,"late":`...), r.Late)
	optional(&w, `,"cart_id":`, r.CartID, (*jsonWriter).text)
	w.ID(`,"node_id":`, models.ID(r.NodeID))
	w.ID(`,"lease_id":`, models.ID(r.LeaseID))
	w.instant(`,"created_at":`, r.CreatedAt)
	optional(&w, `,"resolved_at":`, r.ResolvedAt, (*jsonWriter).instant)
	w.document(`,"metadata":`, r.Metadata)
	return append(w.Out, '}'), w.Err
}

// A jsonWriter writes members with the escapes that encodeJSON makes, too.
type jsonWriter struct{ jsonout.Members }

// optional writes null where there is no value.
func optional[T any](w *jsonWriter, name string, value *T, write func(*jsonWriter, string, T)) {
	if value == nil {
		w.Out = append(append(w.Out, name...), "null"...)
		return
	}
	write(w, name, *value)
}

func (w *jsonWriter) text(name, value string) {
	if strings.ContainsAny(value, "<>&") {
		w.any(name, value)
		return
	}
	w.Text(name, value)
}

func (w *jsonWriter) instant(name string, value instantJSON) {
	out := models.Micros(value).Time().AppendFormat(append(append(w.Out, name...), '"'), time.RFC3339Nano)
	w.Out = append(out, '"')
}

// document writes kept JSON, or null.
func (w *jsonWriter) document(name string, value jsontext.Value) {
	if value == nil {
		w.Out = append(append(w.Out, name...), "null"...)
		return
	}
	w.any(name, value)
}

func (w *jsonWriter) any(name string, value any) {
	escaped, err := json.Marshal(value, jsontext.EscapeForHTML(true))
	w.Out, w.Err = append(append(w.Out, name...), escaped...), cmp.Or(w.Err, err)
}
