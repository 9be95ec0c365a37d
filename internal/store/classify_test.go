package store

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/go-sql-driver/mysql"

	"tranche/models"
)

func TestErrorsAreClassifiedHoweverTheyAreWrapped(t *testing.T) {
	inMySQL := func(number uint16) error { return &mysql.MySQLError{Number: number} }
	for _, c := range []struct {
		err  error
		want kind
	}{
		{nil, none},
		{inMySQL(1062), duplicate},
		{inMySQL(1213), conflict},
		{inMySQL(1020), conflict},
		{inMySQL(1205), lockWaited},
		{inMySQL(1040), crowded},
		{inMySQL(1053), away},
		{inMySQL(1146), away},
		{inMySQL(3819), fault}, // a CHECK
		{inMySQL(4025), fault}, // a CHECK on MariaDB
		{inMySQL(1064), fault},
		{driver.ErrBadConn, badConn},
		{mysql.ErrInvalidConn, away},
		{io.ErrUnexpectedEOF, away},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, away},
		{context.DeadlineExceeded, away},
		{context.Canceled, away},
		{fmt.Errorf("%w: %w", models.ErrOutcomeUnknown, mysql.ErrInvalidConn), unknown},
		{errOvertaken, duplicate},
		{models.ErrOfferNotFound, refusal},
		{&models.BudgetBelowSpentError{Minimum: 1}, refusal},
		{errors.New("something else"), fault},
	} {
		if got := classify(c.err); got != c.want {
			t.Errorf("%v: kind %d, want %d", c.err, got, c.want)
		}
		if c.err == nil {
			continue
		}
		if got := classify(fmt.Errorf("while settling: %w", c.err)); got != c.want {
			t.Errorf("%v, wrapped: kind %d, want %d", c.err, got, c.want)
		}
	}
}

func TestSQLiteCodesAreClassified(t *testing.T) {
	for code, want := range map[int]kind{
		5: lockWaited, 5 | 2<<8: lockWaited, 6: lockWaited, 14: away, 10 | 4<<8: away, 13: away, 11: away,
		19 | 8<<8: duplicate, 19 | 6<<8: duplicate, 19 | 1<<8: fault, 1: fault,
	} {
		if got := classifySQLite(code); got != want {
			t.Errorf("code %d: kind %d, want %d", code, got, want)
		}
	}
}
