package store

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-sql-driver/mysql"

	"tranche/models"
)

// conflicts are what clusters answer when two of their members changed the same rows.
var conflicts = map[string]error{
	"certification failed at COMMIT": &mysql.MySQLError{Number: 3101, Message: "Plugin instructed the server to rollback the current transaction."},
	"rolled back before COMMIT":      &mysql.MySQLError{Number: 1180, Message: "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"},
	"the same, by a storage engine":  &mysql.MySQLError{Number: 1030, Message: "Got error 149 \"Lock deadlock; Retry transaction\" from storage engine InnoDB"},
	"deadlock":                       &mysql.MySQLError{Number: 1213, Message: "Deadlock found when trying to get lock; try restarting transaction"},
	"TiDB's write conflict":          &mysql.MySQLError{Number: 9007, Message: "Write conflict"},
}

func nothing(*query) error { return nil }

func TestA4ConflictsNeverOpenTheBreaker(t *testing.T) {
	for name, conflict := range conflicts {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := answering(t, func(statement string) error {
					if statement == "COMMIT" {
						return conflict
					}
					return nil
				})
				defer s.Close() // its goroutine belongs to this bubble
				for range 2 * tripAfter {
					if err := s.write(t.Context(), "Grant", onUnknown, nothing); !errors.Is(err, models.ErrBusy) || errors.Is(err, models.ErrOutcomeUnknown) {
						t.Fatalf("the call ends with %v, want %v", err, models.ErrBusy)
					}
				}
				if !s.Available() {
					t.Error("the breaker is open")
				}
			})
		})
	}
}

// Members of a cluster that want the same row collide again if they come back at once.
func TestA4ConflictsAreRunAgainWithGrowingPauses(t *testing.T) {
	const conflictsInARow = 11
	synctest.Test(t, func(t *testing.T) {
		var commits []time.Time
		s := answering(t, func(statement string) error {
			if statement != "COMMIT" {
				return nil
			}
			if commits = append(commits, time.Now()); len(commits) <= conflictsInARow {
				return conflicts["certification failed at COMMIT"]
			}
			return nil
		})
		defer s.Close()
		if err := s.write(t.Context(), "Grant", onDuplicate|onUnknown, nothing); err != nil {
			t.Fatalf("%d conflicts in a row: %v", conflictsInARow, err)
		}
		early, late := commits[2].Sub(commits[0]), commits[7].Sub(commits[5])
		if late < 4*early {
			t.Errorf("the first two pauses take %s, the sixth and the seventh %s", early, late)
		}
	})
}

// A change of tables ends reads on other members of a cluster, as conflicts.
func TestA4AReadThatMeetsAConflictIsRunAgain(t *testing.T) {
	asked := 0
	s := storeOf(t, &answers{
		rows: &table{columns: []string{"1"}, rows: [][]driver.Value{{int64(1)}}},
		exec: func(string) error {
			if asked++; asked == 1 {
				return conflicts["deadlock"]
			}
			return nil
		},
	})
	if err := s.Ping(t.Context()); err != nil {
		t.Errorf("asked %d times: %v", asked, err)
	}
}

// A batch is made smaller by its caller. So it gives up sooner than a grant.
func TestA4ABatchThatMeetsConflictsIsGivenBackInHalfASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := answering(t, func(statement string) error {
			if statement == "COMMIT" {
				return conflicts["deadlock"]
			}
			return nil
		})
		defer s.Close()
		began := time.Now()
		if err := s.write(t.Context(), "Settle", onDuplicate|divisible, nothing); !errors.Is(err, models.ErrBusy) {
			t.Errorf("the call ends with %v, want %v", err, models.ErrBusy)
		}
		if took := time.Since(began); took > time.Second {
			t.Errorf("it takes %s", took)
		}
	})
}

// Some engines, Vitess among them, parse the names of functions without parentheses as keywords.
func TestA4NoAliasIsAFunctionOfAnEngine(t *testing.T) {
	aliases := regexp.MustCompile(`(?i)\bAS (now|current_\w+|localtime\w*|utc_\w+|sysdate|user|database|schema|rank|groups|row_number)\b`)
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		read++
		for n, line := range strings.Split(string(text), "\n") {
			if code, _, _ := strings.Cut(line, "//"); aliases.MatchString(code) {
				t.Errorf("%s:%d: %s", file, n+1, strings.TrimSpace(line))
			}
		}
	}
	if read == 0 {
		t.Error("no file was read")
	}
}

// Vitess rewrites the name of a schema, and not DATABASE() in a condition with OR. Then goose does not find its table.
func TestA4TheTableOfVersionsIsLookedForByTheNameOfItsSchema(t *testing.T) {
	d, err := chooseDialect(&Config{DSN: "root@tcp(127.0.0.1:3306)/shop"})
	if err != nil {
		t.Fatal(err)
	}
	versions, err := d.versions()
	if err != nil {
		t.Fatal(err)
	}
	var asked string
	db := sql.OpenDB(&answers{exec: func(statement string) error { asked = statement; return nil }})
	defer db.Close()
	_, _ = versions.TableExists(t.Context(), db) // the server has no rows
	if asked == "" || strings.Contains(strings.ToLower(asked), "database()") {
		t.Errorf("the server is asked: %q", asked)
	}
}
