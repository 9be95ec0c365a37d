package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"tranche/loadtest/rivals/bench/load"
	"tranche/loadtest/rivals/bench/meter"
	"tranche/loadtest/rivals/bench/network"
	"tranche/loadtest/rivals/bench/trial"
	"tranche/loadtest/rivals/child"
	"tranche/loadtest/rivals/redisserver"
)

// hot is the offer that everybody wants.
const hot = "hot"

// server is a contestant with all that is its own: processes, a database, a Redis, a folder. It implements trial.Server.
type server struct {
	contestant
	settings *settings
	database *meter.Database
	dir      string
	dsn      string
	relay    *network.Relay // to the database, of a distant contestant
	addr     string
	client   *load.Client
	process  *child.Process
	redis    *redisserver.Server
}

// startServer starts a contestant with empty books and makes its offer.
func startServer(ctx context.Context, c contestant, s *settings, db *meter.Database, budget, leaseSize int64) (*server, error) {
	dir, err := os.MkdirTemp("", "tranche-bench.")
	if err != nil {
		return nil, err
	}
	v := &server{contestant: c, settings: s, database: db, dir: dir}
	if err := v.setUp(ctx, budget, leaseSize); err != nil {
		said := child.Tail(v.output())
		v.stop(ctx)
		return nil, fmt.Errorf("%s: %w: %s", c.name, err, said)
	}
	return v, nil
}

func (v *server) setUp(ctx context.Context, budget, leaseSize int64) (err error) {
	port, err := child.FreePort()
	if err != nil {
		return err
	}
	v.addr = fmt.Sprintf("127.0.0.1:%d", port)
	v.client = load.NewClient(v.addr, 4, 10*time.Second)
	if v.hasBooks() {
		if v.dsn, err = v.database.Recreate(ctx, v.schema()); err != nil {
			return err
		}
	}
	if v.distant {
		if v.relay, err = network.Listen(v.database.Addr(), networkDelay); err != nil {
			return err
		}
	}
	if v.contestant.redis {
		if v.redis, err = redisserver.Start(ctx, v.dir); err != nil {
			return err
		}
	}
	if err := v.Start(ctx); err != nil || !v.hasBooks() {
		return err
	}
	a, err := v.client.Ask(http.MethodPost, "/v1/offers", "", v.offer(hot, budget, leaseSize))
	if err == nil && a.Status != http.StatusCreated {
		err = fmt.Errorf("the offer: %+v", a)
	}
	return err
}

// schema is the name of the contestant's database.
func (v *server) schema() string {
	return "tranche_bench_" + strings.Map(func(r rune) rune {
		if r < 'a' || r > 'z' {
			return '_'
		}
		return r
	}, v.name)
}

func (v *server) output() string { return filepath.Join(v.dir, "server.log") }

// Addr implements trial.Server.
func (v *server) Addr() string { return v.addr }

// Kill implements trial.Server.
func (v *server) Kill() { v.process.Kill() }

// Start implements trial.Server: it starts the process, the first time or again.
func (v *server) Start(ctx context.Context) (err error) {
	redis := ""
	if v.redis != nil {
		redis = v.redis.Addr
	}
	dsn := v.dsn
	if v.relay != nil {
		if dsn, err = meter.At(v.dsn, v.relay.Addr()); err != nil {
			return err
		}
	}
	args := v.command(v.settings.Bin, v.addr, v.dir, dsn, redis, v.settings.Period)
	cmd := exec.Command(args[0], args[1:]...)
	// The contestants are this run's own: nothing of a fleet in the environment may leak into them.
	cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "TRANCHE_") })
	if v.process, err = child.Start(cmd, v.output()); err != nil {
		return err
	}
	return child.Poll(ctx, 30*time.Second, func() (bool, error) {
		select {
		case <-v.process.Exited():
			return false, errors.New("the process ended")
		default:
		}
		a, err := v.client.Ask(http.MethodGet, "/readyz", "", "")
		return err == nil && a.Status == http.StatusOK, nil
	})
}

// stop ends the processes and removes everything.
func (v *server) stop(ctx context.Context) {
	if v.process != nil {
		v.process.Stop(10 * time.Second)
	}
	if v.relay != nil {
		v.relay.Close()
	}
	if v.redis != nil {
		v.redis.Kill()
	}
	if v.client != nil {
		v.client.Close()
	}
	if v.dsn != "" {
		// What is left behind is dropped by the next run.
		_ = v.database.Drop(context.WithoutCancel(ctx), v.schema())
	}
	_ = os.RemoveAll(v.dir)
}

// settle waits until everything acknowledged is in the database, and gives how long that took.
func (v *server) settle(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if v.mode == "" { // the others acknowledge nothing that isn't
		return 0, nil
	}
	err := child.Poll(ctx, 10*time.Minute, func() (bool, error) {
		backlog, err := v.backlog(ctx)
		return backlog == 0, err
	})
	return time.Since(start), err
}

// backlog is how many records of the journal are not settled yet.
func (v *server) backlog(ctx context.Context) (float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+v.addr+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "tranche_journal_backlog_records "); ok {
			return strconv.ParseFloat(value, 64)
		}
	}
	return 0, errors.New("/metrics does not tell the journal's backlog")
}

// watchBacklog looks at the backlog from time to time. The function that it gives ends that, and tells the most that was seen.
func (v *server) watchBacklog(ctx context.Context) (stop func() int64) {
	if v.mode == "" {
		return func() int64 { return 0 }
	}
	ctx, cancel := context.WithCancel(ctx)
	most := make(chan int64)
	go func() {
		seen := 0.0
		tick := time.NewTicker(250 * time.Millisecond) // seldom: the node makes all its metrics each time
		defer tick.Stop()
		for ctx.Err() == nil {
			backlog, err := v.backlog(ctx)
			if err == nil {
				seen = max(seen, backlog)
			}
			select {
			case <-ctx.Done():
			case <-tick.C:
			}
		}
		most <- int64(seen)
	}()
	return func() int64 {
		cancel()
		return <-most
	}
}

// CatchUp implements trial.Server. A job that corrects counters needs two more periods to see that something is wrong.
func (v *server) CatchUp(ctx context.Context) error {
	if _, err := v.settle(ctx); err != nil || !v.job {
		return err
	}
	err := child.Poll(ctx, time.Minute+3*v.settings.Period, func() (done bool, err error) {
		err = v.query(ctx, "SELECT (SELECT COALESCE(MAX(number), 0) FROM log) <= (SELECT number FROM checkpoint)", nil, &done)
		return done, err
	})
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(2*v.settings.Period + time.Second):
		return nil
	}
}

// query reads one row of the contestant's database.
func (v *server) query(ctx context.Context, statement string, args []any, into ...any) error {
	return v.open(func(db *sql.DB) error { return db.QueryRowContext(ctx, statement, args...).Scan(into...) })
}

func (v *server) open(use func(*sql.DB) error) error {
	db, err := sql.Open("mysql", v.dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	return use(db)
}

// Books implements trial.Server.
func (v *server) Books(ctx context.Context, offer string) (books *trial.Books, err error) {
	err = v.open(func(db *sql.DB) error {
		books, err = v.books().Read(ctx, db, offer)
		return err
	})
	return books, err
}

// RolledUp implements trial.Server.
func (v *server) RolledUp(ctx context.Context, offer string) (*int64, error) {
	if !v.job {
		return nil, nil
	}
	var net int64
	return &net, v.query(ctx, "SELECT used - refunded FROM offers WHERE id = ?", []any{offer}, &net)
}
