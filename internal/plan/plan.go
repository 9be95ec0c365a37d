package plan

import (
	"math"
	"time"

	"tranche/internal/settle"
	"tranche/lease"
	"tranche/models"
)

// Bytes of a row with its share of all indexes, on MariaDB with InnoDB's usual settings, and of a record in the journal. User, order and
// key have 20 characters each, and there is no metadata.
const (
	EntryBytes  = 700
	LeaseBytes  = 700 // 524 to 808, as 3 000 to 12 000 leases fill the megabytes that each index grows by
	RecordBytes = 350
)

// Fleet is what is planned for. All numbers are above zero.
type Fleet struct {
	Rate      float64 // redemptions of the offer per second, over all nodes, of one unit each
	Nodes     int64
	LeaseSize int64
	TTL       time.Duration
	Adaptive  bool
	Mode      models.Mode
	Commit    time.Duration // what a transaction takes on the database
}

// Plan is what to expect. Units are units of the budget.
type Plan struct {
	Block int64 `json:"block_units"` // that a node leases at once

	Grants       float64 `json:"grants_per_second"`
	Returns      float64 `json:"returns_per_second"`              // of one lease, or of several together
	Transactions float64 `json:"hot_row_transactions_per_second"` // one for each of these

	TailUnits        int64 `json:"tail_units"`        // what is left when blocks begin to shrink
	TailTransactions int64 `json:"tail_transactions"` // on the offer's row, from there to the last unit

	NodeOutstanding      int64   `json:"node_outstanding_units"` // on average
	NodeOutstandingWorst int64   `json:"node_outstanding_units_worst"`
	DeadSeconds          float64 `json:"dead_node_keeps_units_seconds"` // until what a dead node held can be spent by others, at worst
	IdleSeconds          float64 `json:"idle_node_keeps_units_seconds"` // the same for a node that lives and has no requests any more

	OverspendBound      int64 `json:"overspend_bound_units"` // as the balance shows it, on average
	OverspendBoundWorst int64 `json:"overspend_bound_units_worst"`

	Settles float64 `json:"settle_transactions_per_second"`

	LedgerRows   int64 `json:"ledger_rows_per_day"` // entries and leases
	LedgerBytes  int64 `json:"ledger_bytes_per_day"`
	JournalBytes int64 `json:"journal_bytes_per_second_per_node"` // in mode available, during an outage only
}

// Of works out the plan of a fleet.
func Of(f Fleet) Plan {
	node := f.Rate / float64(f.Nodes)
	var p Plan
	p.Block = lease.Want(f.Adaptive, node, f.LeaseSize)
	p.grants(f, node)
	p.tail(f)
	p.outstanding(f, node)
	p.writes(f, node)
	return p
}

// grants counts what locks the offer's row far from the end of the budget. Units that a node doesn't spend before they would expire idle, it
// returns; and it grants no more often than it redeems.
func (p *Plan) grants(f Fleet, node float64) {
	p.Grants = f.Rate / p.served(f, node)
	p.Returns = p.Grants
	p.Transactions = p.Grants + p.Returns
}

// served is how many units of a grant are redeemed.
func (p *Plan) served(f Fleet, node float64) float64 {
	idle := (f.TTL - lease.Margin(f.TTL)).Seconds()
	return min(float64(p.Block), max(1, node*idle))
}

// tail plays the end of the budget through: each grant takes its share, and the last ones a unit for who waits.
func (p *Plan) tail(f Fleet) {
	p.TailUnits = lease.Tail(f.Nodes, p.Block)
	appetite := lease.Appetite{Waiting: []int64{1}, Want: p.Block}
	for rest := p.TailUnits; rest > 0; {
		granted := lease.Size(rest, f.Nodes, appetite)
		p.TailTransactions += 2
		rest -= granted
	}
}

// outstanding adds up what nodes keep from each other. In the books a unit is there until it is settled, and a block that nobody used, which
// makes room for the next, until it is returned.
func (p *Plan) outstanding(f Fleet, node float64) {
	acknowledged := f.Mode == models.ModeFast
	pending := int64(math.Ceil(node * settle.Delay(acknowledged, f.Commit).Seconds()))
	low := func(ahead int64) int64 { return lease.RefillBelow(p.Block, ahead) }
	p.NodeOutstanding = low(0) + (p.Block+1)/2
	p.NodeOutstandingWorst = low(p.Block) + p.Block + pending
	if p.served(f, node) < float64(p.Block) {
		p.NodeOutstandingWorst += p.Block
	}
	p.DeadSeconds, p.IdleSeconds = lease.ReclaimedWithin(f.TTL).Seconds(), lease.IdleWithin(f.TTL).Seconds()
	if f.Mode.Outlives() {
		p.OverspendBound, p.OverspendBoundWorst = f.Nodes*p.NodeOutstanding, f.Nodes*p.NodeOutstandingWorst
	}
}

// writes adds up what grows on disks, and the transactions that make it.
func (p *Plan) writes(f Fleet, node float64) {
	const day = 24 * 60 * 60
	p.Settles = float64(f.Nodes) * settle.Pace(node, f.Mode == models.ModeFast, f.Commit)
	entries, leases := f.Rate*day, p.Grants*day
	p.LedgerRows = int64(entries + leases)
	p.LedgerBytes = int64(entries*EntryBytes + leases*LeaseBytes)
	if f.Mode.Outlives() {
		p.JournalBytes = int64(node * RecordBytes)
	}
}
