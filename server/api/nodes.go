package api

import "tranche/models"

func (s *server) listNodes(x *exchange) (reply, error) {
	q := x.query()
	limit, before := q.limit(), q.before(cursorNodes)
	if err := q.close(); err != nil {
		return reply{}, err
	}
	rows, err := s.Books.Nodes(x.ctx, limit+1, before)
	if err != nil {
		return reply{}, err
	}
	now := s.Allocator.LedgerNow()
	show := func(n *models.NodeActivity) nodeJSON { return toNode(n, now) }
	cursor := func(n *models.NodeActivity) string { return idCursor(cursorNodes, n.ID) }
	return reply{list: pageOf(rows, limit, show, cursor)}, nil
}
