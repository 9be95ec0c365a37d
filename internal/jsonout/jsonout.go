// Package jsonout writes JSON objects member by member, for the two that a node writes tens of thousands of times a second: reflection over
// a struct costs several times as much. What is written so is read by its tags, and a test beside each writer holds the two together.
package jsonout

import (
	"cmp"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"tranche/models"
)

// Members appends to Out, each value behind the name that it is given with, which has its punctuation: `{"id":` for the first member,
// `,"name":` for others. The closing brace is the caller's.
type Members struct {
	Out []byte
	Err error // the first one: a text that is not UTF-8
}

// Text appends a string.
func (m *Members) Text(name, value string) {
	out, err := jsontext.AppendQuote(append(m.Out, name...), value)
	m.Out, m.Err = out, cmp.Or(m.Err, err)
}

// Integer appends a number.
func (m *Members) Integer(name string, value int64) {
	m.Out = strconv.AppendInt(append(m.Out, name...), value, 10)
}

// ID appends an id as a string.
func (m *Members) ID(name string, value models.ID) {
	out, _ := value.AppendText(append(append(m.Out, name...), '"')) // never fails
	m.Out = append(out, '"')
}
