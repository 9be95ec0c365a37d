package api

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"tranche/models"
)

// field is a member as a client gave it: absent, null, or a value. A member that is wrong counts as absent, and is among the faults.
type field[T any] struct {
	present bool
	null    bool
	value   T
}

// or gives the value, or otherwise where there is none.
func (f field[T]) or(otherwise T) T {
	if f.present && !f.null {
		return f.value
	}
	return otherwise
}

// pointer gives nil for absent and null.
func (f field[T]) pointer() *T {
	if !f.present || f.null {
		return nil
	}
	return &f.value
}

// into changes dst if there is a value.
func (f field[T]) into(dst *T) { *dst = f.or(*dst) }

// intoPointer changes dst unless the member is absent; null makes it nil.
func (f field[T]) intoPointer(dst **T) {
	if f.present {
		*dst = f.pointer()
	}
}

// nullness says whether null is a value of a member.
type nullness bool

const (
	notNull nullness = false
	orNull  nullness = true
)

// find gives the member of a name, marking it as read.
func (o *object) find(name string) *member {
	for i := range o.members {
		if m := &o.members[i]; string(m.name) == name {
			m.read = true
			return m
		}
	}
	return nil
}

// require notes members that must be there.
func (o *object) require(names ...string) {
	for _, name := range names {
		if o.find(name) == nil {
			o.add(name, ruleRequired, "is required")
		}
	}
}

// readOnly refuses members that a client knows from answers and cannot set here.
func (o *object) readOnly(names ...string) {
	for _, name := range names {
		if o.find(name) != nil {
			o.add(name, ruleReadOnly, "cannot be set here")
		}
	}
}

// close refuses members that nobody asked for, and gives all that is wrong with the body.
func (o *object) close() error {
	for i := range o.members {
		if m := &o.members[i]; !m.read {
			o.add(string(m.name), ruleUnknown, "is not a field of this request")
		}
	}
	return o.err()
}

// take gives the raw value of a member if it is there and of the kind that is meant; null is answered here.
func take[T any](o *object, name string, nulls nullness, kind jsontext.Kind, what string) (raw jsontext.Value, f field[T]) {
	m := o.find(name)
	if m == nil {
		return nil, f
	}
	switch got := m.value.Kind(); {
	case got == kind:
		return m.value, f
	case got == 'n' && nulls == orNull:
		f.present, f.null = true, true
	default:
		o.add(name, ruleType, "must be %s", what)
	}
	return nil, f
}

// text reads a text and applies check, which adds what is wrong with it to the faults.
func (o *object) text(name string, nulls nullness, check func(f *faults, field, value string)) field[string] {
	raw, f := take[string](o, name, nulls, '"', "a text")
	if raw == nil {
		return f
	}
	value, before := string(unquote(raw)), len(o.list)
	check(&o.faults, name, value)
	if len(o.list) > before {
		return field[string]{}
	}
	return field[string]{present: true, value: value}
}

// subject reads a user's or an order's id.
func (o *object) subject(name string, nulls nullness) field[string] {
	return o.text(name, nulls, (*faults).subject)
}

// integer reads a whole number written as one: 1.0 and 1e3 are refused, as readers disagree on whether they are integers.
func (o *object) integer(name string, nulls nullness, least, most int64) field[int64] {
	raw, f := take[int64](o, name, nulls, '0', "an integer")
	if raw == nil {
		return f
	}
	if bytes.ContainsAny(raw, ".eE") {
		o.add(name, ruleType, "must be an integer, written without fraction and exponent")
		return f
	}
	n, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil || n < least || n > most {
		o.add(name, ruleRange, "%d to %d", least, most)
		return f
	}
	return field[int64]{present: true, value: n}
}

func (o *object) boolean(name string) field[bool] {
	m := o.find(name)
	if m == nil {
		return field[bool]{}
	}
	kind := m.value.Kind()
	if kind != 't' && kind != 'f' {
		o.add(name, ruleType, "must be true or false")
		return field[bool]{}
	}
	return field[bool]{present: true, value: kind == 't'}
}

// instant reads an RFC 3339 time with any offset, kept to the microsecond.
func (o *object) instant(name string, nulls nullness) field[models.Micros] {
	raw, f := take[models.Micros](o, name, nulls, '"', "a time")
	if raw == nil {
		return f
	}
	t, err := parseInstant(string(unquote(raw)))
	if err != nil {
		o.add(name, ruleFormat, "must be a time as in RFC 3339, such as 2026-11-27T08:00:00Z")
		return f
	}
	if year := t.UTC().Year(); year < 1970 || year > 9999 {
		o.add(name, ruleRange, "must lie in the years 1970 to 9999")
		return f
	}
	return field[models.Micros]{present: true, value: models.MicrosOf(t)}
}

// parseInstant adds what package time lets pass: an hour of one digit, a decimal comma, an offset of more than a day.
func parseInstant(text string) (time.Time, error) {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, err
	}
	hourEnd, zone := len("2006-01-02T15"), len(text)-len("+00:00")
	offsetTooLarge := !strings.HasSuffix(text, "Z") && (text[zone+1:zone+3] > "23" || text[zone+4:] > "59")
	if text[hourEnd] != ':' || strings.Contains(text, ",") || offsetTooLarge {
		return t, errNotAnInstant
	}
	return t, nil
}

var errNotAnInstant = errors.New("not a time as in RFC 3339")

// document reads a JSON object that is kept as it is, without white space.
func (o *object) document(name string, maxBytes int) field[string] {
	raw, f := take[string](o, name, orNull, '{', "a JSON object")
	if raw == nil {
		return f
	}
	compact := raw.Clone()
	if err := compact.Compact(); err != nil {
		o.add(name, ruleJSON, "must be a JSON object")
		return f
	}
	if len(compact) > maxBytes {
		o.add(name, ruleLength, "at most %d bytes without white space, not %d", maxBytes, len(compact))
		return f
	}
	return field[string]{present: true, value: string(compact)}
}

// objects reads an array of 1 to most objects, each by read and all of it. A fault of one is told with its place: items[0].units.
func (o *object) objects(name string, most int, read func(item *object)) {
	raw, _ := take[jsontext.Value](o, name, notNull, '[', "an array")
	if raw == nil {
		return
	}
	values := elements(raw)
	if len(values) < 1 || len(values) > most {
		o.add(name, ruleLength, "1 to %d items, not %d", most, len(values))
		return
	}
	for i, value := range values {
		place := fmt.Sprintf("%s[%d]", name, i)
		if value.Kind() != '{' {
			o.add(place, ruleType, "must be a JSON object")
			continue
		}
		var item object
		if err := item.parse(value); err != nil {
			o.add(place, ruleJSON, "%s", explainJSON(err))
			continue
		}
		read(&item)
		_ = item.close() // which adds to its faults
		for _, f := range item.list {
			o.add(place+"."+f.Field, f.Rule, "%s", f.Detail)
		}
	}
}

// elements splits an array, which the tokenizer has read before and found to be one.
func elements(array jsontext.Value) (values []jsontext.Value) {
	tokens := jsontext.NewDecoder(bytes.NewBuffer(array))
	_, _ = tokens.ReadToken()
	for tokens.PeekKind() != ']' {
		value, err := readRaw(tokens, array)
		if err != nil {
			return values
		}
		values = append(values, value)
	}
	return values
}

// seconds is how durations are given in requests.
func seconds(d time.Duration) int64 { return int64(d / time.Second) }
