package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/alecthomas/kong"
)

// fileSettings are the lines of a settings file: the environment variables of the flags, and their values.
type fileSettings struct {
	file   string // its name, for errors
	values map[string]fileValue
}

type fileValue struct {
	text string
	line int
}

// loadFile reads a settings file: NAME=value, a line each. Blank lines and those that begin with # are left out. A value is taken as it
// stands, but for the white space around it: quotes, $ and # belong to it, as passwords have them.
func loadFile(r io.Reader) (kong.Resolver, error) {
	f := &fileSettings{file: "the settings file", values: map[string]fileValue{}}
	if named, ok := r.(interface{ Name() string }); ok {
		f.file = named.Name()
	}
	lines := bufio.NewScanner(r)
	for number := 1; lines.Scan(); number++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		name = strings.TrimSpace(name)
		earlier, again := f.values[name]
		switch {
		case !found || name == "":
			return nil, fmt.Errorf("%s: line %d is not NAME=value", f.file, number) // the line itself may be a secret
		case again:
			return nil, fmt.Errorf("%s: line %d sets %s again, after line %d", f.file, number, name, earlier.line)
		}
		f.values[name] = fileValue{strings.TrimSpace(value), number}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", f.file, err)
	}
	return f, nil
}

// Validate implements kong.Resolver: a line that sets nothing is an error, for it is a misspelt setting.
func (f *fileSettings) Validate(app *kong.Application) error {
	known := map[string]bool{}
	for _, flag := range app.Flags {
		for _, env := range flag.Envs {
			known[env] = true
		}
	}
	for name, value := range f.values {
		if !known[name] {
			return fmt.Errorf("%s: line %d: unknown setting %s", f.file, value.line, name)
		}
	}
	return nil
}

// Resolve implements kong.Resolver. kong asks it after the flags and would let it beat the environment; so it is silent where
// the environment speaks.
func (f *fileSettings) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, env := range flag.Envs {
		if _, set := os.LookupEnv(env); set {
			return nil, nil
		}
	}
	i := slices.IndexFunc(flag.Envs, func(env string) bool { _, set := f.values[env]; return set })
	if i < 0 {
		return nil, nil
	}
	value := f.values[flag.Envs[i]]
	if err := check(flag, value.text); err != nil {
		return nil, fmt.Errorf("%s: line %d: %w", f.file, value.line, err)
	}
	return value.text, nil
}

// check reads a value as kong will do, which does not know where it is from.
func check(flag *kong.Flag, text string) error {
	if flag.Enum != "" && !flag.EnumMap()[text] {
		return fmt.Errorf("must be one of %s", strings.Join(flag.EnumSlice(), ", "))
	}
	value := *flag.Value
	scan := kong.Scan().PushTyped(text, kong.FlagValueToken)
	return value.Mapper.Decode(&kong.DecodeContext{Value: &value, Scan: scan}, reflect.New(flag.Target.Type()).Elem())
}
