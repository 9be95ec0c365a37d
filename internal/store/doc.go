// Package store keeps the ledger in a SQL database: MySQL and what speaks like it for a fleet, SQLite for a single node.
// It is the only package that knows gorm, a driver, or SQL; the rules of the books are in package ledger.
//
// # One way in
//
// Every call runs through [Store.call]: the breaker, a deadline of its own, the classification of errors, metrics. Callers see the
// sentinels of package models and nothing of a driver:
//
//	ErrLedgerUnavailable  nothing was changed: the database is away, did not answer in time, or the breaker is open
//	ErrBusy               nothing was changed: others held locks for longer than we waited, or retries were used up
//	ErrOverloaded         nothing was changed: the node's own calls had all connections for longer than we waited
//	ErrOutcomeUnknown     COMMIT was sent and its reply is missing; the change may still come true
//
// Only a database that is away counts against the breaker. A refusal, a taken key, a deadlock are answers of a database that is
// well, and a caller who gives up says nothing about it at all.
//
// # Transactions
//
// A transaction is run again as a whole, with jitter, after a deadlock or a collision on a key, a few times; after a lock wait,
// which has cost two seconds already, once. It is begun, committed and rolled back by statements on a pinned connection, because
// database/sql's Commit has no deadline. A connection whose state is not known is closed, never given back.
//
// Statements whose answers can wait go to the database in one packet with the next one whose answer can't (see pipe): a batch of new
// redemptions takes two round trips, one for all that it does and one for its COMMIT. The server runs them in order and stops at the first
// that fails. COMMIT is not among them: whether it is sent depends on the answers, and its outcome is the only one that can be unknown.
//
// An error before COMMIT means that nothing happened. An error of COMMIT itself means nothing: the commit may have taken
// effect, or be on its way to the server still. Transactions that find their own earlier work (grants by the ids of their leases,
// closings by the lease's state, carts by their row, …) run again then, a few times. A settle does not: its caller does, with the same
// batch number, and the lease's row says whether the earlier one counted. What is read without a lock proves nothing here.
//
// Locks are taken in one order: the cart, user counters, entries, holds, exceptions, leases, the offer, and rows in the order of their keys;
// but entries that nobody is expected to have in the order in which they are stored, which is a good tenth less work for the database. If
// somebody has one of them after all, one of the two transactions, which may be a cart's, may be refused for a deadlock. It runs again as
// after a taken key.
// A grant locks the offer first, because its lease is new and nobody else can hold it. Sessions end after five seconds of
// silence, so that a client that stopped in mid-transaction keeps others out no longer than that.
//
// At READ COMMITTED, the default, no statement relies on what an earlier one in the transaction has read, except under a lock.
// Races are left to unique keys and guarded updates, whose row counts are always looked at. So REPEATABLE READ does as well.
//
// # Looking first
//
// A batch of new redemptions is written without looking whether they are there: the unique key tells, and then the transaction runs
// again and looks. After that, after a deadlock, and after a user went over a limit (which must not be said of a redemption that is there
// already), the next batches look first, for such requests come in swarms. Whatever continues a redemption always looks.
//
// # Carts
//
// A cart is booked on leases of several offers, and their batch numbers belong to queues that run meanwhile. So its items are not numbered:
// a lease only has to be active, and have room. What fences the attempts at a cart from each other is its row in carts. A new cart inserts
// it before it does anything else; what follows on a cart locks it first. That row is the one lock that all attempts at a cart share,
// whichever node makes them, and it is held until the transaction has ended.
//
// So an attempt that has come past it finds all earlier ones decided, and a COMMIT whose reply was lost needs no guess: the transaction
// runs again. If the earlier one is still on its way, this one waits for it, at the row; a session that went silent is ended by the server, and
// then its transaction never commits. Then the row is there, with entries that have the very ids of this attempt: it had committed. Or it is
// not, or the entries are not there: it never will, and what this attempt now says is true of both. That holds for a refusal, too. A lease
// that was reclaimed meanwhile refuses the second attempt, and had it been reclaimed after the first had committed, the row would be there.
//
// On engines whose members commit apart and compare afterwards (Galera), nobody waits at the row, but a refusal is as safe: what refuses an
// attempt (a user's counter, an entry, a closed lease) is a row that the earlier attempt has written as well, and that somebody else has
// changed and committed since. The earlier one can't commit on top of that any more. Only an attempt that looks, and must not write, proves
// less there: if the earlier one commits after all, its units were given back too early, and the guard of the lease's row has to keep what is
// spent within what was granted.
//
// Rows of several offers are locked in the order of their offers, within each table. So carts meet each other, and batches, in the order of
// all locks.
//
// # Late units
//
// What a node has acknowledged from its journal is booked even after its lease was reclaimed. Settle finds out in three transactions:
// the usual one is fenced; a locking read sees that the lease is closed and at the batch before; then the entries are booked as late.
// Closed leases never open again, so only another attempt of the same batch can come between, and the row's number tells: late
// batches are fenced as the others are. The lease is folded into its offer already, so this transaction corrects the fold: allocated and
// what is redeemed or held grow by as much, and the books add up with more allocated than there is budget.
//
// A reclaimed lease of such a mode *exposes* its rest: so much may still come. Exposed units are kept on the lease, to know how much of
// them a late batch or an acquittal takes back, and their sum on the offer, in transactions that lock the offer's row anyway. An
// acquittal locks it once more, once per owner that comes back. So a balance reads the offer and its active leases, never the closed
// ones, of which a busy offer has very many. An index over exposed ones would be paid for by every grant, and what nobody comes back
// for would stay in it, to be summed at each look.
//
// # Recalls and audits
//
// An offer's row has a number that rises with each recall of its leases, and each lease the one it was granted at. A grant reads it under
// the offer's lock. A renewal and a new pool leave the hot row alone: they read it after their commit, in the same call. A recall that
// committed before that read is in the answer; whoever commits one later, and then reads the active leases, finds the lease among them,
// with the end that it has by now.
//
// What an admin does is audited by a row in the same transaction. Recalls by nodes are no acts of admins, and leave no row.
//
// # Time
//
// Leases and offers live by the database's clock, read in SQL as whole microseconds. A statement's clock is that of its start, before
// it waited for any lock, so an expiry is never later than the caller may think.
//
// # Dialects
//
// All differences are fields of one struct (dialect.go). SQLite has no row locks: a transaction takes the file as a whole, and within this
// process they queue for it, which is fairer and faster than polling.
package store
