package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"tranche/models"
)

// The feed gives each committed entry a position, in an order that gets no late member. A transaction that inserts entries lists their ids
// in feed_unplaced as well. Later, one transaction at a time, serialised by the row of feed_end, moves all lists that it can see
// into the feed. It sees only what is committed, so positions are given in the order in which commits were seen. That is the pattern of a
// transactional outbox with one sequencer.

const (
	// placedLength is what an entry takes in a row of the feed, and unplacedLength in a list: there it has its seq, too.
	placedLength   = len(models.ID{})
	unplacedLength = placedLength + 2
	// placeOffers bounds the offers of one transaction that places.
	placeOffers = 100
	// fillAtOnce bounds the entries of older versions that one transaction looks through.
	fillAtOnce = 5000
	// olderSilence is how long no node of an older version may have been seen before the feed takes up what they have inserted.
	olderSilence = 10 * time.Minute
	// unlistAtOnce bounds the lists that one statement deletes.
	unlistAtOnce = 250
	// feedRows bounds the rows of the feed that are read at once.
	feedRows = 100
)

// unplaced is a list of entries that one transaction has inserted.
type unplaced struct {
	OfferID string
	ID      models.ID
	Entries []byte
}

func (unplaced) TableName() string { return "feed_unplaced" }

// placed is a row of the feed.
type placed struct {
	Last    int64 // position of its last entry; those before it have the positions before it
	OfferID string
	Entries []byte
}

func (placed) TableName() string { return "feed" }

func (p *placed) count() int64 { return int64(len(p.Entries) / placedLength) }

// feedEnd is where the feed goes on.
type feedEnd struct {
	Last        int64
	Filled      bool
	FilledOffer string
	FilledID    models.ID
}

func (feedEnd) TableName() string { return "feed_end" }

// listForFeed lists entries, ordered by offer, that this transaction has inserted.
func (q *query) listForFeed(entries []models.Entry) error {
	var lists []unplaced
	for i := range entries {
		e := &entries[i]
		last := len(lists) - 1
		if last < 0 || lists[last].OfferID != e.OfferID || len(lists[last].Entries) == chunkSize*unplacedLength {
			lists = append(lists, unplaced{OfferID: e.OfferID, ID: models.NewID()})
			last++
		}
		lists[last].Entries = binary.BigEndian.AppendUint16(append(lists[last].Entries, e.ID[:]...), uint16(e.Seq))
	}
	if len(lists) == 0 {
		return nil
	}
	_, err := insert(q, lists, nil, "")
	return err
}

// PlaceEntries gives positions in the feed to the entries that are committed and have none, and gives their number. Entries of a redemption
// get them in the order of their seqs; see place for the exception. It does nothing if any node has done so within a time. Durable on return, idempotent.
func (s *Store) PlaceEntries(ctx context.Context, within time.Duration) (entries int, err error) {
	var offers []string
	err = s.read(ctx, "PlaceEntries", func(q *query) error {
		offers = nil
		lately := "placed_at > " + q.dialect.now + " - ? AND placed_at <= " + q.dialect.now // a clock that was set back holds up nothing
		return q.Model(&unplaced{}).Where("NOT EXISTS (SELECT 1 FROM feed_end WHERE "+lately+")", within.Microseconds()).
			Distinct().Order("offer_id").Pluck("offer_id", &offers).Error
	})
	if err != nil {
		return 0, err
	}
	for some := range slices.Chunk(offers, placeOffers) {
		n := 0
		err := s.write(ctx, "PlaceEntries", onUnknown, func(q *query) error {
			n, err = q.place(some)
			return err
		})
		if err != nil {
			return entries, err
		}
		entries += n
	}
	return entries, nil
}

