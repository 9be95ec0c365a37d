package node

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"

	"tranche/internal/storetest"
)

// visitor is a user of the tests' server, and the configuration of a node that comes as this user.
type visitor struct {
	t      *testing.T
	server *sql.DB
	name   string
	config Config
}

// visit makes a user without rights, for the database of a configuration.
func visit(t *testing.T, on Config, password string) *visitor {
	t.Helper()
	v := &visitor{t: t, server: storetest.Server(t), config: on}
	dsn, err := mysql.ParseDSN(on.DSN)
	if err != nil {
		t.Fatal(err)
	}
	v.name = "u_" + strings.TrimPrefix(dsn.DBName, "tranche_test_") + fmt.Sprint(visitors.Add(1))
	v.sql("CREATE USER " + v.name + " IDENTIFIED BY '" + password + "'")
	t.Cleanup(func() {
		if _, err := v.server.ExecContext(context.Background(), "DROP USER "+v.name); err != nil {
			t.Error(err)
		}
	})
	dsn.User, dsn.Passwd = v.name, password
	v.config.DSN = dsn.FormatDSN()
	return v
}

var visitors atomic.Int64

func (v *visitor) sql(statement string) {
	v.t.Helper()
	if _, err := v.server.ExecContext(v.t.Context(), statement); err != nil {
		v.t.Fatalf("%s: %v", statement, err)
	}
}

func (v *visitor) database() string {
	dsn, err := mysql.ParseDSN(v.config.DSN)
	if err != nil {
		v.t.Fatal(err)
	}
	return dsn.DBName
}

// grant gives the user the rights that a statement of the operator's guide gives to one of its users.
func (v *visitor) grant(guidesUser string) {
	v.t.Helper()
	guide, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		v.t.Fatal(err)
	}
	statements := regexp.MustCompile(`(?m)^(GRANT .*) ON tranche\.\* TO `+guidesUser+`;$`).FindAllStringSubmatch(string(guide), -1)
	if len(statements) == 0 {
		v.t.Fatalf("the guide grants nothing to %s", guidesUser)
	}
	v.sql(statements[len(statements)-1][1] + " ON " + v.database() + ".* TO " + v.name)
}

// sessions gives the highest number of a session that the user has, and how many there are.
func (v *visitor) sessions() (highest, count int64) {
	v.t.Helper()
	v.ask("COALESCE(MAX(id), 0), COUNT(*)", &highest, &count)
	return highest, count
}

// endSessions has the server end all sessions of the user.
func (v *visitor) endSessions() {
	v.t.Helper()
	var ids string
	v.ask("COALESCE(GROUP_CONCAT(id), '')", &ids)
	for id := range strings.SplitSeq(ids, ",") {
		_, _ = v.server.ExecContext(v.t.Context(), "KILL "+id) // it may have gone by itself
	}
}

// ask asks the server about the user's sessions.
func (v *visitor) ask(what string, answers ...any) {
	v.t.Helper()
	for {
		err := v.server.QueryRowContext(v.t.Context(), "SELECT "+what+" FROM information_schema.processlist WHERE user = ?", v.name).Scan(answers...)
		if answer, ok := errors.AsType[*mysql.MySQLError](err); ok && answer.Number == 3854 {
			continue // MySQL can't show a statement with binary values, which has ended by the next look
		}
		if err != nil {
			v.t.Fatal(err)
		}
		return
	}
}

func onMySQL(t *testing.T) Config {
	t.Helper()
	c := config(t)
	c.DSN = storetest.MySQL(t)
	return c
}

