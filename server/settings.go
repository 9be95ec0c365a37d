package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// fileSettings are the lines of a settings file: the environment variables of the flags, and their values.
type fileSettings map[string]string

// loadFile reads a settings file: NAME=value, a line each. Blank lines and those that begin with # are left out. A value is taken as it
// stands, but for the white space around it: quotes, $ and # belong to it, as passwords have them.
func loadFile(r io.Reader) (kong.Resolver, error) {
	values := fileSettings{}
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		_, again := values[name]
		switch {
		case !found || name == "":
			return nil, fmt.Errorf("line %d is not NAME=value", number) // the line itself may be a secret
		case again:
			return nil, fmt.Errorf("line %d sets %s again", number, name)
		}
		values[name] = strings.TrimSpace(value)
	}
	return values, lines.Err()
}

// Validate implements kong.Resolver: a line that sets nothing is an error, for it is a misspelt setting.
func (f fileSettings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		for _, env := range flag.Envs {
			known[env] = true
		}
	}
	for name := range f {
		if !known[name] {
			return fmt.Errorf("unknown setting %s", name)
		}
	}
	return nil
}

// Resolve implements kong.Resolver. kong asks it after the flags and would let it beat the environment; so it is silent where
// the environment speaks.
func (f fileSettings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	i := slices.IndexFunc(flag.Envs, func(env string) bool { _, set := f[env]; return set })
	if i < 0 {
		return nil, nil
	}
	return f[flag.Envs[i]], nil
}