// place reads all lists of an offer in one statement. So an entry is not placed before an earlier one of its redemption, which had committed
// before it was inserted. On MariaDB a statement may see the later one of two commits and miss the earlier: see untilAddsUp.
func (q *query) place(offers []string) (entries int, err error) {
	end, err := q.lockFeed()
	if err != nil {
		return 0, err
	}
	var lists []unplaced
	if err := q.Where("offer_id IN ?", offers).Order("offer_id, id").Find(&lists).Error; err != nil {
		return 0, err
	}
	var rows []placed
	for len(lists) > 0 {
		n := slices.IndexFunc(lists, func(l unplaced) bool { return l.OfferID != lists[0].OfferID })
		if n < 0 {
			n = len(lists)
		}
		rows = append(rows, end.placing(lists[:n])...)
		for some := range slices.Chunk(lists[:n], unlistAtOnce) {
			if err := q.unlist(lists[0].OfferID, idsOf(some)); err != nil {
				return 0, err
			}
		}
		lists = lists[n:]
	}
	if entries, err = q.extendFeed(rows); err != nil {
		return 0, err
	}
	_, err = q.exec("UPDATE feed_end SET last = ?, placed_at = "+q.dialect.now+" WHERE place = 1", end.Last)
	return entries, err
}

// unlist deletes lists of an offer. For an IN the server may read the whole table, which is short, and wait for lists that are not
// committed yet. So each row is looked up by its key.
func (q *query) unlist(offerID string, ids []models.ID) error {
	if q.dialect.oneWriter {
		return q.Where("offer_id = ? AND id IN ?", offerID, ids).Delete(&unplaced{}).Error
	}
	var keys []string
	for _, id := range ids {
		keys = append(keys, fmt.Sprintf("SELECT x'%x' AS id", id[:]))
	}
	_, err := q.exec("DELETE u FROM ("+strings.Join(keys, " UNION ALL ")+") AS k STRAIGHT_JOIN feed_unplaced AS u ON u.offer_id = ? AND u.id = k.id", offerID)
	return err
}

func idsOf(lists []unplaced) (ids []models.ID) {
	for i := range lists {
		ids = append(ids, lists[i].ID)
	}
	return ids
}

func (q *query) lockFeed() (end feedEnd, err error) {
	err = q.locking().Where("place = 1").Take(&end).Error
	return end, err
}

// placing gives the rows for the lists of one offer, and moves the end behind them.
func (f *feedEnd) placing(lists []unplaced) (rows []placed) {
	var entries [][]byte
	for i := range lists {
		entries = slices.AppendSeq(entries, slices.Chunk(lists[i].Entries, unplacedLength))
	}
	slices.SortStableFunc(entries, func(a, b []byte) int { return bytes.Compare(a[placedLength:], b[placedLength:]) }) // by seq
	for some := range slices.Chunk(entries, chunkSize) {
		row := placed{OfferID: lists[0].OfferID}
		for _, e := range some {
			row.Entries = append(row.Entries, e[:placedLength]...)
		}
		f.Last += row.count()
		row.Last = f.Last
		rows = append(rows, row)
	}
	return rows
}

// extendFeed adds rows and gives the number of their entries.
func (q *query) extendFeed(rows []placed) (entries int, err error) {
	for i := range rows {
		entries += int(rows[i].count())
	}
	for some := range slices.Chunk(rows, feedRows) {
		if _, err := insert(q, some, nil, ""); err != nil {
			return 0, err
		}
	}
	return entries, nil
}

// FillFeed gives positions to some of the entries that older versions have inserted, which listed none, and reports whether there are no
// more. It begins when no node of such a version was seen for ten minutes. Durable on return, idempotent.
func (s *Store) FillFeed(ctx context.Context) (done bool, err error) {
	err = s.read(ctx, "FillFeed", func(q *query) error {
		return q.scan(&done, "SELECT filled FROM feed_end WHERE place = 1")
	})
	if err != nil || done {
		return done, err
	}
	err = s.write(ctx, "FillFeed", onUnknown, func(q *query) error {
		end, err := q.lockFeed()
		if err != nil || end.Filled {
			done = end.Filled
			return err
		}
		var older bool
		err = q.scan(&older, "SELECT EXISTS (SELECT 1 FROM nodes WHERE feeds = FALSE AND seen_at > "+q.dialect.now+" - ? AND "+notGone+")", olderSilence.Microseconds())
		if err != nil || older {
			return err
		}
		rows, err := q.fill(&end)
		if err != nil {
			return err
		}
		if _, err := q.extendFeed(rows); err != nil {
			return err
		}
		done = end.Filled
		_, err = q.exec("UPDATE feed_end SET last = ?, filled = ?, filled_offer = ?, filled_id = ? WHERE place = 1",
			end.Last, end.Filled, end.FilledOffer, end.FilledID)
		return err
	})
	return done, err
}

