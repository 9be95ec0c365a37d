package migrations_test

import (
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tranche/migrations"
)

// table is what both dialects must agree on.
type table struct {
	columns []string          // in order
	types   map[string]string // column → kind and nullability, in words common to both
	keys    map[string]string // name → UNIQUE or not, and columns
	checks  map[string]string
}

// The same files, and in them the same tables, columns, kinds, nullability, defaults, keys and checks.
func TestBothDialectsHaveTheSameTables(t *testing.T) {
	mysql, sqlite := files(t, "mysql"), files(t, "sqlite")
	if got, want := slices.Sorted(maps.Keys(sqlite)), slices.Sorted(maps.Keys(mysql)); !slices.Equal(got, want) {
		t.Fatalf("sqlite has %v, mysql %v", got, want)
	}
	for name := range mysql {
		if onlyDefaults.MatchString(mysql[name]) && nothing.MatchString(sqlite[name]) {
			continue // which SQLite can't do
		}
		a, b := parse(t, mysql[name]), parse(t, sqlite[name])
		if got, want := slices.Sorted(maps.Keys(b)), slices.Sorted(maps.Keys(a)); !slices.Equal(got, want) || len(a) == 0 {
			t.Fatalf("%s: sqlite has tables %v, mysql %v", name, got, want)
		}
		for table := range a {
			compare(t, name+" "+table, a[table], b[table])
		}
		if got, want := down(sqlite[name]), down(mysql[name]); got != want {
			t.Errorf("%s: down is %q in sqlite, %q in mysql", name, got, want)
		}
	}
}

func compare(t *testing.T, name string, mysql, sqlite *table) {
	t.Helper()
	if !slices.Equal(mysql.columns, sqlite.columns) {
		t.Errorf("%s: columns %v in mysql, %v in sqlite", name, mysql.columns, sqlite.columns)
	}
	for what, pair := range map[string][2]map[string]string{
		"column": {mysql.types, sqlite.types}, "key": {mysql.keys, sqlite.keys}, "check": {mysql.checks, sqlite.checks},
	} {
		for _, key := range slices.Sorted(maps.Keys(pair[0])) {
			if pair[0][key] != pair[1][key] {
				t.Errorf("%s, %s %s: %q in mysql, %q in sqlite", name, what, key, pair[0][key], pair[1][key])
			}
		}
		if len(pair[0]) != len(pair[1]) {
			t.Errorf("%s: %d %ss in mysql, %d in sqlite", name, len(pair[0]), what, len(pair[1]))
		}
	}
}

func files(t *testing.T, dialect string) map[string]string {
	t.Helper()
	names, err := fs.Glob(migrations.Files, dialect+"/*.sql")
	if err != nil || len(names) == 0 {
		t.Fatalf("%s: %v, %v", dialect, names, err)
	}
	texts := map[string]string{}
	for _, name := range names {
		text, err := fs.ReadFile(migrations.Files, name)
		if err != nil {
			t.Fatal(err)
		}
		texts[strings.TrimPrefix(name, dialect+"/")] = string(text)
	}
	return texts
}

// Patterns of the SQL that the files are written in.
var (
	comment     = regexp.MustCompile(`--[^+\n][^\n]*`)
	spaces      = regexp.MustCompile(`\s+`)
	createTable = regexp.MustCompile(`(?s)CREATE TABLE (?:IF NOT EXISTS )?(\w+) \(\n(.*?)\n\)[^;]*;`)
	addColumn   = regexp.MustCompile(`ALTER TABLE (\w+) ADD COLUMN (\w+) ([^;']*)`) // MySQL's are prepared from a text in quotes
	createIndex = regexp.MustCompile(`CREATE (UNIQUE )?INDEX (\w+) ON (\w+) (\([^)]*\))[;']`)
	dropIndex   = regexp.MustCompile(`(DROP INDEX \w+)(?: ON \w+)?;`)
	inlineIndex = regexp.MustCompile(`^(UNIQUE )?KEY (\w+) (\([^)]*\))$`)
	constraint  = regexp.MustCompile(`^CONSTRAINT (\w+) CHECK (.*)$`)
	sized       = regexp.MustCompile(`\(\d+\)`)

	onlyDefaults = regexp.MustCompile(`^-- \+goose Up\s+(?:--[^\n]*\s+)*ALTER TABLE \w+(?:\s+ALTER COLUMN \w+ SET DEFAULT (?:\w+|\([^;]+\))[,;])+\s+-- \+goose Down`)
	nothing      = regexp.MustCompile(`^-- \+goose Up\s+(?:--[^\n]*\s+)*SELECT 1;\s+-- \+goose Down`)
)

func down(text string) string {
	_, after, _ := strings.Cut(text, "-- +goose Down")
	return dropIndex.ReplaceAllString(after, "$1;")
}

func parse(t *testing.T, text string) map[string]*table {
	t.Helper()
	text, _, _ = strings.Cut(comment.ReplaceAllString(text, ""), "-- +goose Down")
	tables := map[string]*table{}
	for _, m := range createTable.FindAllStringSubmatch(text, -1) {
		tbl := newTable()
		for line := range strings.SplitSeq(m[2], "\n") {
			line = strings.TrimSuffix(spaces.ReplaceAllString(strings.TrimSpace(line), " "), ",")
			switch name, rest, _ := strings.Cut(line, " "); {
			case line == "":
			case strings.HasPrefix(line, "PRIMARY KEY"):
				tbl.keys["primary"] = line
			case inlineIndex.MatchString(line):
				k := inlineIndex.FindStringSubmatch(line)
				tbl.keys[k[2]] = k[1] + k[3]
			case constraint.MatchString(line):
				c := constraint.FindStringSubmatch(line)
				tbl.checks[c[1]] = c[2]
			default:
				tbl.columns = append(tbl.columns, name)
				tbl.types[name] = common(strings.TrimSpace(rest))
			}
		}
		tables[m[1]] = tbl
	}
	for _, m := range addColumn.FindAllStringSubmatch(text, -1) {
		if tables[m[1]] == nil {
			tables[m[1]] = newTable()
		}
		tables[m[1]].columns = append(tables[m[1]].columns, m[2])
		tables[m[1]].types[m[2]] = common(m[3])
	}
	for _, m := range createIndex.FindAllStringSubmatch(text, -1) {
		if tables[m[3]] == nil {
			tables[m[3]] = newTable()
		}
		tables[m[3]].keys[m[2]] = m[1] + m[4]
	}
	return tables
}

func newTable() *table {
	return &table{types: map[string]string{}, keys: map[string]string{}, checks: map[string]string{}}
}

// common writes a column's type the way SQLite does.
func common(definition string) string {
	kind, rest, _ := strings.Cut(definition, " ")
	switch sized.ReplaceAllString(kind, "") {
	case "BIGINT":
		kind = "INTEGER"
	case "VARBINARY", "VARCHAR":
		kind = "TEXT"
	case "BINARY":
		kind = "BLOB"
	}
	return kind + " " + strings.TrimSpace(rest)
}