// use makes all kinds of calls that write.
func (r *running) use(offer string) {
	r.t.Helper()
	r.offer(offer, `"mode":"strict","user_limit_redemptions":10`)
	post := func(want int, path, body, key string) map[string]any {
		r.t.Helper()
		status, v := r.call("POST", path, body, "Idempotency-Key", key)
		if status != want {
			r.t.Fatalf("POST %s: %d %v", path, status, v)
		}
		return v
	}
	redeemed := post(201, "/v1/offers/"+offer+"/redemptions", `{"user_id":"alice"}`, "k1")
	post(201, fmt.Sprintf("/v1/redemptions/%s/refunds", redeemed["id"]), `{}`, "r1")
	held := post(201, "/v1/offers/"+offer+"/redemptions", `{"user_id":"alice","hold_seconds":60}`, "k2")
	post(200, fmt.Sprintf("/v1/redemptions/%s/confirm", held["id"]), `{}`, "")
	post(201, "/v1/carts", `{"user_id":"alice","items":[{"offer_id":"`+offer+`"}]}`, "c1")
	post(200, "/v1/offers/"+offer+"/recall", "", "")
	post(200, "/v1/offers/"+offer+"/end", "", "")
}

func TestD3TheGuidesListsOfRightsAreEnough(t *testing.T) {
	t.Parallel()
	on := onMySQL(t)
	migrating, serving := visit(t, on, "m"), visit(t, on, "s")
	migrating.grant("tranche_migrate")
	serving.grant("tranche")
	log := new(lines)
	serving.config.KeepTables = true
	serving.config.Logger = zerolog.New(log)
	n := start(t, serving.config)
	n.until("/readyz to say that tables are missing", func() bool {
		status, v := n.call("GET", "/readyz", "")
		return status == 503 && strings.Contains(fmt.Sprint(v["detail"]), "tranche migrate")
	})
	if err := Migrate(t.Context(), migrating.config.Database, zerolog.Nop()); err != nil {
		t.Fatal(err)
	}
	n.ready(200)
	n.use("o")
	n.stop()
	if err := n.wait(); err != nil {
		t.Error(err)
	}
	if text := log.String(); !strings.Contains(text, "tranche migrate") || strings.Contains(text, "denied") {
		t.Errorf("the log: %s", text)
	}
}

func TestD3TheFewestRightsOfOneUserAreEnough(t *testing.T) {
	t.Parallel()
	v := visit(t, onMySQL(t), "p")
	guide, err := os.ReadFile("../../docs/operate.md")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`(?m)^(GRANT .*) ON tranche\.\* TO tranche;$`).FindStringSubmatch(string(guide))
	v.sql(first[1] + " ON " + v.database() + ".* TO " + v.name)
	n := start(t, v.config)
	n.ready(200)
	n.use("o")
}

func TestD3MigratingDoesNotWaitForRightsThatItLacks(t *testing.T) {
	t.Parallel()
	v := visit(t, onMySQL(t), "p")
	if err := Migrate(t.Context(), v.config.Database, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "1044") {
		t.Errorf("without rights: %v", err)
	}
	v.sql("GRANT SELECT ON " + v.database() + ".* TO " + v.name)
	if err := Migrate(t.Context(), v.config.Database, zerolog.Nop()); err == nil || !strings.Contains(err.Error(), "1142") {
		t.Errorf("without the right to create: %v", err)
	}
}

func TestD3ReadinessAndTheLogNameWhatTheDatabaseDenies(t *testing.T) {
	t.Parallel()
	v := visit(t, onMySQL(t), "right")
	log := new(lines)
	v.config.Logger = zerolog.New(log)
	v.config.PasswordFile = filepath.Join(t.TempDir(), "password")
	v.config.DSN = strings.Replace(v.config.DSN, ":right@", "@", 1)
	setPassword(t, v.config.PasswordFile, "wrong")
	n := start(t, v.config)
	names := func(number string, provoke func()) {
		t.Helper()
		n.until("readiness to name error "+number, func() bool {
			provoke()
			_, answer := n.call("GET", "/readyz", "")
			return strings.Contains(fmt.Sprint(answer["detail"]), number)
		})
		if !strings.Contains(log.String(), "Error "+number) {
			t.Errorf("the log does not name error %s: %s", number, log)
		}
		_, answer := n.call("GET", "/readyz", "")
		if strings.Contains(fmt.Sprint(answer["detail"]), v.name) {
			t.Errorf("readiness tells everybody the user's name: %v", answer)
		}
	}
	names("1045", func() {})
	setPassword(t, v.config.PasswordFile, "right")
	names("1044", func() {})
	v.grant("tranche_migrate")
	v.grant("tranche")
	n.ready(200)
	n.offer("o", `"mode":"strict"`)
	v.sql("REVOKE INSERT ON " + v.database() + ".* FROM " + v.name)
	v.endSessions() // rights on a database hold for as long as a session
	names("1142", func() { n.call("POST", "/v1/offers", `{"id":"p","name":"P","budget":50}`) })
	v.sql("GRANT INSERT ON " + v.database() + ".* TO " + v.name)
	v.endSessions()
	n.until("readiness to be silent again", func() bool {
		n.call("POST", "/v1/offers", `{"id":"p","name":"P","budget":50}`)
		n.call("POST", "/v1/offers/o/redemptions", `{"user_id":"u"}`, "Idempotency-Key", "k")
		_, answer := n.call("GET", "/readyz", "")
		return answer["detail"] == "serving"
	})
}

