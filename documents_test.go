package tranche_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

const (
	maxColumns = 100
	maxWords   = 25
)

// maxLines is how long a document may be, where there is a bound.
var maxLines = map[string]int{"README.md": 120, "ARCHITECTURE.md": 130}

// bannedWords are names of mechanisms that are gone. Neither documents nor code speak of them.
var bannedWords = regexp.MustCompile(`(?i)sysmon|ballast|timerslack|keepsake|jsonout|multiStatements|inBurst`)

// bannedStart is how no sentence begins, unless it is a question: the subject has a name.
var bannedStart = regexp.MustCompile(`^(Who|Whoever|What|Whatever|That which)\b`)

// Most readers read English as a second language, and quickly. This test holds documents short enough for them.
func TestDocumentsArePlain(t *testing.T) {
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, problem := range problemsOf(path, string(text)) {
			t.Error(problem)
		}
	}
}

func TestTheCheckOfDocumentsFindsItsProblems(t *testing.T) {
	long := strings.Repeat("word ", maxWords)
	for name, tc := range map[string]struct{ text, want string }{
		"a long line":          {strings.Repeat("x", maxColumns+1), "columns"},
		"a long sentence":      {"One.\nThe " + strings.ReplaceAll(long, " ", "\n") + "end.", "words"},
		"a long list item":     {"- One.\n- The " + strings.ReplaceAll(long, " ", "\n") + "end.", "words"},
		"a long cell":          {"| one | " + long + "end |", "words"},
		"a banned word":        {"The sys" + "mon runs.", "is gone"},
		"a banned subject":     {"It runs. Who" + "ever stops it waits.", "begins with"},
		"too many lines":       {strings.Repeat("\n", maxLines["README.md"]+1), "lines"},
		"an unfinished comma":  {"The " + strings.Repeat("word, ", maxWords) + "end.", "words"},
		"code is left alone":   {"```\n" + strings.Repeat("x ", maxColumns) + "\n```", ""},
		"tables may be wide":   {"| " + strings.Repeat("x", maxColumns) + " |", ""},
		"links may be long":    {"See [here](https://example.org/" + strings.Repeat("x", maxColumns) + ").", ""},
		"questions are fine":   {"What is a lease?", ""},
		"headings are names":   {"## What limits it", ""},
		"paragraphs end":       {strings.Repeat("Five words are in here\n\n", maxWords), ""},
		"versions end nothing": {"MySQL 8.0 or e.g. MariaDB 10.11 does it.", ""},
	} {
		t.Run(name, func(t *testing.T) {
			found := strings.Join(problemsOf("README.md", tc.text), "\n")
			if tc.want == "" && found != "" || !strings.Contains(found, tc.want) {
				t.Errorf("found %q, want %q", found, tc.want)
			}
		})
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	noSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

// A link between documents leads to a file that exists, and to a heading in it.
func TestLinksLeadSomewhere(t *testing.T) {
	for _, path := range documents(t) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range link.FindAllStringSubmatch(string(text), -1) {
			file, anchor, _ := strings.Cut(match[1], "#")
			if strings.Contains(file, "://") {
				continue
			}
			target := path
			if file != "" {
				target = filepath.Join(filepath.Dir(path), file)
			}
			there, err := os.ReadFile(target)
			if err != nil {
				if _, err = os.Stat(target); err != nil {
					t.Errorf("%s: the link %s leads nowhere", path, match[1])
				}
				continue
			}
			if anchor != "" && !slices.Contains(anchors(string(there)), anchor) {
				t.Errorf("%s: the link %s leads to no heading", path, match[1])
			}
		}
	}
}

// anchors are the names that headings have in links.
func anchors(text string) (all []string) {
	for _, h := range heading.FindAllStringSubmatch(text, -1) {
		all = append(all, strings.ReplaceAll(noSlug.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-"))
	}
	return all
}

// documents are all that people write. docs/bench is written by programs.
func documents(t *testing.T) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || path == filepath.Join("docs", "bench")) {
			return filepath.SkipDir
		}
		if strings.HasSuffix(path, ".md") {
			paths = append(paths, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

var linkTarget = regexp.MustCompile(`\]\([^)]*\)|<?https?://\S+`)

// problemsOf says what is wrong with a document, and where.
func problemsOf(path, text string) (problems []string) {
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if most := maxLines[path]; most > 0 && len(lines) > most {
		problems = append(problems, path+": "+count(len(lines), most, "lines"))
	}
	for i, line := range lines {
		if word := bannedWords.FindString(line); word != "" {
			problems = append(problems, at(path, i)+word+" is gone")
		}
	}
	for _, p := range paragraphs(lines) {
		for i, line := range p.lines {
			columns := utf8.RuneCountInString(linkTarget.ReplaceAllString(line, "]"))
			if columns > maxColumns && !p.cell {
				problems = append(problems, at(path, p.first+i)+count(columns, maxColumns, "columns"))
			}
		}
		if p.heading {
			continue
		}
		for _, sentence := range sentences(strings.Join(p.lines, " ")) {
			if words := words(sentence); words > maxWords {
				problems = append(problems, at(path, p.first)+count(words, maxWords, "words")+": "+sentence)
			}
			if start := bannedStart.FindString(sentence); start != "" && !strings.HasSuffix(sentence, "?") {
				problems = append(problems, at(path, p.first)+"a sentence begins with "+start+": "+sentence)
			}
		}
	}
	return problems
}

// paragraph is text that belongs together: a list item, a cell of a table, a heading, or a paragraph proper.
type paragraph struct {
	first         int // its first line, from 0
	lines         []string
	cell, heading bool
}

var listItem = regexp.MustCompile(`^\s*([-*+]|\d+\.)\s+`)

// paragraphs finds the paragraphs of a document. Code is not among them.
func paragraphs(lines []string) (all []paragraph) {
	var open *paragraph
	end := func() {
		if open != nil {
			all = append(all, *open)
		}
		open = nil
	}
	code := false
	for i, line := range lines {
		bare := strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(bare, "```"):
			end()
			code = !code
		case code:
		case bare == "":
			end()
		case strings.HasPrefix(bare, "|"):
			end()
			for cell := range strings.SplitSeq(strings.Trim(bare, "|"), "|") {
				all = append(all, paragraph{first: i, lines: []string{strings.TrimSpace(cell)}, cell: true})
			}
		case strings.HasPrefix(bare, "#"):
			end()
			all = append(all, paragraph{first: i, lines: []string{line}, heading: true})
		case open == nil && strings.HasPrefix(line, "    "): // code, too
		case open == nil || listItem.MatchString(line):
			end()
			open = &paragraph{first: i, lines: []string{line}}
		default:
			open.lines = append(open.lines, line)
		}
	}
	end()
	return all
}

var sentenceEnd = regexp.MustCompile(`[.!?][)*"]*\s+[("*\x60\[]*[\p{Lu}\x60]`)

// sentences splits a paragraph. A full stop ends a sentence if the next word begins with a capital letter, or is code.
func sentences(text string) (all []string) {
	text = strings.TrimSpace(listItem.ReplaceAllString(text, ""))
	for {
		end := sentenceEnd.FindStringIndex(text)
		if end == nil {
			return append(all, text)
		}
		stop := end[0] + 1
		all, text = append(all, text[:stop]), strings.TrimLeft(text[stop:], ` )*"`)
	}
}

// words counts the words of a sentence. Code is one word, and what has neither letter nor digit is none.
func words(sentence string) (n int) {
	sentence = linkTarget.ReplaceAllString(sentence, "]")
	for i, part := range strings.Split(sentence, "`") {
		if i%2 == 1 {
			n++
			continue
		}
		for word := range strings.FieldsSeq(part) {
			if strings.ContainsFunc(word, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
				n++
			}
		}
	}
	return n
}

func at(path string, line int) string { return path + ":" + strconv.Itoa(line+1) + ": " }

func count(n, most int, of string) string {
	return strconv.Itoa(n) + " " + of + ", at most " + strconv.Itoa(most)
}
