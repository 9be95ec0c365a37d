package main

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/alecthomas/kong"
	"github.com/joho/godotenv"
)

// fileSettings are the lines of a settings file: the environment variables of the flags, and their values.
type fileSettings map[string]string

// loadFile reads a settings file.
func loadFile(r io.Reader) (kong.Resolver, error) {
	values, err := godotenv.Parse(r)
	return fileSettings(values), err
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
