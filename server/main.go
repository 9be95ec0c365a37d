// Tranche runs a node, and looks after the journals of nodes that don't run.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"

	"tranche/internal/version"
	"tranche/server/node"
)

// settings are the flags. Each is an environment variable, too, and may be a line of the file that --config names:
// a flag beats the environment, and that beats the file.
type settings struct {
	Version kong.VersionFlag `help:"Print the version and end."`
	Config  kong.ConfigFlag  `help:"File of settings, a line each: TRANCHE_LISTEN=127.0.0.1:8080." placeholder:"FILE"`

	Listen        string `env:"TRANCHE_LISTEN" default:"127.0.0.1:8080" help:"Address to serve on. Without keys, only a loopback one."`
	DataDir       string `env:"TRANCHE_DATA_DIR" default:"./data" help:"Folder of the node's identity, its journal and, without a DSN, its database."`
	NodeName      string `env:"TRANCHE_NODE_NAME" default:"${hostname}" help:"What people call this node."`
	DSN           filled `env:"TRANCHE_DSN" name:"dsn" placeholder:"DSN" help:"MySQL or MariaDB, as user:password@tcp(host:3306)/database. Without it, an embedded SQLite database in the data directory."`
	DBConnections int    `env:"TRANCHE_DB_CONNECTIONS" name:"db-connections" default:"${connections}" help:"Connections to MySQL or MariaDB at most, those of lists included. All nodes together must fit the server's max_connections."`
	DBCA          filled `env:"TRANCHE_DB_CA" name:"db-ca" placeholder:"FILE" help:"Certificates, in PEM, of the authority that vouches for the database. Connections use TLS then."`
	DBPassword    filled `env:"TRANCHE_DB_PASSWORD_FILE" name:"db-password-file" placeholder:"FILE" help:"File of the database's password, which the DSN then lacks. It is read for each new connection."`
	Tables        string `env:"TRANCHE_MIGRATE" name:"migrate" default:"auto" enum:"auto,off" help:"Whether a node brings the database's tables up to date at its start: ${enum}. With off, somebody runs tranche migrate."`
	TLSCert       filled `env:"TRANCHE_TLS_CERT" name:"tls-cert" placeholder:"FILE" help:"Certificate and its chain, in PEM, to serve HTTPS with. The file is read again when it changes."`
	TLSKey        filled `env:"TRANCHE_TLS_KEY" name:"tls-key" placeholder:"FILE" help:"Private key of the certificate, in PEM."`
	AdminKey      filled `env:"TRANCHE_ADMIN_KEY" placeholder:"KEY" help:"Bearer key that may do everything. Better set by environment or file: arguments are seen by others."`
	CheckoutKey   filled `env:"TRANCHE_CHECKOUT_KEY" placeholder:"KEY" help:"Bearer key that may redeem, refund, and read offers."`

	RequestTimeout time.Duration `env:"TRANCHE_REQUEST_TIMEOUT" default:"5s" help:"From a request's arrival until it is decided, or dropped unapplied: 1s to 10s."`
	DrainWait      time.Duration `env:"TRANCHE_DRAIN_WAIT" default:"3s" help:"How long to go on serving after SIGTERM while /readyz already says no."`

	LogLevel  string `env:"TRANCHE_LOG_LEVEL" default:"info" enum:"debug,info,warn,error" help:"Least level to log: ${enum}."`
	LogFormat string `env:"TRANCHE_LOG_FORMAT" default:"auto" enum:"auto,json,text" help:"${enum}; auto is text on a terminal."`
}

// filled is a setting that is either left out or says something. Set and empty is what becomes of a variable that was not filled in, and
// without a key, a certificate or a DSN, a node is open to more, or knows less, than was meant.
type filled string

// UnmarshalText implements encoding.TextUnmarshaler, as kong asks for it.
func (f *filled) UnmarshalText(text []byte) error {
	if len(text) == 0 {
		return errors.New("it is set and empty: fill it in, or leave it out")
	}
	*f = filled(text)
	return nil
}

