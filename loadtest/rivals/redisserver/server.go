// Package redisserver runs a private redis-server, for a benchmark or a test.
//
// It persists as a careful operator would have it: an append-only file that is synced once a second. Always is not a fair choice, since it
// gives up what Redis is taken for; never would lose more than anybody accepts.
package redisserver

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"tranche/loadtest/rivals/child"
)

// Server is a running redis-server.
type Server struct {
	*child.Process
	Addr string
}

// Start starts a server that keeps its files in dir, and waits until it answers. It fails with exec.ErrNotFound where Redis is not installed.
func Start(ctx context.Context, dir string) (*Server, error) {
	var err error
	for range 5 { // a port that was free a moment ago may not be any more
		var s *Server
		if s, err = start(dir); err != nil {
			return nil, err
		}
		if err = s.await(ctx); err == nil {
			return s, nil
		}
		s.Kill()
	}
	return nil, fmt.Errorf("%w: %s", err, child.Tail(output(dir)))
}

func output(dir string) string { return filepath.Join(dir, "output") }

func start(dir string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	port, err := child.FreePort()
	if err != nil {
		return nil, err
	}
	process, err := child.Start(&exec.Cmd{Path: program, Args: []string{
		"redis-server", "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--dir", dir, "--daemonize", "no",
		"--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
	}}, output(dir))
	if err != nil {
		return nil, err
	}
	return &Server{process, fmt.Sprintf("127.0.0.1:%d", port)}, nil
}

// find looks for the program. Debian's package without the system service has it under the name of its checker only: what it is called by
// tells it what to be.
func find() (string, error) {
	program, err := exec.LookPath("redis-server")
	if err == nil {
		return program, nil
	}
	return exec.LookPath("redis-check-rdb")
}

// await waits until the server answers.
func (s *Server) await(ctx context.Context) error {
	client := redis.NewClient(&redis.Options{Addr: s.Addr, MaxRetries: -1})
	defer client.Close()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		err := client.Ping(ctx).Err()
		if err == nil {
			return nil
		}
		select {
		case <-s.Exited():
			return errors.New("redis-server ended")
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-poll.C:
		}
	}
}

// Version says which Redis Start would start, and how it persists.
func Version(ctx context.Context) (string, error) {
	program, err := find()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, program)
	cmd.Args = []string{"redis-server", "--version"}
	out, err := cmd.Output()
	if err != nil {
		return "", err
	}
	for _, field := range strings.Fields(string(out)) {
		if version, ok := strings.CutPrefix(field, "v="); ok {
			return "Redis " + version + " with an append-only file, synced once a second", nil
		}
	}
	return "", fmt.Errorf("redis-server --version says %q", out)
}
