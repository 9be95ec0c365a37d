package store

import (
	"bytes"
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/rs/zerolog"

	"tranche/internal/storetest"
)

func TestA5WhatTheServerSwallowsIsNamedOnce(t *testing.T) {
	c, err := newConnector(&Config{DSN: "u@tcp(h:3306)/d"}, &denials{})
	if err != nil {
		t.Fatal(err)
	}
	for name, swallowed := range map[string]map[string]string{
		"takes all": nil, "takes no time-outs": {"wait_timeout": "28800", "innodb_lock_wait_timeout": "50"},
	} {
		rows := &table{columns: []string{"Variable_name", "Value"}}
		for _, want := range c.wanted() {
			value := want.want
			if value == "ON" {
				value = "1" // as Vitess shows it
			}
			if other, ok := swallowed[want.variable]; ok {
				value = other
			}
			if want.variable != "tx_isolation" { // each server has one of the two names
				rows.rows = append(rows.rows, []driver.Value{want.variable, value})
			}
		}
		log := new(bytes.Buffer)
		s := storeOf(t, &answers{exec: func(string) error { return nil }, rows: rows})
		s.log, s.dialect.connector = zerolog.New(log), c
		for range 2 {
			if err := s.readBack(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if got := strings.Count(log.String(), `"variable"`); got != len(swallowed) {
			t.Errorf("a server that %s: %d warnings, want %d: %s", name, got, len(swallowed), log)
		}
		for variable := range swallowed {
			if !strings.Contains(log.String(), variable) {
				t.Errorf("nothing names %s: %s", variable, log)
			}
		}
	}
}

// Only Galera, and MariaDB that may be part of one, know the variable.
func TestA5SessionsWaitForOtherMembersWhereTheServerCan(t *testing.T) {
	for name, known := range map[string]bool{"knows the variable": true, "does not know it": false} {
		c, err := newConnector(&Config{DSN: "u@tcp(h:3306)/d"}, &denials{})
		if err != nil {
			t.Fatal(err)
		}
		var asked int
		server := &answers{exec: func(statement string) error {
			if !strings.Contains(statement, syncWait+" = 1") {
				return nil
			}
			asked++
			if !known {
				return &mysql.MySQLError{Number: 1193, Message: "Unknown system variable"}
			}
			return nil
		}}
		const sessions = 3
		for range sessions {
			if err := c.setUp(t.Context(), server); err != nil {
				t.Errorf("a server that %s: %v", name, err)
			}
		}
		if want := map[bool]int{true: sessions, false: 1}[known]; asked != want {
			t.Errorf("a server that %s was told %d times, want %d", name, asked, want)
		}
	}
}

// A proxy may answer that autocommit is off and leave it on. Each statement of a batch would then be committed by itself.
func TestASessionThatKeepsAutocommitIsRefused(t *testing.T) {
	dsn := storetest.MySQL(t)
	for autocommit, want := range map[string]error{"0": nil, "1": errAutocommit} {
		c, err := newConnector(&Config{DSN: dsn, Health: nobody{}}, &denials{})
		if err != nil {
			t.Fatal(err)
		}
		c = c.writing()
		c.base.Params["autocommit"] = autocommit
		conn, err := c.Connect(t.Context())
		if !errors.Is(err, want) {
			t.Errorf("autocommit = %s: %v, want %v", autocommit, err, want)
		}
		if want != nil && classify(err) != away {
			t.Errorf("a database that runs no transactions is not away, but %v", classify(err))
		}
		if conn != nil {
			_ = conn.Close()
		}
	}
}
