package plan

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"

	"tranche/models"
)

// Print writes the plan for people: a figure a line, and what it means.
func (p *Plan) Print(w io.Writer, f Fleet) error {
	fmt.Fprintf(w, "%s redemptions a second of one offer on %d nodes: mode %s, lease size %d, time to live %s, commits of %s\n\n",
		figure(f.Rate), f.Nodes, f.Mode, f.LeaseSize, f.TTL, f.Commit)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, line := range p.lines(f) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", line[0], line[1], line[2])
	}
	return table.Flush()
}

// lines are the figures: name, value, meaning.
func (p *Plan) lines(f Fleet) [][3]string {
	lines := [][3]string{
		{"block", units(p.Block), "that a node leases at once"},
		{"hot row", figure(p.Transactions) + " tx/s", fmt.Sprintf("on the offer's row: %s grants and %s returns", figure(p.Grants), figure(p.Returns))},
		{"tail", fmt.Sprintf("%d tx", p.TailTransactions), fmt.Sprintf("on the offer's row for the last %d units, in all: blocks shrink with the rest", p.TailUnits)},
		{"settling", figure(p.Settles) + " tx/s", "on other rows: batches of entries, each with its lease"},
		{"dead node", atWorst(p.NodeOutstanding, p.NodeOutstandingWorst), fmt.Sprintf("that nobody else can redeem, for up to %.0f s", p.DeadSeconds)},
		{"idle fleet", atWorst(f.Nodes*p.NodeOutstanding, f.Nodes*p.NodeOutstandingWorst), fmt.Sprintf("that all %d nodes hold when nobody redeems any more, for up to %.0f s", f.Nodes, p.IdleSeconds)},
		p.overspend(f),
		{"ledger", fmt.Sprintf("%s a day", size(p.LedgerBytes)), fmt.Sprintf("in %s rows, with their indexes", figure(float64(p.LedgerRows)))},
	}
	switch f.Mode {
	case models.ModeFast:
		lines = append(lines, [3]string{"journal", size(p.JournalBytes) + "/s", "on the disk of each node, given back once it is settled"})
	case models.ModeAvailable:
		lines = append(lines, [3]string{"journal", size(p.JournalBytes) + "/s", "on the disk of each node, while the database is away"})
	}
	return lines
}

func (p *Plan) overspend(f Fleet) [3]string {
	if !f.Mode.Outlives() {
		return [3]string{"overspend", "0 units", "in this mode, whatever happens"}
	}
	return [3]string{"overspend", atWorst(p.OverspendBound, p.OverspendBoundWorst), "beyond the budget, if all nodes are cut off and go on while others get their units: overspend_bound shows it"}
}

func units(n int64) string { return fmt.Sprintf("%d units", n) }

func atWorst(usual, worst int64) string { return fmt.Sprintf("%d to %d units", usual, worst) }

// figure writes a number with about three digits.
func figure(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.3g billion", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.3g million", v/1e6)
	case v >= 100:
		return fmt.Sprintf("%.0f", v)
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// size writes a number of bytes.
func size(bytes int64) string {
	v := float64(bytes)
	power := 0
	for ; v >= 1000 && power < 5; power++ {
		v /= 1000
	}
	return fmt.Sprintf("%s %s", figure(math.Round(v*10)/10), []string{"B", "kB", "MB", "GB", "TB", "PB"}[power])
}