func setPassword(t *testing.T, file, password string) {
	t.Helper()
	if err := os.WriteFile(file+".new", []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// load redeems of many offers at once, each of which needs a session, and gives what was not answered with 201.
func (r *running) load(ctx context.Context, offers int, key string) (failures []string) {
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range offers {
		all.Go(func() {
			status, v := r.call("POST", fmt.Sprintf("/v1/offers/o%d/redemptions", i), `{"user_id":"u"}`, "Idempotency-Key", key)
			if status != 201 && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, fmt.Sprint(status, v))
			}
		})
	}
	all.Wait()
	return failures
}

func TestD3APasswordThatChangesUnderLoadFailsNoRequest(t *testing.T) {
	const offers = 12
	for name, change := range map[string]func(n *running, v *visitor, burst func()){
		"the server first": func(n *running, v *visitor, burst func()) {
			v.sql("ALTER USER " + v.name + " IDENTIFIED BY 'two'")
			burst()
			n.until("a session to be denied", func() bool { return n.store.Denied() != "" })
			setPassword(v.t, v.config.PasswordFile, "two")
		},
		"the file first": func(n *running, v *visitor, burst func()) {
			setPassword(v.t, v.config.PasswordFile, "two")
			before, _ := v.sessions()
			burst()
			n.until("a new session with the password that worked last", func() bool {
				highest, _ := v.sessions()
				return highest > before
			})
			v.sql("ALTER USER " + v.name + " IDENTIFIED BY 'two'")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := visit(t, onMySQL(t), "one")
			v.grant("tranche_migrate")
			v.grant("tranche")
			v.config.PasswordFile = filepath.Join(t.TempDir(), "password")
			v.config.DSN = strings.Replace(v.config.DSN, ":one@", "@", 1)
			setPassword(t, v.config.PasswordFile, "one")
			n := start(t, v.config)
			n.ready(200)
			for i := range offers {
				n.offer(fmt.Sprint("o", i), `"mode":"strict"`)
			}
			var failures []string
			var loading sync.WaitGroup
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			loading.Go(func() { // the sessions that a node keeps for one offer
				for round := 0; ctx.Err() == nil; round++ {
					failures = append(failures, n.load(ctx, 1, fmt.Sprint("steady", round%40))...)
				}
			})
			var bursting sync.WaitGroup
			burst := func(key string) {
				bursting.Go(func() {
					if failed := n.load(t.Context(), offers, key); len(failed) > 0 {
						t.Errorf("%d requests failed: %v", len(failed), failed)
					}
				})
			}
			change(n, v, func() { burst("burst") })
			bursting.Wait()
			n.until("most sessions of the burst to be closed", func() bool {
				_, count := v.sessions()
				return count < offers/2
			})
			highest, _ := v.sessions()
			burst("later")
			n.until("a session with the new password", func() bool {
				now, _ := v.sessions()
				return now > highest
			})
			bursting.Wait()
			stop()
			loading.Wait()
			if len(failures) > 0 {
				t.Errorf("%d requests failed: %v", len(failures), failures)
			}
		})
	}
}