// fill takes up the next entries of one offer, and moves the end on.
func (q *query) fill(end *feedEnd) ([]placed, error) {
	var found []models.Entry
	err := q.Select("offer_id, id, seq, fed").Where("offer_id = ? AND id > ?", end.FilledOffer, end.FilledID).Order("id").Limit(fillAtOnce).Find(&found).Error
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		var next *string
		if err := q.scan(&next, "SELECT MIN(offer_id) FROM entries WHERE offer_id > ?", end.FilledOffer); err != nil {
			return nil, err
		}
		if end.Filled = next == nil; !end.Filled {
			end.FilledOffer, end.FilledID = *next, models.ID{}
		}
		return nil, nil
	}
	end.FilledID = found[len(found)-1].ID
	list := unplaced{OfferID: end.FilledOffer}
	for i := range found {
		if e := &found[i]; !e.Fed {
			list.Entries = binary.BigEndian.AppendUint16(append(list.Entries, e.ID[:]...), uint16(e.Seq))
		}
	}
	return end.placing([]unplaced{list}), nil
}

// Feed reads entries after a position, in the order of their positions, of one offer or, with an empty id, of all. The first position is 1.
func (s *Store) Feed(ctx context.Context, offerID string, after int64, limit int) (entries []models.Fed, err error) {
	err = s.list(ctx, "Feed", func(q *query) error {
		entries = nil
		for len(entries) < limit {
			var rows []placed
			where := q.Where("last > ?", after)
			if offerID != "" {
				where = where.Where("offer_id = ?", offerID)
			}
			if err := where.Order("last").Limit(feedRows).Find(&rows).Error; err != nil || len(rows) == 0 {
				return err
			}
			some, err := q.fed(rows, after, limit-len(entries))
			if err != nil {
				return err
			}
			entries = append(entries, some...)
			after = rows[len(rows)-1].Last
		}
		return nil
	})
	return entries, err
}

// fed reads the entries of rows of the feed, those after a position.
func (q *query) fed(rows []placed, after int64, limit int) (fed []models.Fed, err error) {
	ids := map[string][]models.ID{} // by offer
	for i := range rows {
		position := rows[i].Last - rows[i].count()
		for raw := range slices.Chunk(rows[i].Entries, placedLength) {
			if position++; position > after && len(fed) < limit {
				e := models.Fed{Position: position, Entry: models.Entry{OfferID: rows[i].OfferID, ID: models.ID(raw)}}
				fed, ids[e.OfferID] = append(fed, e), append(ids[e.OfferID], e.ID)
			}
		}
	}
	type key struct {
		offerID string
		id      models.ID
	}
	read := map[key]models.Entry{}
	for offerID, all := range ids {
		for chunk := range slices.Chunk(all, chunkSize) {
			var some []models.Entry
			if err := q.Where("offer_id = ? AND id IN ?", offerID, chunk).Find(&some).Error; err != nil {
				return nil, err
			}
			for i := range some {
				read[key{offerID, some[i].ID}] = some[i]
			}
		}
	}
	for i := range fed {
		e, ok := read[key{fed[i].OfferID, fed[i].ID}]
		if !ok {
			return nil, fmt.Errorf("the feed has entry %s of offer %q at %d, and the ledger does not", fed[i].ID, fed[i].OfferID, fed[i].Position)
		}
		fed[i].Entry = e
	}
	return fed, nil
}
