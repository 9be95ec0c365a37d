package store_test

import (
	"strings"
	"testing"

	"tranche/internal/store"
)

func refusal(t *testing.T, dsn string) string {
	t.Helper()
	s, err := store.Open(store.Config{DSN: dsn})
	if err == nil {
		_ = s.Close()
		t.Errorf("%q was taken", dsn)
		return ""
	}
	return err.Error()
}

// A session variable could change how texts are quoted, or be one that the server does not know, which no attempt changes.
func TestC6AParameterThatIsNotOnTheListIsRefusedByItsName(t *testing.T) {
	for _, parameter := range []string{
		"character_set_client=gbk", "sql_mode=''", "no_such_variable=1", "columnsWithAlias=true", "allowAllFiles=true", "strict=true",
		"init_connect=x", "wait_timeout=600", "Tls=true", "flag",
	} {
		name, _, _ := strings.Cut(parameter, "=")
		if err := refusal(t, "u:p@tcp(h:3306)/d?parseTime=true&"+parameter); !strings.Contains(err, name) {
			t.Errorf("%s: %s", parameter, err)
		}
	}
	if err := refusal(t, "u:p@tcp(h:3306)/d?tls=no-such-name"); !strings.Contains(err, "tls") {
		t.Error(err)
	}
}

func TestC6ParametersThatDoNoHarmAreTaken(t *testing.T) {
	for _, parameters := range []string{
		"", "?", "?charset=utf8mb4&parseTime=True&loc=Local", "?tls=true", "?tls=skip-verify&compress=true", "?wsrep_sync_wait=1",
		"?allowCleartextPasswords=1&connectionAttributes=program_name%3Atranche",
	} {
		s, err := store.Open(store.Config{DSN: "u:p@tcp(h:3306)/d" + parameters})
		if err != nil {
			t.Errorf("%q: %v", parameters, err)
			continue
		}
		_ = s.Close()
	}
}

func TestC6ABrokenDSNIsNeverRepeated(t *testing.T) {
	for _, dsn := range []string{
		"user:hunter2/d", "user:hunter2(h:3306)/d", "user:hunter2@h/d", "user:hunter2@h:3306/d", "hunter2", "user:hunter2@tcp(h:3306)",
		"user:hunt/hunter2@tcp(h:3306)", "user:a/b?hunter2@tcp(h:3306)", "user:a/b?hunter2=1&x@tcp(h:3306)", "user:hunter2@tcp(h:3306/d",
		"user:hunter2@tcp(h:3306)x/d", "tcp(h:3306)/user:hunter2%zz@", "mysql://user:hunter2@h:3306/d", "mysql://user:hunter2@tcp(h:3306)/d",
		"user:p@tcp(h:3306)/d?tls=hunter2", "user:p@tcp(h:3306)/d?timeout=hunter2", "user:p@tcp(h:3306)/d?loc=hunter2",
		"user:p@tcp(h:3306)/d?parseTime=hunter2", "user:p@tcp(h:3306)/d?serverPubKey=hunter2", "user:p@hunter2(h:3306)/d",
		"user:p@tcp(h:3306)/d?hunter2%20@x=1", "user:p@tcp(h:3306)/d?maxAllowedPacket=hunter2",
	} {
		if err := refusal(t, dsn); strings.Contains(err, "hunter2") {
			t.Errorf("%q: %s", dsn, err)
		}
	}
}

func TestD1ADSNThatIsAURLIsToldTheFormThatIsWanted(t *testing.T) {
	for _, dsn := range []string{"mysql://user:p@h:3306/d", "mariadb://h/d", "jdbc:mysql://h/d"} {
		if err := refusal(t, dsn); !strings.Contains(err, "user:password@tcp(host:3306)/database") {
			t.Errorf("%q: %s", dsn, err)
		}
	}
	if err := refusal(t, "mysql://user:p@h:3306/d"); !strings.Contains(err, "URL") {
		t.Error(err)
	}
}
