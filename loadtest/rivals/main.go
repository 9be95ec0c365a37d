// Command rivals serves one of the usual ways to keep a promotion's budget, over the part of Tranche's HTTP contract that a benchmark
// uses. It is there to be compared with: package rival says what each way gives and loses.
package main

import (
	"context"
	"database/sql"
	"errors"
	"log"
	"net/http"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/contract"
	"tranche/loadtest/rivals/rival"
)

type settings struct {
	Kind   string        `required:"" enum:"naive,slotted,split,redis" help:"Which rival: ${enum}."`
	Listen string        `default:"127.0.0.1:8090" help:"Address to serve on."`
	DSN    string        `required:"" name:"dsn" help:"MySQL or MariaDB, as user:password@tcp(host:3306)/database."`
	Redis  string        `default:"127.0.0.1:6379" help:"Address of Redis, for split and redis."`
	Conns  int           `default:"64" help:"Connections to the database, and to Redis, at most."`
	Slots  int64         `default:"64" help:"Into how many rows slotted splits a budget."`
	Period time.Duration `default:"10s" help:"How often split and redis roll the log up; longer than any request lasts."`
}

func main() {
	var s settings
	kong.Parse(&s, kong.Name("rivals"), kong.Description("Serves one of the usual ways to keep a promotion's budget."))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := s.serve(ctx); err != nil {
		log.Fatalln("rivals:", err)
	}
}

// job is what a rival does beside serving.
type job func(ctx context.Context)

// serve serves until ctx ends.
func (s *settings) serve(ctx context.Context) error {
	db, err := rival.OpenDatabase(s.DSN, s.Conns)
	if err != nil {
		return err
	}
	defer db.Close()
	cache := rival.OpenRedis(s.Redis, s.Conns)
	defer cache.Close()
	books, beside, err := s.open(ctx, db, cache)
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	defer running.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	running.Go(func() { beside(ctx) })

	gin.SetMode(gin.ReleaseMode)
	server := &http.Server{Addr: s.Listen, Handler: contract.Handler(books), ReadHeaderTimeout: 10 * time.Second}
	running.Go(func() {
		<-ctx.Done()
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_ = server.Shutdown(last)
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (s *settings) open(ctx context.Context, db *sql.DB, cache *redis.Client) (contract.Books, job, error) {
	idle := func(context.Context) {}
	report := func(err error) { log.Println("rivals: rolling up:", err) }
	switch s.Kind {
	case "naive":
		books, err := rival.NewNaive(ctx, db, time.Now)
		return books, idle, err
	case "slotted":
		books, err := rival.NewSlotted(ctx, db, s.Slots, time.Now)
		return books, idle, err
	case "split":
		books, err := rival.NewSplit(ctx, db, cache, time.Now)
		return books, func(ctx context.Context) { books.Run(ctx, s.Period, report) }, err
	default:
		books, err := rival.NewRedis(ctx, db, cache, time.Now)
		return books, func(ctx context.Context) { books.Run(ctx, s.Period, report) }, err
	}
}
