// Command fleet runs many nodes in one process, each with its own data directory and its own port: a database can't tell them from as many
// machines, and that is what they are for. What a fleet of this size asks of its database is measured with it on one machine.
//
// What they do share is the disk, so their journals are filled ahead by less than those of nodes that have one each.
//
// The file "addresses" in its folder says where the nodes listen, a line each; it appears when all of them do. They are asked at /readyz
// whether they serve. On SIGTERM all of them drain, and when one fails, too.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sync/errgroup"

	"tranche/server/node"
)

// fleet is what is to be run.
type fleet struct {
	nodes int
	dsn   string
	dir   string
}

func main() {
	var f fleet
	flag.IntVar(&f.nodes, "nodes", 1, "how many")
	flag.StringVar(&f.dsn, "dsn", "", "MySQL or MariaDB, as user:password@tcp(host:3306)/database")
	flag.StringVar(&f.dir, "dir", "", "a folder that is there, for the data directories and the addresses")
	flag.Parse()
	if f.dsn == "" || f.dir == "" || f.nodes < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := f.run(ctx); err != nil {
		log.Fatalln("fleet:", err)
	}
}

// run serves until ctx ends, or a node does.
func (f *fleet) run(ctx context.Context) error {
	debug.SetGCPercent(300) // as the server does
	nodes, err := f.assemble()
	if err != nil {
		return err
	}
	if err := f.tell(nodes); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		all.Go(func() error { return n.Run(ctx) })
	}
	return all.Wait()
}

// journalSegment is small, in bytes: all nodes fill their journals ahead on the one disk that the database is on, too. One node alone has
// the size that nodes have.
func (f *fleet) journalSegment() int64 {
	if f.nodes == 1 {
		return 0
	}
	return 1 << 20
}

// assemble makes the nodes, each of which listens from then on. Those that were made before an error end with the process.
func (f *fleet) assemble() ([]*node.Node, error) {
	logger := zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()
	nodes := make([]*node.Node, f.nodes)
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i+1)
		n, err := node.New(node.Config{
			Listen: "127.0.0.1:0", DataDir: filepath.Join(f.dir, name), NodeName: name, DSN: f.dsn, RequestTimeout: 5 * time.Second,
			JournalSegment: f.journalSegment(), Logger: logger,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		nodes[i] = n
	}
	return nodes, nil
}

// tell writes the addresses down. Who waits for the file finds all of it.
func (f *fleet) tell(nodes []*node.Node) error {
	var lines strings.Builder
	for _, n := range nodes {
		fmt.Fprintln(&lines, n.Addr())
	}
	path := filepath.Join(f.dir, "addresses")
	if err := os.WriteFile(path+".new", []byte(lines.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
