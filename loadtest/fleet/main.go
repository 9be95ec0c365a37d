// Command fleet runs many nodes in one process, each with its own data directory and port. A database can't tell them from as many
// machines. So one machine can measure what a large fleet asks of its database.
//
// The file "addresses" in the folder has a line for each node. It appears when all nodes listen; /readyz tells whether they serve.
// On SIGTERM all nodes drain. They also drain when one of them fails.
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

// program is the flags.
type program struct {
	nodes int
	dsn   string
	dir   string
}

func main() {
	var p program
	flag.IntVar(&p.nodes, "nodes", 1, "how many")
	flag.StringVar(&p.dsn, "dsn", "", "MySQL or MariaDB, as user:password@tcp(host:3306)/database")
	flag.StringVar(&p.dir, "dir", "", "a folder that is there, for the data directories and the addresses")
	flag.Parse()
	if p.dsn == "" || p.dir == "" || p.nodes < 1 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := p.run(ctx); err != nil {
		log.Fatalln("fleet:", err)
	}
}

// run serves until ctx ends, or a node does.
func (p *program) run(ctx context.Context) error {
	debug.SetGCPercent(300) // as the server does
	nodes, err := p.assemble()
	if err != nil {
		return err
	}
	if err := p.tell(nodes); err != nil {
		return err
	}
	all, ctx := errgroup.WithContext(ctx)
	for _, n := range nodes {
		all.Go(func() error { return n.Run(ctx) })
	}
	return all.Wait()
}

// assemble makes the nodes, which listen from then on. After an error the process ends, and with it the nodes made so far.
func (p *program) assemble() ([]*node.Node, error) {
	logger := zerolog.New(os.Stderr).Level(zerolog.WarnLevel).With().Timestamp().Logger()
	nodes := make([]*node.Node, p.nodes)
	for i := range nodes {
		name := fmt.Sprintf("node-%d", i+1)
		n, err := node.New(node.Config{
			Listen: "127.0.0.1:0", DataDir: filepath.Join(p.dir, name), NodeName: name, Database: node.Database{DSN: p.dsn}, RequestTimeout: 5 * time.Second,
			Logger: logger,
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		nodes[i] = n
	}
	return nodes, nil
}

// tell writes the addresses to the file. The file appears as a whole.
func (p *program) tell(nodes []*node.Node) error {
	var lines strings.Builder
	for _, n := range nodes {
		fmt.Fprintln(&lines, n.Addr())
	}
	path := filepath.Join(p.dir, "addresses")
	if err := os.WriteFile(path+".new", []byte(lines.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}
