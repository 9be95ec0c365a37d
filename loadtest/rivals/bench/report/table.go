package report

import "strings"

// table is one of Markdown's: the first column to the left, the others to the right.
type table struct{ rows [][]string }

func newTable(header ...string) table { return table{[][]string{header}} }

func (t *table) column(name string) { t.rows[0] = append(t.rows[0], name) }

func (t *table) row(cells ...string) { t.rows = append(t.rows, cells) }

// String writes the table, with a line's end after each row.
func (t *table) String() string {
	var out strings.Builder
	for i, row := range t.rows {
		out.WriteString("| " + strings.Join(row, " | ") + " |\n")
		if i == 0 {
			out.WriteString("|---" + strings.Repeat("|--:", len(row)-1) + "|\n")
		}
	}
	return out.String()
}
