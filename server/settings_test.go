package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// parse reads settings from arguments and a file with the given lines, in the test's environment.
func parse(t *testing.T, file string, args ...string) (settings, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "settings")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	var p program
	k, err := parser(&p, "h")
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Parse(append([]string{"--config", path}, args...))
	return p.settings, err
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

func TestAValueInTheFileIsTakenAsItStands(t *testing.T) {
	for _, value := range []string{
		`u:pa$WORD@tcp(db.internal:3306)/tranche?a=b`, `a$B$C`, `a #b`, `#`, `${HOME}`, `"quoted"`, `'q'`, `back\nslash`, `=`, `a=b=c`, ``, `ключ 🔑`,
	} {
		for _, line := range []string{"TRANCHE_NODE_NAME=" + value, "  TRANCHE_NODE_NAME =\t" + value + "  \r"} {
			s, err := parse(t, "\n# a comment = 1\n \t\n"+line+"\n#TRANCHE_NODE_NAME=old")
			if err != nil || s.NodeName != value {
				t.Errorf("%q: %q, %v", line, s.NodeName, err)
			}
		}
	}
}

func TestALineThatSetsNothingIsAnErrorThatNamesItsPlaceOnly(t *testing.T) {
	for file, want := range map[string]string{
		"TRANCHE_LISTEN=127.0.0.1:1\n\nsecret\n": "line 3 is not",
		"=secret":                                "line 1 is not",
		"  = secret":                             "line 1 is not",
		"export secret\n":                        "line 1 is not",
		"TRANCHE_ADMIN_KEY=secret\n# \nTRANCHE_ADMIN_KEY=secret\n": "line 3 sets TRANCHE_ADMIN_KEY again",
	} {
		_, err := parse(t, file)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestD1AnErrorInTheFileNamesTheFileAndTheLine(t *testing.T) {
	for file, want := range map[string]string{
		"\nTRANCHE_DRAIN_WAIT=soon":            "settings: line 2: ",
		"TRANCHE_LISTN=127.0.0.1:1":            "settings: line 1: unknown setting TRANCHE_LISTN",
		"\n\nsecret":                           "settings: line 3 is not",
		"TRANCHE_LOG_LEVEL=loud":               "settings: line 1: must be one of",
		"TRANCHE_ADMIN_KEY=":                   "settings: line 1: ",
		"TRANCHE_DB_CA=":                       "settings: line 1: ",
		"TRANCHE_MIGRATE=never":                "settings: line 1: must be one of auto, off",
		"# none\nTRANCHE_DSN=a\nTRANCHE_DSN=b": "settings: line 3 sets TRANCHE_DSN again, after line 2",
	} {
		if _, err := parse(t, file); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", file, err, want)
		}
	}
}

func TestHelpListsEverySettingWithItsVariable(t *testing.T) {
	var p program
	k, err := parser(&p, "h")
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range k.Model.Flags {
		if slices.Contains([]string{"help", "version", "config"}, flag.Name) {
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

// A variable that was meant to be filled in, and was not, must not open a node to everybody, or give it a ledger of its own.
func TestC5ASettingThatIsSetAndEmptyIsAnError(t *testing.T) {
	for _, name := range []string{"TRANCHE_ADMIN_KEY", "TRANCHE_CHECKOUT_KEY", "TRANCHE_DSN", "TRANCHE_TLS_CERT", "TRANCHE_TLS_KEY"} {
		if _, err := parse(t, name+"="); err == nil || !strings.Contains(err.Error(), "empty") {
			t.Errorf("%s in the file: %v", name, err)
		}
		flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "TRANCHE_"), "_", "-"))
		if _, err := parse(t, "", flag+"="); err == nil || !strings.Contains(err.Error(), "empty") {
			t.Errorf("%s: %v", flag, err)
		}
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, "")
			if _, err := parse(t, name+"=a-value-in-the-file"); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "empty") {
				t.Errorf("in the environment: %v", err)
			}
		})
	}
	if s, err := parse(t, ""); err != nil || s.AdminKey != "" || s.DSN != "" {
		t.Errorf("left out: %+v, %v", s, err)
	}
}
