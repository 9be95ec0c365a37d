package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
)

// parse reads settings from arguments and a file with the given lines, in the test's environment.
func parse(t *testing.T, file string, args ...string) (settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var s settings
	parser, err := kong.New(&s, kong.Vars{"hostname": "h"}, kong.Configuration(loadFile))
	if err != nil {
		t.Fatal(err)
	}
	_, err = parser.Parse(append([]string{"--config", path}, args...))
	return s, err
}

func TestAFlagBeatsTheEnvironmentAndThatBeatsTheFile(t *testing.T) {
	file := "# three settings\nTRANCHE_LISTEN=127.0.0.1:1\nTRANCHE_NODE_NAME=file\nTRANCHE_DATA_DIR=file\n"
	t.Setenv("TRANCHE_NODE_NAME", "environment")
	t.Setenv("TRANCHE_DATA_DIR", "environment")
	s, err := parse(t, file, "--data-dir", "flag")
	if err != nil {
		t.Fatal(err)
	}
	if s.Listen != "127.0.0.1:1" || s.NodeName != "environment" || s.DataDir != "flag" {
		t.Errorf("listen %q, node name %q, data dir %q", s.Listen, s.NodeName, s.DataDir)
	}
}

func TestAMisspeltSettingInTheFileIsAnError(t *testing.T) {
	for _, line := range []string{"TRANCHE_LISTN=127.0.0.1:1", "LISTEN=127.0.0.1:1", "TRANCHE_DRAIN_WAIT=soon"} {
		if _, err := parse(t, line+"\n"); err == nil {
			t.Errorf("%s was accepted", line)
		}
	}
}

func TestHelpListsEverySettingWithItsVariable(t *testing.T) {
	var s settings
	parser, err := kong.New(&s, kong.Vars{"hostname": "h"}, kong.Configuration(loadFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range parser.Model.Flags {
		if flag.Name == "help" || flag.Name == "config" {
			continue
		}
		if want := "TRANCHE_" + strings.ToUpper(strings.ReplaceAll(flag.Name, "-", "_")); len(flag.Envs) != 1 || flag.Envs[0] != want {
			t.Errorf("--%s reads %v, want %s", flag.Name, flag.Envs, want)
		}
		if flag.Help == "" {
			t.Errorf("--%s says nothing", flag.Name)
		}
	}
}
