package tranche_test

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"
)

// sameConstant are constants that have one name in several packages for a reason.
var sameConstant = map[string]string{}

// One word means one thing, so a constant's name stands for one value in the whole program.
func TestConstantsHaveNamesOfTheirOwn(t *testing.T) {
	homes := map[string]string{}
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") || strings.HasPrefix(file.pkg, "loadtest/") {
			continue
		}
		for _, name := range constantsOf(file.ast) {
			home, taken := homes[name]
			if taken && home != file.pkg && sameConstant[name] == "" {
				t.Errorf("%s: the constant %s has a namesake in %s", file.path, name, home)
			}
			homes[name] = file.pkg
		}
	}
}

// constantsOf gives the names of the constants that a file declares for its package.
func constantsOf(file *ast.File) (names []string) {
	for _, decl := range file.Decls {
		if constants, ok := decl.(*ast.GenDecl); ok && constants.Tok == token.CONST {
			for _, spec := range constants.Specs {
				for _, name := range spec.(*ast.ValueSpec).Names {
					if name.Name != "_" {
						names = append(names, name.Name)
					}
				}
			}
		}
	}
	return names
}

var benchName = regexp.MustCompile(`^(bench|Bench)($|[A-Z])|[a-z]Bench($|[A-Z])`)

// To a Go programmer a bench is a benchmark, and nothing else has that name.
func TestOnlyBenchmarksAreCalledBench(t *testing.T) {
	for _, file := range goFiles(t) {
		for _, decl := range file.ast.Decls {
			switch decl := decl.(type) {
			case *ast.FuncDecl:
				if benchName.MatchString(decl.Name.Name) {
					t.Errorf("%s: the function %s is no benchmark", file.path, decl.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range decl.Specs {
					if spec, ok := spec.(*ast.TypeSpec); ok && benchName.MatchString(spec.Name.Name) {
						t.Errorf("%s: the type %s is no benchmark", file.path, spec.Name.Name)
					}
				}
			}
		}
	}
}

// What is gone leaves no name behind, in comments either.
func TestCodeSpeaksOfNothingThatIsGone(t *testing.T) {
	for _, file := range goFiles(t) {
		text, err := os.ReadFile(file.path)
		if err != nil {
			t.Fatal(err)
		}
		if word := bannedWords.Find(text); word != nil {
			t.Errorf("%s: %s is gone", file.path, word)
		}
	}
}

var namelessSubject = regexp.MustCompile(`(^|[.:] )(Who|Whoever|What|Whatever|That which) [a-z]+`)

// A sentence of a comment names its subject, as those of documents do.
func TestCommentsNameTheirSubjects(t *testing.T) {
	for _, file := range goFiles(t) {
		if strings.HasSuffix(file.path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file.path)
		if err != nil {
			t.Fatal(err)
		}
		for _, comment := range commentsOf(string(text)) {
			if start := namelessSubject.FindString(comment); start != "" {
				t.Errorf("%s: a sentence begins with %q", file.path, start)
			}
		}
	}
}

// commentsOf gives the comments that have lines of their own, each without its line breaks.
func commentsOf(text string) (comments []string) {
	var comment strings.Builder
	for line := range strings.Lines(text + "\n") {
		words, is := strings.CutPrefix(strings.TrimSpace(line), "//")
		if is && strings.TrimSpace(words) != "" {
			comment.WriteString(strings.TrimSpace(words) + " ")
		} else if comment.Len() > 0 {
			comments = append(comments, comment.String())
			comment.Reset()
		}
	}
	return comments
}
