// Package store keeps the ledger in a SQL database: MySQL and what speaks like it for a fleet, SQLite for a single node.
// It is the only package that knows gorm, a driver, or SQL. The rules of the books are in package ledger.
//
// # One way in
//
// Every call runs through [Store.call]: the breaker, a deadline of its own, the classification of errors, metrics. Callers see the
// sentinels of package models and nothing of a driver:
//
//	ErrLedgerUnavailable  nothing was changed: the database is away, did not answer in time, or the breaker is open
//	ErrBusy               nothing was changed: others held locks for longer than we waited, or retries were used up
//	ErrOverloaded         nothing was changed: the node's own calls, or other clients, had all connections for longer than we waited
//	ErrOutcomeUnknown     COMMIT was sent and its reply is missing; the change may still come true
//
// Only a database that is away counts against the breaker. A refusal, a taken key and a deadlock are answers of a database that is
// well. A caller that gives up says nothing about the database.
//
// Lists may read much, and many may come at once. They run on connections of their own ([Store.list]), and the breaker does not hear of
// them. So they wait for each other, and no redemption waits for them.
//
// # Transactions
//
// A transaction has one connection to itself. It begins, runs its statements one after another, and ends with COMMIT or ROLLBACK.
// All of these are sent as statements, because database/sql's Commit has no deadline. COMMIT is not sent after the deadline.
// A connection whose state is not known is closed, never given back.
//
// One statement goes to the database at a time. Several in one packet would save round trips, and break the books on Galera: a
// member that aborts a transaction between two statements of a packet runs the rest in autocommit, without an error.
//
// A transaction runs again as a whole after a deadlock or a collision on a key, with pauses that grow. A conflict between members of a
// cluster is a deadlock, whatever its number. A batch gives up sooner than others, because its caller divides it. After a lock wait,
// which has cost a second already, a transaction runs again three times.
//
// An error before COMMIT means that nothing happened. An error of COMMIT itself means nothing: the commit may have taken
// effect, or may still be on its way to the server. Most transactions find their own earlier work: grants by the ids of their leases,
// closings by the lease's state, carts by their row. Those run again then, a few times. A settle does not: its caller calls again with
// the same batch number, and the lease's row says whether the earlier one counted. A read without a lock proves nothing here.
//
// Locks are taken in one order: the cart, user counters, entries, holds, exceptions, leases, the offer. Rows of a table are taken in
// the order of their keys, entries in the order of their redemptions. A grant locks the offer before its lease, which is new, so nobody else
// can hold it; leases that it returns come before the offer. A session ends after five seconds of silence, so a client that stopped in mid-transaction keeps its locks no longer.
//
// At READ COMMITTED, the default, no statement relies on what an earlier one in the transaction has read, except under a lock.
// Unique keys and guarded updates decide races, and the number of changed rows is always checked. So REPEATABLE READ works as well.
//
// # Looking first
//
// A batch of new redemptions is written without a look whether they are there: that saves a statement. If the unique key says that one
// is there, the transaction runs again and looks first. It also looks first after a user went over a limit: a redemption that is
// there already is repeated, and not refused. Entries that continue a redemption are always looked up.
//
// # Limits that come late
//
// User limits may come after redemptions, and a user then has no counter, or one that missed some. The offer's limited_from is the recall
// number that the limits came with, and a counter holds only if it was made for that number. Else the batch that meets the user locks the
// counter, and makes it anew from the user's entries as they are then. As long as a lease from before the limits is active or exposes units,
// such counters are made anew by each batch.
//
// # Carts
//
// A cart is booked on leases of several offers, and their batch numbers belong to queues that run meanwhile. So its items have no
// numbers: a lease only has to be active, and have room. The row in carts fences the attempts at a cart from each other. A new cart inserts
// it before it does anything else; what follows on a cart locks it first. All attempts at a cart share that one lock, on whichever
// node they run, and keep it until the transaction has ended.
//
// So an attempt that has come past the row finds all earlier ones decided, and a COMMIT whose reply was lost needs no guess: the
// transaction runs again. If the earlier one is still on its way, this one waits for it at the row. The server ends a session that went
// silent, and then its transaction never commits. If the row is there, with entries that have the ids of this attempt, the earlier one
// has committed. Otherwise it never will, and the answer of this attempt is true of both. That holds for a refusal, too. A lease
// that was reclaimed meanwhile refuses the second attempt; had the first one committed before that, its row would be there.
//
// On engines whose members commit apart and compare afterwards (Galera), nobody waits at the row, but a refusal is as safe. An attempt is
// refused by a row (a user's counter, an entry, a closed lease) that the earlier attempt has written as well, and that somebody else has
// changed and committed since. The earlier one can't commit on top of that any more. An attempt that looks, and must not write, proves
// less there: if the earlier one commits after all, its units were given back too early. Then the guard of the lease's row keeps what is
// spent within what was granted.
//
// Rows of several offers are locked in the order of their offers, within each table.
//
// # Late units
//
// An entry that a node has acknowledged from its journal is booked even after its lease was reclaimed. Settle takes three transactions
// for it. The usual one is fenced. A locking read sees that the lease is closed and at the batch before. Then the entries are booked as
// late. Closed leases never open again, so only another attempt of the same batch can come between, and the row's number tells: late
// batches are fenced as the others are. The lease is folded into its offer already, so this transaction corrects the fold: allocated and
// the redeemed or held units grow by as much. The books add up, with more allocated than there is budget.
//
// A ledger that has lost commits may have the lease at an earlier batch, or not at all. The second transaction then closes the lease, and
// so proves the loss: on a member of a cluster that lags behind it can't commit. The third takes any number above the lease's, and makes a
// closed lease for entries that no lease has room for.
//
// A reclaimed lease of such a mode *exposes* its rest: so much may still come. Exposed units stand on the lease, and their sum on the
// offer, changed by transactions that lock the offer's row anyway. An acquittal locks it once more, once for each owner that comes back.
// A lease that a later epoch has taken over has the time of its acquittal in its row, and any node acquits it then.
// So a balance reads the offer and its active leases, never the closed ones, of which a busy offer has very many.
//
// # Recalls and audits
//
// An offer's row has a number that rises with each recall of its leases, and each lease has the one it was granted at. A grant reads it under
// the offer's lock. A renewal and a new pool leave the hot row alone: they read it after their commit, in the same call. A recall that
// committed before that read is in the answer. A later recall reads the active leases afterwards, and finds the lease among them.
//
// An admin's change is audited by a row in the same transaction. Recalls by nodes are no acts of admins, and leave no row.
//
// # Time
//
// Leases and offers live by the database's clock, read in SQL as whole microseconds. A statement's clock is that of its start, before
// it waited for any lock, so an expiry is never later than the caller may think.
//
// # Sessions
//
// A connector opens each session with the password that its file has by then, and sets the variables that the store depends on. Nothing
// in a DSN can change them. They are read back once, because some servers accept a setting and ignore it; the log names each one.
//
// The server's answers about rights are kept in words until the same thing succeeds, for readiness. They count as a database that
// is away: whoever runs it can let the node in without a restart.
//
// # Tables
//
// A start compares the number of the latest migration, without a lock. If one is missing, it takes the server's named lock, for nodes
// of earlier versions, and then a lock that is a row. Only a row holds on all members of a cluster. It has a lease, so a process that
// was killed keeps the others waiting for half a minute.
//
// # Dialects
//
// All differences are fields of one struct (dialect.go). SQLite has no row locks: a transaction takes the file as a whole. Within this
// process transactions queue for it, which is fairer and faster than polling.
package store
