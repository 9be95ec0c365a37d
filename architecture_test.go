// Package tranche_test holds the plan of the house: who may import whom, and who may look at the clock.
// ARCHITECTURE.md draws the same plan.
package tranche_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// room is what one package may import of this module, and why it stands where it stands.
type room struct {
	may []string
	why string
}

var house = map[string]room{
	"server":      {[]string{"server/node", "internal/journal", "internal/datadir", "internal/plan", "internal/version", "models"}, "flags, commands, signals, exit code"},
	"server/node": {[]string{"server/api", "allocator", "refund", "lease", "internal/catalogue", "internal/feed", "internal/settle", "internal/store", "internal/journal", "internal/datadir", "internal/health", "internal/run", "internal/version", "models"}, "puts the parts together, and nothing else does"},
	"server/api":  {[]string{"allocator", "internal/run", "internal/version", "models"}, "HTTP in, HTTP out"},

	"allocator": {[]string{"lease", "internal/catalogue", "internal/ledger", "internal/run", "models"}, "the use cases; it meets settle and refund through interfaces of its own"},
	"refund":    {[]string{"lease", "internal/run", "models"}, "a refund pool is a lease"},
	"lease":     {[]string{"internal/run", "models"}, "spends from memory; knows no SQL and no HTTP"},

	"internal/settle":    {[]string{"lease", "internal/run", "models"}, "books what was spent on the lease that it was spent from"},
	"internal/store":     {[]string{"internal/ledger", "internal/version", "migrations", "models"}, "all SQL"},
	"internal/catalogue": {[]string{"internal/run", "models"}, "what a node knows of the offers; knows nobody who asks"},
	"internal/ledger":    {[]string{"models"}, "the rules of the books, pure"},
	"internal/journal":   {nil, "records on the node's own disk; knows nothing of redemptions"},
	"internal/datadir":   {[]string{"models"}, "who this node is"},
	"internal/plan":      {[]string{"lease", "internal/settle", "models"}, "foretells what an offer costs, by the rules of those who make the costs; nothing that runs needs it"},
	"internal/health":    {[]string{"models"}, "how the ledger serves, as this node sees it"},
	"internal/feed":      {[]string{"internal/run"}, "when committed entries get their positions"},
	"internal/run":       {nil, "what loops share"},
	"internal/version":   {nil, "which version this is"},
	"migrations":         {nil, "the tables"},
	"models":             {nil, "the vocabulary"},

	"internal/storetest":  {[]string{"internal/ledger", "internal/version", "models"}, "tests only: what every store must do, and the one fake"},
	"loadtest/floor":      {[]string{"internal/journal"}, "measuring only: what Gin alone costs, and Gin with a journal, in a program of its own"},
	"loadtest/fleet":      {[]string{"server/node"}, "measuring only: many nodes in one process, as many as a database is to be asked by"},
	"server/systemtest":   {nil, "tests only: real processes on a real database, told apart from the code by being outside of it"},
	"internal/faultproxy": {nil, "tests only: a database that is away, slow, or cut off in COMMIT"},
}

// keepers of a library: nobody else may import it, outside tests.
var keepers = map[string]string{
	"github.com/gin-gonic/gin":       "server/api",
	"gorm.io":                        "internal/store",
	"github.com/go-sql-driver/mysql": "internal/store",
	"github.com/glebarez":            "internal/store",
	"github.com/sony/gobreaker":      "internal/store",
	"github.com/pressly/goose":       "internal/store",
	"database/sql":                   "internal/store",
	"net/http":                       "server",
	"github.com/alecthomas/kong":     "server",
}

// exceptions to keepers, each with its reason.
var exceptions = map[string]string{
	"loadtest/floor github.com/gin-gonic/gin":           "it is what is measured",
	"loadtest/floor net/http":                           "it is what is measured",
	"models database/sql/driver":                        "an ID says how it is stored",
	"internal/storetest database/sql":                   "makes and drops the tests' databases",
	"internal/storetest github.com/go-sql-driver/mysql": "makes and drops the tests' databases",
}

func TestImportsRunOneWay(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		room, ok := house[file.pkg]
		if !ok {
			t.Errorf("%s: package %s is not in the plan: say what it is for and what it may import", file.path, file.pkg)
			continue
		}
		for _, imp := range file.imports {
			if own, ok := strings.CutPrefix(imp, "tranche/"); ok && !slices.Contains(room.may, own) {
				t.Errorf("%s imports %s; package %s (%s) may not", file.path, imp, file.pkg, room.why)
			}
			for library, keeper := range keepers {
				if within(imp, library) && !within(file.pkg, keeper) && exceptions[file.pkg+" "+imp] == "" {
					t.Errorf("%s imports %s, which is kept to %s", file.path, imp, keeper)
				}
			}
		}
	}
}

// Time is an argument in the core and injected at the edge, so that tests need not wait for it.
func TestOnlyTheEdgeLooksAtTheClock(t *testing.T) {
	edge := []string{"server/node/node.go", "server/node/settle_journal.go", "internal/faultproxy", "internal/storetest", "server/systemtest", "loadtest/floor"}
	files := goFiles(t)
	bubbles := map[string]bool{} // packages whose tests have a time of their own
	for _, file := range files {
		bubbles[file.pkg] = bubbles[file.pkg] || slices.Contains(file.imports, "testing/synctest")
	}
	for _, file := range files {
		if slices.ContainsFunc(edge, func(e string) bool { return within(file.path, e) }) {
			continue
		}
		ast.Inspect(file.ast, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			pkg, ok := sel.X.(*ast.Ident)
			if !ok || pkg.Name != "time" {
				return true
			}
			test := strings.HasSuffix(file.path, "_test.go")
			if sel.Sel.Name == "Sleep" && !(test && bubbles[file.pkg]) || sel.Sel.Name == "Now" && !test {
				t.Errorf("%s uses time.%s", file.path, sel.Sel.Name)
			}
			return true
		})
	}
}

func TestThePlanHasNoEmptyRooms(t *testing.T) {
	built := map[string]bool{}
	for _, file := range goFiles(t) {
		built[file.pkg] = true
	}
	for pkg := range house {
		if !built[pkg] {
			t.Errorf("package %s is in the plan and does not exist", pkg)
		}
	}
}

// within reports whether path is root or lies below it.
func within(path, root string) bool { return path == root || strings.HasPrefix(path, root+"/") }

type goFile struct {
	path, pkg string
	imports   []string
	ast       *ast.File
}

func goFiles(t *testing.T) (files []goFile) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || path == filepath.Join("loadtest", "rivals")) {
			return filepath.SkipDir
		}
		if pkg := filepath.ToSlash(filepath.Dir(path)); strings.HasSuffix(path, ".go") && pkg != "." {
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
			if err != nil {
				return err
			}
			file := goFile{path: filepath.ToSlash(path), pkg: pkg, ast: f}
			for _, imp := range f.Imports {
				name, err := strconv.Unquote(imp.Path.Value)
				if err != nil {
					return err
				}
				file.imports = append(file.imports, name)
			}
			files = append(files, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
