package api

import (
	"context"
	"strconv"

	"tranche/models"
)

func (s *server) getBalance(x *exchange) (reply, error) {
	id, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	balance, err := s.Books.Balance(x.ctx, id)
	if err != nil {
		return reply{}, err
	}
	return reply{body: toBalance(&balance)}, nil
}

func (s *server) listLeases(x *exchange) (reply, error) {
	cursor := func(l *models.ListedLease) string { return idCursor(cursorLeases, l.ID) }
	return listBooks(s, x, cursorLeases, s.Books.Leases, toLease, cursor)
}

// listEntries lists the ledger of an offer, newest first, or with a position the offer's part of the feed.
func (s *server) listEntries(x *exchange) (reply, error) {
	if x.http.URL.Query().Has("after") {
		offerID, err := x.offer()
		if err != nil {
			return reply{}, err
		}
		return s.listFeed(x, offerID)
	}
	cursor := func(e *models.Entry) string { return idCursor(cursorEntries, e.ID) }
	return listBooks(s, x, cursorEntries, s.Books.Entries, toEntry, cursor)
}

func (s *server) listEvents(x *exchange) (reply, error) { return s.listFeed(x, "") }

func (s *server) listFeed(x *exchange, offerID string) (reply, error) {
	q := x.query()
	limit, after := q.limit(), q.after()
	if err := q.close(); err != nil {
		return reply{}, err
	}
	rows, err := s.Books.Feed(x.ctx, offerID, after, limit)
	if err == nil && offerID != "" {
		err = s.mustExist(x, offerID, len(rows))
	}
	if err != nil {
		return reply{}, err
	}
	page := pageOf(rows, limit, toFed, position)
	page.after = new(strconv.FormatInt(after, 10))
	return reply{list: page}, nil
}

func (s *server) listExceptions(x *exchange) (reply, error) {
	cursor := func(e *models.Exception) string { return idCursor(cursorExceptions, e.ID) }
	return listBooks(s, x, cursorExceptions, s.Books.Exceptions, toException, cursor)
}

func (s *server) listHistory(x *exchange) (reply, error) {
	return listBooks(s, x, cursorAudits, s.Books.Audits, toAudit, auditCursor)
}

func (s *server) listAudits(x *exchange) (reply, error) {
	q := x.query()
	offerID, limit, before := q.anyOfferID("offer_id"), q.limit(), q.before(cursorAudits)
	if err := q.close(); err != nil {
		return reply{}, err
	}
	rows, err := s.Books.Audits(x.ctx, offerID, limit+1, before)
	if err != nil {
		return reply{}, err
	}
	return reply{list: pageOf(rows, limit, toAudit, auditCursor)}, nil
}

func auditCursor(a *models.Audit) string { return idCursor(cursorAudits, a.ID) }

// listBooks answers with a list of one offer's rows that is ordered by id.
func listBooks[R, T any](
	s *server, x *exchange, list byte,
	read func(ctx context.Context, offerID string, limit int, before models.ID) ([]R, error),
	show func(*R) T, cursor func(*R) string,
) (reply, error) {
	offerID, err := x.offer()
	if err != nil {
		return reply{}, err
	}
	q := x.query()
	limit, before := q.limit(), q.before(list)
	if err := q.close(); err != nil {
		return reply{}, err
	}
	rows, err := read(x.ctx, offerID, limit+1, before)
	if err != nil {
		return reply{}, err
	}
	if err := s.mustExist(x, offerID, len(rows)); err != nil {
		return reply{}, err
	}
	return reply{list: pageOf(rows, limit, show, cursor)}, nil
}
