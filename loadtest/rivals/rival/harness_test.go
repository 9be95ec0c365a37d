package rival

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/go-json-experiment/json"
	"github.com/go-sql-driver/mysql"
	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
	"tranche/loadtest/rivals/redisserver"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

// missing skips a test for want of something, or fails it where CI is set.
func missing(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal("missing: ", what)
	}
	t.Skip("NOT TESTED, missing: ", what)
}

// newDatabase makes an empty database that is dropped when the test ends.
func newDatabase(t *testing.T) *sql.DB {
	t.Helper()
	dsn := os.Getenv("TRANCHE_TEST_DSN")
	if dsn == "" {
		missing(t, "TRANCHE_TEST_DSN, a server's DSN such as root@tcp(127.0.0.1:3306)/")
	}
	cfg, err := mysql.ParseDSN(dsn)
	if err != nil {
		t.Fatal(err)
	}
	admin, err := sql.Open("mysql", cfg.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = admin.Close() })
	suffix := make([]byte, 6)
	if _, err := rand.Read(suffix); err != nil {
		t.Fatal(err)
	}
	cfg.DBName = "tranche_rivals_" + hex.EncodeToString(suffix)
	if _, err := admin.Exec("CREATE DATABASE " + cfg.DBName); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("DROP DATABASE " + cfg.DBName); err != nil {
			t.Error(err)
		}
	})
	db, err := OpenDatabase(cfg.FormatDSN(), 16)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// newRedis starts an empty Redis that is stopped when the test ends.
func newRedis(t *testing.T) *redis.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	server, err := redisserver.Start(ctx, t.TempDir())
	if errors.Is(err, exec.ErrNotFound) {
		missing(t, "redis-server")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Kill)
	client := OpenRedis(server.Addr, 16)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// open makes each kind of rival on an empty database.
var open = map[string]func(t *testing.T) contract.Books{
	"naive": func(t *testing.T) contract.Books { return must(NewNaive(t.Context(), newDatabase(t), time.Now))(t) },
	"slotted": func(t *testing.T) contract.Books {
		return must(NewSlotted(t.Context(), newDatabase(t), 8, time.Now))(t)
	},
	"split": func(t *testing.T) contract.Books { return newSplit(t) },
	"redis": func(t *testing.T) contract.Books { return newRedisRival(t) },
}

func newSplit(t *testing.T) *Split {
	t.Helper()
	return must(NewSplit(t.Context(), newDatabase(t), newRedis(t), time.Now))(t)
}

func newRedisRival(t *testing.T) *Redis {
	t.Helper()
	return must(NewRedis(t.Context(), newDatabase(t), newRedis(t), time.Now))(t)
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// each runs a test on all rivals.
func each(t *testing.T, test func(s *shop)) {
	for kind, open := range open {
		t.Run(kind, func(t *testing.T) { test(newShop(t, open(t))) })
	}
}

// shop asks a rival over HTTP.
type shop struct {
	*testing.T
	books   contract.Books
	handler http.Handler
}

func newShop(t *testing.T, books contract.Books) *shop {
	return &shop{t, books, contract.Handler(books)}
}

// answer is what came back, of the members that the tests look at.
type answer struct {
	status   int
	replayed bool

	ID            string `json:"id"`
	UserID        string `json:"user_id"`
	Units         int64  `json:"units"`
	RefundedUnits int64  `json:"refunded_units"`

	Type      string `json:"type"`
	Retryable bool   `json:"retryable"`

	Redeemed    int64  `json:"redeemed"`
	Refunded    int64  `json:"refunded"`
	NetSpent    int64  `json:"net_spent"`
	Redemptions int64  `json:"redemptions"`
	Limit       *int64 `json:"limit_redemptions"`
}

func (a *answer) is(problem string) bool { return a.Type == "/problems/"+problem }

func (s *shop) ask(method, path, key, body string) answer {
	s.Helper()
	request := httptest.NewRequestWithContext(s.Context(), method, path, strings.NewReader(body))
	if key != "" {
		request.Header.Set("Idempotency-Key", key)
	}
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, request)
	a := answer{status: recorder.Code, replayed: recorder.Header().Get("Idempotent-Replayed") == "true"}
	if err := json.Unmarshal(recorder.Body.Bytes(), &a); err != nil {
		s.Errorf("%s %s: %v: %s", method, path, err, recorder.Body)
	}
	return a
}

