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
	encodeLines() ([]byte, error)
	encodeTable() ([]byte, error)
}

// encodeLines writes one JSON object per line.
func (p page[T]) encodeLines() (lines []byte, err error) {
	for i := range p.Items {
		line, err := encodeJSON(&p.Items[i])
		if err != nil {
			return nil, err
		}
		lines = append(append(lines, line...), '\n')
	}
	return lines, nil
}

// encodeTable writes CSV as in RFC 4180, one line of names and one per item. The columns are the members of the JSON, in their order.
func (p page[T]) encodeTable() ([]byte, error) {
	var empty T
	names, _, err := cells(&empty)
	if err != nil {
		return nil, err
	}
	rows := [][]string{names}
	for i := range p.Items {
		_, values, err := cells(&p.Items[i])
		if err != nil {
			return nil, err
		}
		rows = append(rows, values)
	}
	var out bytes.Buffer
	table := csv.NewWriter(&out)
	table.UseCRLF = true
	err = table.WriteAll(rows)
	return out.Bytes(), err
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
