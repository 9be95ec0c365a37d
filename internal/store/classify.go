package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"regexp"
	"syscall"

	gosqlite "github.com/glebarez/go-sqlite"
	"github.com/go-sql-driver/mysql"

	"tranche/models"
)

// A kind is what an error means for the transaction and for the caller, whichever database it came from.
type kind int

const (
	none       kind = iota
	refusal         // an answer in the domain's terms
	duplicate       // a unique key is taken, or what was read is outdated: somebody else was first
	conflict        // a deadlock or the like: rolled back, worth running again
	lockWaited      // another session kept its locks for as long as we were willing to wait
	crowded         // others had all connections for as long as we were willing to wait
	badConn         // the connection was dead before anything was sent on it
	away            // the database can't be asked, or can't serve
	unknown         // COMMIT was sent and its reply is missing
	fault           // a bug, ours or the database's
)

// errOvertaken: what this transaction has decided does not fit with what others have written. It has to read that first.
var errOvertaken = errors.New("overtaken by other entries")

// errLocked: another process has the lock that we waited for.
var errLocked = errors.New("locked by others")

// errCrowded: it was not our turn in all the time we had.
var errCrowded = errors.New("too many transactions of this node")

// refusals are the errors of the domain that a store gives.
var refusals = [...]error{
	models.ErrOfferNotFound, models.ErrOfferExists, models.ErrStaleVersion, models.ErrBudgetBelowSpent,
	models.ErrLeaseClosed, models.ErrEpochSuperseded,
	models.ErrOfferNotActive, models.ErrModeNotPossible, models.ErrCartNotFound,
}

func classify(err error) kind {
	var (
		inMySQL  *mysql.MySQLError
		inSQLite *gosqlite.Error
		inNet    net.Error
		inSystem syscall.Errno
	)
	switch {
	case err == nil:
		return none
	case errors.Is(err, models.ErrOutcomeUnknown):
		return unknown
	case errors.Is(err, models.ErrLedgerUnavailable):
		return away
	case errors.Is(err, errOvertaken):
		return duplicate
	case errors.Is(err, errLocked), errors.Is(err, models.ErrBusy):
		return lockWaited
	case errors.Is(err, errCrowded), errors.Is(err, models.ErrOverloaded):
		return crowded
	case isRefusal(err):
		return refusal
	case denial(err) != "": // who runs the database can let this node in, without a restart
		return away
	case errors.As(err, &inMySQL):
		return classifyMySQL(inMySQL)
	case errors.As(err, &inSQLite):
		return classifySQLite(inSQLite.Code())
	case errors.Is(err, driver.ErrBadConn):
		return badConn
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled),
		errors.Is(err, mysql.ErrInvalidConn), errors.Is(err, mysql.ErrMalformPkt), errors.Is(err, mysql.ErrPktSync),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, sql.ErrConnDone), errors.Is(err, errAutocommit), errors.As(err, &inNet), errors.As(err, &inSystem):
		return away
	default:
		return fault
	}
}

func isRefusal(err error) bool {
	if _, ok := errors.AsType[*models.CartError](err); ok {
		return true
	}
	for _, r := range refusals {
		if errors.Is(err, r) {
			return true
		}
	}
	return false
}

// classifyMySQL knows the numbers of MySQL, MariaDB, Galera, Group Replication and TiDB.
func classifyMySQL(err *mysql.MySQLError) kind {
	switch err.Number {
	case 1062: // duplicate entry
		return duplicate
	case 1213, // deadlock, or a certification conflict
		3101,             // the same on Group Replication
		8002, 8022, 9007, // the same on TiDB
		1020,       // record has changed since last read
		1637, 1689: // too many transactions under way, wait on a lock was aborted
		return conflict
	case 1205, // lock wait timeout
		3572: // NOWAIT
		return lockWaited
	case 1040, 1203, 1226: // too many connections or too much use
		return crowded
	case 1042, 1043, 1077, 1078, 1079, 1080, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, // the connection
		1053, 1927, 4031, 1317, 3024, 1969, // going down, killed, or out of time
		1047,             // this member of a cluster doesn't serve
		1290, 1792, 1836, // read only
		1021, 1026, 1037, 1038, 1041, 1114, 1135, // out of disk, memory or threads
		1146: // not set up yet
		return away
	case 1030, 1180, 1181: // the storage engine failed, at COMMIT or ROLLBACK too
		return classifyStorageEngine(err.Message)
	default:
		return fault
	}
}

// classifyStorageEngine takes the text around a storage engine's own number, which is the first one in it in any language.
func classifyStorageEngine(message string) kind {
	switch firstNumber.FindString(message) {
	case "149": // deadlock, or a transaction of another member of a cluster had to go first
		return conflict
	case "146": // lock wait timeout
		return lockWaited
	default:
		return away
	}
}

var firstNumber = regexp.MustCompile(`\d+`)

// Result codes of SQLite that are about its file.
const (
	sqliteReadOnly     = 8
	sqliteCorrupt      = 11
	sqliteCantOpen     = 14
	sqliteNotADatabase = 26
)

// classifySQLite takes extended result codes; the primary one is in the low byte.
func classifySQLite(code int) kind {
	const (
		busy, lockedTable, noMemory, interrupted, ioError, full, constraint = 5, 6, 7, 9, 10, 13, 19

		primaryKey = constraint | 6<<8
		unique     = constraint | 8<<8
	)
	switch code & 0xff {
	case busy, lockedTable:
		return lockWaited
	case noMemory, sqliteReadOnly, interrupted, ioError, sqliteCorrupt, full, sqliteCantOpen, sqliteNotADatabase:
		return away
	}
	if code == primaryKey || code == unique {
		return duplicate
	}
	return fault
}