// offer makes one with so many units; a limit of zero is none.
func (s *shop) offer(budget, limit int) {
	s.Helper()
	more := ""
	if limit > 0 {
		more = fmt.Sprintf(`, "user_limit_redemptions": %d`, limit)
	}
	if a := s.ask("POST", "/v1/offers", "", fmt.Sprintf(`{"id": "o", "name": "An offer", "budget": %d%s}`, budget, more)); a.status != 201 {
		s.Fatalf("offer: %+v", a)
	}
}

func (s *shop) redeem(key, user string, units int) answer {
	s.Helper()
	return s.ask("POST", "/v1/offers/o/redemptions", key, fmt.Sprintf(`{"user_id": %q, "units": %d}`, user, units))
}

func (s *shop) mustRedeem(key, user string, units int) answer {
	s.Helper()
	a := s.redeem(key, user, units)
	if a.status != 201 || a.replayed {
		s.Fatalf("redeeming %s: %+v", key, a)
	}
	return a
}

func (s *shop) refund(id, key string, units int) answer {
	s.Helper()
	body := ""
	if units > 0 {
		body = fmt.Sprintf(`{"units": %d}`, units)
	}
	return s.ask("POST", "/v1/redemptions/"+id+"/refunds", key, body)
}

// counted fails unless the counters say so, and the log as well.
func (s *shop) counted(redeemed, refunded int64) {
	s.Helper()
	if b := s.ask("GET", "/v1/offers/o/balance", "", ""); b.Redeemed != redeemed || b.Refunded != refunded || b.NetSpent != redeemed-refunded {
		s.Errorf("the counters say %d redeemed, %d refunded, %d in all; want %d and %d", b.Redeemed, b.Refunded, b.NetSpent, redeemed, refunded)
	}
	s.logged(redeemed, refunded)
}

func (s *shop) logged(redeemed, refunded int64) {
	s.Helper()
	var inLog, back int64
	err := database(s.books).QueryRow("SELECT COALESCE(SUM(IF(refund = ?, units, 0)), 0), COALESCE(SUM(IF(refund = ?, 0, units)), 0) FROM log",
		noRefund[:], noRefund[:]).Scan(&inLog, &back)
	if err != nil {
		s.Fatal(err)
	}
	if inLog != redeemed || back != refunded {
		s.Errorf("the log says %d redeemed and %d refunded, want %d and %d", inLog, back, redeemed, refunded)
	}
}

func database(books contract.Books) *sql.DB {
	switch b := books.(type) {
	case *Naive:
		return b.db
	case *Slotted:
		return b.db
	case *Split:
		return b.db
	default:
		return books.(*Redis).offers.db
	}
}

// usage is how many redemptions a user has.
func (s *shop) usage(user string) int64 {
	s.Helper()
	a := s.ask("GET", "/v1/offers/o/users/"+user, "", "")
	if a.status != 200 {
		s.Fatalf("usage: %+v", a)
	}
	return a.Redemptions
}

// crowd runs n requests, a few at a time, and gives the answers in their order.
func crowd(n int, do func(i int) answer) []answer {
	answers := make([]answer, n)
	turns := make(chan int)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for i := range turns {
				answers[i] = do(i)
			}
		})
	}
	for i := range n {
		turns <- i
	}
	close(turns)
	all.Wait()
	return answers
}

// tally counts answers by what they are: the status, and the problem if there is one.
func tally(answers []answer) map[string]int {
	counts := map[string]int{}
	for _, a := range answers {
		what := fmt.Sprint(a.status)
		if a.replayed {
			what += " replayed"
		}
		counts[strings.TrimSpace(what+" "+strings.TrimPrefix(a.Type, "/problems/"))]++
	}
	return counts
}
