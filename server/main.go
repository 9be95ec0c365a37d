// Command server runs a node of Tranche.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"tranche/server/node"
)

// settings are the flags. Each is an environment variable, too, and may be a line of the file that --config names:
// a flag beats the environment, and that beats the file.
type settings struct {
	Config kong.ConfigFlag `help:"File of settings, a line each: TRANCHE_LISTEN=127.0.0.1:8080." placeholder:"FILE"`

	Listen      string `env:"TRANCHE_LISTEN" default:"127.0.0.1:8080" help:"Address to serve on. Without keys, only a loopback one."`
	DataDir     string `env:"TRANCHE_DATA_DIR" default:"./data" help:"Folder of the node's identity and, without a DSN, of its database."`
	NodeName    string `env:"TRANCHE_NODE_NAME" default:"${hostname}" help:"What people call this node."`
	DSN         string `env:"TRANCHE_DSN" name:"dsn" placeholder:"DSN" help:"MySQL or MariaDB, as user:password@tcp(host:3306)/database. Without it, an embedded SQLite database in the data directory."`
	AdminKey    string `env:"TRANCHE_ADMIN_KEY" placeholder:"KEY" help:"Bearer key that may do everything. Better set by environment or file: arguments are seen by others."`
	CheckoutKey string `env:"TRANCHE_CHECKOUT_KEY" placeholder:"KEY" help:"Bearer key that may redeem, refund, and read offers."`

	RequestTimeout time.Duration `env:"TRANCHE_REQUEST_TIMEOUT" default:"5s" help:"From a request's arrival until it is decided, or dropped unapplied."`
	DrainWait      time.Duration `env:"TRANCHE_DRAIN_WAIT" default:"3s" help:"How long to go on serving after SIGTERM while /readyz already says no."`

	LogLevel  string `env:"TRANCHE_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"Least level to log: ${enum}."`
	LogFormat string `env:"TRANCHE_LOG_FORMAT" default:"auto" enum:"auto,json,text" help:"${enum}; auto is text on a terminal."`
}

func main() {
	hostname, err := os.Hostname()
	if err != nil || hostname == "" {
		hostname = "node"
	}
	var s settings
	kong.Parse(&s,
		kong.Name("server"),
		kong.Description("Tranche keeps the budgets of promotions: nodes lease blocks of an offer's budget and redeem from them."),
		kong.Vars{"hostname": hostname},
		kong.Configuration(loadFile),
	)
	if err := serve(&s); err != nil {
		fmt.Fprintln(os.Stderr, "server:", err)
		os.Exit(1)
	}
}

// serve runs the node until SIGINT or SIGTERM; a second signal ends it at once.
func serve(s *settings) error {
	n, err := node.New(node.Config{
		Listen: s.Listen, DataDir: s.DataDir, NodeName: s.NodeName, DSN: s.DSN,
		AdminKey: s.AdminKey, CheckoutKey: s.CheckoutKey,
		RequestTimeout: s.RequestTimeout, DrainWait: s.DrainWait, Logger: s.logger(),
	})
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	fmt.Print(greeting(n.Addr().String(), s.AdminKey != "" || s.CheckoutKey != ""))
	if err := n.Run(ctx); err != nil {
		return err
	}
	return nil
}

func (s *settings) logger() zerolog.Logger {
	level, err := zerolog.ParseLevel(s.LogLevel)
	if err != nil {
		panic(errors.Join(errors.New("the flag's enum lets only levels through"), err))
	}
	logger := zerolog.New(os.Stderr)
	if s.LogFormat == "text" || s.LogFormat == "auto" && isatty.IsTerminal(os.Stderr.Fd()) {
		logger = zerolog.New(zerolog.ConsoleWriter{Out: os.Stderr, TimeFormat: time.TimeOnly})
	}
	return logger.Level(level).With().Timestamp().Logger()
}
