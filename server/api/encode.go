package api

import (
	"bytes"
	"encoding/csv"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The media types that are answered.
const (
	typeJSON    = "application/json"
	typeNDJSON  = "application/x-ndjson"
	typeCSV     = "text/csv"
	typeProblem = "application/problem+json"
)

// encodeJSON escapes angle brackets: an answer that somebody puts into a page cannot end a script.
func encodeJSON(v any) ([]byte, error) {
	return json.Marshal(v, jsontext.EscapeForHTML(true))
}

// lister is a page of any list.
type lister interface {
	// encode writes it in a media type: all of it, or as much as maxPageBytes takes. next is the cursor that the list goes on from.
	encode(mediaType string) (text []byte, next *string, err error)
}

func (p page[R, T]) encode(mediaType string) (text []byte, next *string, err error) {
	switch mediaType {
	case typeNDJSON:
		return p.encodeLines()
	case typeCSV:
		return p.encodeTable()
	default:
		return p.encodeObject()
	}
}

// encodeObject writes {"items":[…],"next_cursor":…}.
func (p page[R, T]) encodeObject() ([]byte, *string, error) {
	const head = `{"items":[`
	text, items, err := p.fill([]byte(head), func(text []byte, item *T) ([]byte, error) {
		if len(text) > len(head) {
			text = append(text, ',')
		}
		shown, err := encodeJSON(item)
		return append(text, shown...), err
	})
	if err != nil {
		return nil, nil, err
	}
	next := p.next(items)
	cursor, err := encodeJSON(next)
	text = append(append(text, `],"next_cursor":`...), cursor...)
	if p.after != nil {
		text = strconv.AppendQuote(append(text, `,"position":`...), p.position(items))
	}
	if p.complete != nil {
		text = strconv.AppendBool(append(text, `,"complete":`...), *p.complete)
	}
	return append(text, '}'), next, err
}

// encodeLines writes one JSON object per line.
func (p page[R, T]) encodeLines() ([]byte, *string, error) {
	lines, items, err := p.fill(nil, func(lines []byte, item *T) ([]byte, error) {
		line, err := encodeJSON(item)
		return append(append(lines, line...), '\n'), err
	})
	if err != nil {
		return nil, nil, err
	}
	return lines, p.next(items), nil
}

// encodeTable writes CSV as in RFC 4180, one line of names and one per item. The columns are the members of the JSON, in their order.
func (p page[R, T]) encodeTable() ([]byte, *string, error) {
	var row bytes.Buffer
	rows := csv.NewWriter(&row)
	rows.UseCRLF = true
	appendRow := func(table []byte, values []string) ([]byte, error) {
		row.Reset()
		err := rows.WriteAll([][]string{values})
		return append(table, row.Bytes()...), err
	}
	var empty T
	names, _, err := cells(&empty)
	if err != nil {
		return nil, nil, err
	}
	head, err := appendRow(nil, names)
	if err != nil {
		return nil, nil, err
	}
	table, items, err := p.fill(head, func(table []byte, item *T) ([]byte, error) {
		_, values, err := cells(item)
		if err != nil {
			return nil, err
		}
		return appendRow(table, values)
	})
	if err != nil {
		return nil, nil, err
	}
	return table, p.next(items), nil
}

// cells gives the names and the values of an item's members: null as nothing, texts as they are, all else as JSON.
func cells(item any) (names, values []string, err error) {
	text, err := json.Marshal(item)
	if err != nil {
		return nil, nil, err
	}
	members := jsontext.NewDecoder(bytes.NewBuffer(text))
	if _, err := members.ReadToken(); err != nil {
		return nil, nil, err
	}
	for members.PeekKind() == '"' {
		name, err := members.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		names = append(names, name.String())
		value, err := members.ReadValue()
		if err != nil {
			return nil, nil, err
		}
		values = append(values, cell(value))
	}
	return names, values, nil
}

func cell(value jsontext.Value) string {
	switch value.Kind() {
	case 'n':
		return ""
	case '"':
		return disarm(string(unquote(value)))
	default:
		return string(value)
	}
}

// disarm keeps a spreadsheet from taking a text for a formula.
func disarm(text string) string {
	if text != "" && strings.IndexByte("=+-@\t\r\n", text[0]) >= 0 {
		return "'" + text
	}
	return text
}

// preferred gives the media type of a list that an Accept header asks for most; JSON where it asks for none that there is.
func preferred(accept string) string {
	best, bestQuality := typeJSON, 0.0
	for len(accept) > 0 {
		var item string
		item, accept, _ = strings.Cut(accept, ",")
		mediaType, params, _ := strings.Cut(item, ";")
		switch mediaType = strings.ToLower(strings.TrimSpace(mediaType)); mediaType {
		case typeNDJSON, typeCSV, typeJSON:
		case "*/*", "application/*":
			mediaType = typeJSON
		case "text/*":
			mediaType = typeCSV
		default:
			continue
		}
		if q := quality(params); q > bestQuality {
			best, bestQuality = mediaType, q
		}
	}
	return best
}

// quality reads the weight of an item of an Accept header; 1 where there is none.
func quality(params string) float64 {
	for len(params) > 0 {
		var param string
		param, params, _ = strings.Cut(params, ";")
		name, value, _ := strings.Cut(param, "=")
		if strings.EqualFold(strings.TrimSpace(name), "q") {
			q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				return 0
			}
			return q
		}
	}
	return 1
}