// program is the settings, which all commands share, and the commands.
type program struct {
	settings

	Serve   serve           `cmd:"" default:"1" help:"Serve. That is what the program does without a command."`
	Journal journalCommands `cmd:"" help:"Look after the journal of a node that does not run."`
	Migrate migrate         `cmd:"" help:"Bring the tables of the database that --dsn names up to date, and end. Waits for the database, and for others that do the same."`
	Health  healthCheck     `cmd:"" help:"Ask the node at the address that --listen names for /healthz. Ends with status 1 unless it answers; for a container's health check."`
	Plan    planning        `cmd:"" help:"Foretell what an offer costs a fleet: transactions on its row, units that can be stranded or overspent, growth of the ledger."`
}

// parser reads arguments into p. hostname is what a node is called that has no other name.
func parser(p *program, hostname string, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(p, append([]kong.Option{
		kong.Name("tranche"),
		kong.Description("Tranche keeps the budgets of promotions: nodes lease blocks of an offer's budget and redeem from them."),
		kong.Vars{"version": "tranche " + version.Version, "hostname": hostname, "connections": strconv.Itoa(node.DefaultDBConns)},
		kong.Configuration(loadFile),
	}, more...)...)
}

func main() {
	// The first SIGINT or SIGTERM ends a command in an orderly way, a second one at once.
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// execute runs the command that the arguments name, and gives the program's exit code: 1 after any error.
func execute(ctx context.Context, args []string, out, errOut io.Writer) (code int) {
	hostname, err := os.Hostname()
	if err != nil || hostname == "" {
		hostname = "node"
	}
	var p program
	k, err := parser(&p, hostname, kong.BindTo(ctx, (*context.Context)(nil)), kong.BindTo(out, (*io.Writer)(nil)), kong.Bind(&p.settings))
	if err != nil {
		panic(errors.Join(errors.New("the tags of the flags are wrong"), err))
	}
	command, err := k.Parse(args)
	if err != nil && strings.HasPrefix(err.Error(), "unexpected argument") {
		err = errors.New("an argument is neither a command nor a flag: `tranche --help` lists them") // it may be a DSN with a password
	}
	if err == nil {
		err = command.Run()
	}
	if err != nil {
		fmt.Fprintln(errOut, "tranche:", err)
		return 1
	}
	return 0
}

// serve is the command that runs a node until its context ends.
type serve struct{}

// Run implements the command.
func (serve) Run(ctx context.Context, s *settings, out io.Writer) error {
	logger := s.logger()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(300) // a node keeps little and makes much garbage
	}
	n, err := node.New(node.Config{
		Listen: s.Listen, DataDir: s.DataDir, NodeName: s.NodeName, Database: s.database(),
		TLSCert: string(s.TLSCert), TLSKey: string(s.TLSKey), AdminKey: string(s.AdminKey), CheckoutKey: string(s.CheckoutKey),
		RequestTimeout: s.RequestTimeout, DrainWait: s.DrainWait, Logger: logger,
	})
	if err != nil {
		return s.inFile(err)
	}
	if isTerminal(out) {
		fmt.Fprint(out, greeting(s.scheme()+n.Addr().String(), s))
	}
	return n.Run(ctx)
}

// database is what the settings say of the ledger's place.
func (s *settings) database() node.Database {
	return node.Database{DSN: string(s.DSN), DBConns: s.DBConnections, CAFile: string(s.DBCA), PasswordFile: string(s.DBPassword), KeepTables: s.Tables == "off"}
}

// inFile names the settings' file, if there is one, beside an error that some setting causes.
func (s *settings) inFile(err error) error {
	if s.Config == "" {
		return err
	}
	return fmt.Errorf("%w (settings are read from %s, too)", err, s.Config)
}

// scheme is how clients reach the node.
func (s *settings) scheme() string {
	if s.TLSCert != "" {
		return "https://"
	}
	return "http://"
}

// isTerminal reports whether a person reads what is written.
func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
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
