package api

import (
	"encoding/base64"
	"encoding/binary"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"tranche/models"
)

const (
	defaultLimit = 50
	maxLimit     = 1000
	// maxPageBytes is where a page ends that has not reached its limit: many clients may be slow to read theirs, and each page is in memory.
	maxPageBytes  = 1 << 20
	maxItemsBytes = maxPageBytes - 1<<10 // what comes after the items of a page is shorter than this difference
	// maxPages is how many pages a server has in memory at once, for the same reason. More requests for lists wait for their turn.
	maxPages = 16
)

// page is one page of a list, on its way from the rows that were read for it, R, to the items that are shown, T.
type page[R, T any] struct {
	rows     []R
	more     bool  // there are rows after these
	complete *bool // whether nothing is missing that was acknowledged; nil: that is no question of this list
	show     func(*R) T
	cursor   func(*R) string
	after    *string // of a page of the feed: the position that it begins after. It has no next page, but can be asked for what follows.
}

// pageOf makes a page of the rows that were read for it, one more than the limit where there is a next page.
func pageOf[R, T any](rows []R, limit int, show func(*R) T, cursor func(*R) string) page[R, T] {
	shown := rows[:min(len(rows), limit)]
	return page[R, T]{rows: shown, more: len(rows) > limit, show: show, cursor: cursor}
}

// fill adds items to a text that begins with head, and stops before it is longer than maxItemsBytes; the first one always fits. It gives the
// number of items.
func (p page[R, T]) fill(head []byte, add func(text []byte, item *T) ([]byte, error)) (text []byte, items int, err error) {
	text = head
	for i := range p.rows {
		before, item := len(text), p.show(&p.rows[i])
		if text, err = add(text, &item); err != nil {
			return nil, 0, err
		}
		if i > 0 && len(text) > maxItemsBytes {
			return text[:before], i, nil
		}
	}
	return text, len(p.rows), nil
}

// next is the cursor that the list goes on from after so many items, nil at its end.
func (p page[R, T]) next(items int) *string {
	if p.after != nil || items == len(p.rows) && !p.more {
		return nil
	}
	return new(p.cursor(&p.rows[items-1]))
}

// position is where a page of the feed with so many items ends.
func (p page[R, T]) position(items int) string {
	if items == 0 {
		return *p.after
	}
	return p.cursor(&p.rows[items-1])
}

// nextPage is where the page after this one is.
func (x *exchange) nextPage(cursor string) string {
	query := x.http.URL.Query()
	query.Set("cursor", cursor)
	return x.http.URL.EscapedPath() + "?" + query.Encode()
}

// query is the query parameters of a request, read like the members of an object.
type query struct {
	faults
	values url.Values
	read   map[string]bool
}

func (x *exchange) query() *query {
	q := &query{read: map[string]bool{}}
	values, err := url.ParseQuery(x.http.URL.RawQuery)
	if err != nil {
		q.add("query", ruleFormat, "is not well-formed")
	}
	q.values = values
	return q
}

// get gives the text of a parameter and whether it is there. An empty text is not the same as none: a filter that a client forgot
// to fill in must not select everything.
func (q *query) get(name string) (text string, given bool) {
	q.read[name] = true
	values := q.values[name]
	if len(values) > 1 {
		q.add(name, ruleRepeated, "may be given once")
	}
	if len(values) == 0 {
		return "", false
	}
	return values[0], true
}

// close refuses parameters that nobody asked for, and gives all that is wrong.
func (q *query) close() error {
	for name := range q.values {
		if !q.read[name] {
			q.add(name, ruleUnknown, "is not a parameter of this call")
		}
	}
	return q.err()
}

// limit is how many items a page may have.
func (q *query) limit() int {
	text, given := q.get("limit")
	if !given {
		return defaultLimit
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < 1 || n > maxLimit {
		q.add("limit", ruleRange, "1 to %d", maxLimit)
		return defaultLimit
	}
	return int(n)
}

// after is a position in the feed; without one, the feed is read from its beginning.
func (q *query) after() int64 {
	text, given := q.get("after")
	if !given {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 63)
	if err != nil || strconv.FormatUint(n, 10) != text {
		q.add("after", ruleFormat, "must be 0 or a position of the feed")
	}
	return int64(n)
}

func (q *query) offerID(name string) string {
	id, given := q.get(name)
	if !given {
		q.add(name, ruleRequired, "is required")
		return ""
	}
	q.faults.offerID(name, id)
	return id
}

// anyOfferID is offerID for a filter; empty: any.
func (q *query) anyOfferID(name string) string {
	id, given := q.get(name)
	if given {
		q.faults.offerID(name, id)
	}
	return id
}

func (q *query) subject(name string) string {
	id, given := q.get(name)
	if given {
		q.faults.subject(name, id)
	}
	return id
}

func (q *query) key(name string) string {
	key, given := q.get(name)
	if given {
		key = q.faults.key(name, key)
	}
	return key
}

func (q *query) text(name string, maxBytes int) string {
	text, _ := q.get(name)
	q.faults.text(name, text, 0, maxBytes)
	return text
}

func (q *query) oneOf(name string, allowed ...string) string {
	text, given := q.get(name)
	if given && !slices.Contains(allowed, text) {
		q.add(name, ruleEnum, "one of %s", strings.Join(allowed, ", "))
	}
	return text
}

// The letter that a cursor begins with says which list it belongs to.
const (
	cursorOffers      = 'o'
	cursorRedemptions = 'r'
	cursorRefunds     = 'f'
	cursorLeases      = 'l'
	cursorEntries     = 'e'
	cursorExceptions  = 'x'
	cursorNodes       = 'n'
	cursorAudits      = 'a'
)

func encodeCursor(list byte, place []byte) string {
	return base64.RawURLEncoding.EncodeToString(append([]byte{list}, place...))
}

// cursor gives the place that a cursor holds, or nil. check tells whether it can be one.
func (q *query) cursor(list byte, check func(place []byte) bool) []byte {
	text, given := q.get("cursor")
	if !given {
		return nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) < 2 || raw[0] != list || !check(raw[1:]) {
		q.add("cursor", ruleFormat, "must be the next_cursor of a page of this list")
		return nil
	}
	return raw[1:]
}

// before reads the cursor of a list that is ordered by id; zero: from the newest.
func (q *query) before(list byte) models.ID {
	var id models.ID
	copy(id[:], q.cursor(list, func(place []byte) bool { return len(place) == len(id) }))
	return id
}

func idCursor(list byte, id models.ID) string { return encodeCursor(list, id[:]) }

// beforeSeq reads the cursor of a list that is ordered by seq; with none, everything comes before it.
func (q *query) beforeSeq(list byte) int64 {
	place := q.cursor(list, func(place []byte) bool { return len(place) == 8 })
	if place == nil {
		return math.MaxInt64
	}
	return int64(binary.BigEndian.Uint64(place))
}

func seqCursor(list byte, seq int64) string {
	return encodeCursor(list, binary.BigEndian.AppendUint64(nil, uint64(seq)))
}

// beforeOffer reads the cursor of the list of offers, which is ordered by the time they were created, then by id.
func (q *query) beforeOffer() (created models.Micros, id string) {
	place := q.cursor(cursorOffers, func(place []byte) bool { return len(place) > 8 && isOfferID(string(place[8:])) })
	if place == nil {
		return 0, ""
	}
	return models.Micros(binary.BigEndian.Uint64(place)), string(place[8:])
}

func offerCursor(o *models.Offer) string {
	place := binary.BigEndian.AppendUint64(nil, uint64(o.CreatedAt))
	return encodeCursor(cursorOffers, append(place, o.ID...))
}
